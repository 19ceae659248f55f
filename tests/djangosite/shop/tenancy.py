"""A plugin that gives each job the rows of its tenant, as libraries do that have a schema for each.

It changes the thread's connection: the search path of PostgreSQL; SQLite has no schemas, so there it is the table.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar

import django
from django.db import connection
from django.utils.translation import get_language

from belayed import Plugin, current_job, task
from shop.models import Post

if django.VERSION >= (6, 0):
    from django.tasks import task as django_task
else:
    from django_tasks import task as django_task

TENANTS = ("acme", "globex")
tenant: ContextVar[str] = ContextVar("tenant", default="public")
entered: list[int] = []


@contextmanager
def tables_of(name):
    """Let the thread's connection read and write the posts of a tenant."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('search_path', %s, false)", [f"{name}, public"])
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET search_path")
        return

    table = "shop_post" if name == "public" else f"{name}_post"

    def renamed(execute, sql, params, many, context):
        return execute(sql.replace('"shop_post"', f'"{table}"'), params, many, context)

    with connection.execute_wrapper(renamed):
        yield


@contextmanager
def of(name):
    """Be a request of a tenant."""
    token = tenant.set(name)
    try:
        with tables_of(name):
            yield
    finally:
        tenant.reset(token)


class Tenants(Plugin):
    def on_enqueue(self, draft):
        draft.meta["tenant"] = tenant.get()

    @contextmanager
    def around_attempt(self, job):
        entered.append(job.id)
        with of(job.meta["tenant"]):
            yield


class SlowTenants(Tenants):
    """Takes its time to find the tenant, up to so many seconds."""

    def __init__(self, patience):
        self.patience = patience
        self.begun, self.goes_on, self.left = threading.Event(), threading.Event(), threading.Event()

    @contextmanager
    def around_attempt(self, job):
        self.begun.set()
        assert self.goes_on.wait(self.patience)
        try:
            with super().around_attempt(job):
                yield
        finally:
            self.left.set()


def make_tables():
    """Posts for each tenant."""
    with connection.cursor() as cursor:
        for name in TENANTS:
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
                cursor.execute(f"CREATE SCHEMA {name}")
                cursor.execute(f"CREATE TABLE {name}.shop_post (LIKE public.shop_post INCLUDING ALL)")
            else:
                cursor.execute(f'DROP TABLE IF EXISTS "{name}_post"')
                cursor.execute(f'CREATE TABLE "{name}_post" AS SELECT * FROM shop_post WHERE 0')


def drop_tables():
    with connection.cursor() as cursor:
        for name in TENANTS:
            if connection.vendor == "postgresql":
                cursor.execute(f"DROP SCHEMA {name} CASCADE")
            else:
                cursor.execute(f'DROP TABLE "{name}_post"')


@task
def title(post: Post) -> list[str]:
    """Whose post it is, and whose is read in the job; and what the plugin's variable says there."""
    return [post.title, Post.objects.get(pk=1).title, tenant.get(), current_job().meta["tenant"]]


@task
async def atitle(post: Post) -> list[str]:
    return [post.title, (await Post.objects.aget(pk=1)).title, tenant.get(), current_job().meta["tenant"]]


@task
async def alanguage() -> str | None:
    return get_language()


class Review:
    """A custom job with hooks."""

    max_attempts = 1

    def __init__(self, post):
        self.post = post

    def perform(self):
        raise ValueError("no")

    def failure(self):
        self.post.error = "failed"
        self.post.save()


@django_task
def takes(post: Post, fail: bool = False) -> str:
    if fail:
        raise ValueError("no")
    return post.title


@django_task
async def atakes(post: Post, fail: bool = False) -> str:
    if fail:
        raise ValueError("no")
    return post.title
