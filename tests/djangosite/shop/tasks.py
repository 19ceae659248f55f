"""Tasks of Belayed's and of Django's."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import timedelta

import django
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission
from django.db import connection, transaction

from belayed import Cancel, current_job
from belayed import task as belayed_task
from belayed.errors import ObjectNotFound
from shop.models import Post

if django.VERSION >= (6, 0):
    from django.tasks import task
else:
    from django_tasks import task

seen: list = []


@belayed_task
def greet(who: object) -> str:
    return f"hello {who}"


@belayed_task
def returns_an_iterator() -> object:
    return iter([1])


def yields():
    yield 1


async def ayields():
    yield 1


def logs_in(name: str, password: str) -> None: ...


@dataclass
class Key:
    tooth: str

    def turn(self, name: str, password: str) -> None: ...

    @classmethod
    def made(cls, name: str, password: str) -> None: ...


class Lock:
    @staticmethod
    def turn(name: str, password: str) -> None: ...


def shout(text: str) -> str:
    return text.upper()


def same(value: object) -> object:
    return value


@belayed_task
async def agreet(who: str) -> str:
    return f"hello {who}"


@belayed_task
def likes_and_fails(post: Post) -> None:
    post.like()
    raise ValueError("no")


@belayed_task(discard_on=ObjectNotFound)
def forgets(post: Post) -> None: ...


@belayed_task
def leaves_open(way: str) -> None:
    if way == "by SQL":
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
    elif way == "by Django":
        connection.set_autocommit(False)
    else:
        for _ in range(2):
            transaction.atomic().__enter__()
    Post.objects.create(title="left open")
    if way == "in a block that is cut off":
        connection.close()


@belayed_task
def like_once(post: Post, fail: bool = False) -> None:
    with current_job().transaction(using="default") as completion:
        post.like()
        completion.result = "liked"
        if fail:
            raise ValueError("no")


@belayed_task
def breaks_a_reference() -> None:
    """Its database notices that at the commit."""
    with current_job().transaction(using="default"):
        Permission.objects.create(name="broken", codename="broken", content_type_id=10**6)


@belayed_task
def begins(given: dict) -> None:
    with current_job().transaction(**given):
        pass


@belayed_task
async def alike(post: Post) -> int:
    found = await Post.objects.aget(pk=post.pk)
    found.likes += 1
    await found.asave()
    return found.likes


@belayed_task
async def abegins() -> None:
    async with current_job().transaction(using="default"):
        pass


@belayed_task
async def abegins_in_a_thread() -> None:
    def complete() -> None:
        with current_job().transaction(using="default") as completion:
            completion.result = "in a thread"

    await sync_to_async(complete)()


def of_server() -> int:
    """What tells this thread's connection: the server's process, or the connection itself."""
    Post.objects.count()
    if connection.vendor == "sqlite":
        return id(connection.connection)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


@belayed_task
def backend() -> int:
    return of_server()


@belayed_task
async def abackend() -> int:
    return await sync_to_async(of_server)()


def ask() -> int:
    """Send the server a statement, and do not wait for it: as where a stop comes in between. Its process."""
    found = of_server()
    connection.connection.pgconn.send_query(b"SELECT pg_sleep(600)")
    return found


@belayed_task
def asks() -> int:
    return ask()


@belayed_task
async def aasks() -> int:
    return await sync_to_async(ask)()


aconnection = abackend
met: list = []


@belayed_task
async def ameet(others: int) -> int:
    """The connection of a coroutine that has it while the others have theirs."""
    found = await sync_to_async(of_server)()
    met.append(found)
    while len(met) < others:  # noqa: ASYNC110 (in several event loops)
        await asyncio.sleep(0.001)
    return found


@belayed_task
async def backend_of_a_thread() -> int:
    return await asyncio.to_thread(of_server)


@belayed_task
async def backend_of_any_thread() -> int:
    return await sync_to_async(of_server, thread_sensitive=False)()


@belayed_task
async def leaves_open_in_a_thread(way: str) -> None:
    await asyncio.to_thread(leaves_open.function, way)


@belayed_task
async def creates_durably_in_a_thread(title: str) -> list:
    return await asyncio.to_thread(creates_durably.function, title)


@belayed_task
async def creates_in_a_thread(title: str) -> None:
    await asyncio.to_thread(creates.function, title)


@belayed_task
async def aleaves_open(way: str) -> None:
    await sync_to_async(leaves_open.function)(way)


@belayed_task
def creates(title: str) -> None:
    Post.objects.create(title=title)


@belayed_task
async def acreates(title: str) -> None:
    await Post.objects.acreate(title=title)


@belayed_task
def creates_durably(title: str) -> list:
    """What was committed, as it is heard of at the end of the transaction."""
    committed: list = []
    with transaction.atomic(durable=True):
        Post.objects.create(title=title)
        transaction.on_commit(lambda: committed.append(title))
    return committed


@belayed_task
async def acreates_durably(title: str) -> list:
    return await sync_to_async(creates_durably.function)(title)


gate = threading.Event()


@belayed_task(max_run_time=timedelta(seconds=0.3), max_attempts=1)
async def awaits_gate() -> None:
    await sync_to_async(gate.wait)(60)


@belayed_task
def enqueues(title: str, fail: bool = False) -> None:
    with transaction.atomic():
        Post.objects.create(title=title)
        greet.enqueue(title)
        if fail:
            raise ValueError("no")


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task
def django_logs_in(name: str, password: str) -> None: ...


@task
async def aadd(a: int, b: int = 0) -> int:
    return a + b


@task(takes_context=True, queue_name="mail")
def told(context, text: str) -> list:
    return [text, context.attempt, context.task_result.id]


@task
def fails(times: int = 99) -> str:
    job = current_job()
    if job.attempt <= times:
        raise KeyError("no")
    return "done"


@task
def returns_a_set() -> set:
    return {1}


@task
def cancels() -> None:
    raise Cancel("not needed")


@task
def patient() -> None: ...


@task
def discarded() -> None:
    raise KeyError("gone")


if hasattr(patient, "rules"):
    # Django 6.0's @task takes no options of a backend's.
    patient = patient.using(backoff=timedelta(hours=1))
    discarded = discarded.using(discard_on=KeyError)


if django.VERSION >= (6, 1) or django.VERSION < (6, 0):

    @task(max_attempts=2, max_run_time=timedelta(seconds=9), backoff=timedelta(seconds=1))
    def sturdy() -> int:
        return 1
