"""Django's connections in a worker: kept between jobs while they are of use, and left clean by each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from django.conf import settings
from django.db import connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper

from belayed.claim import Claimed
from belayed.connections.leftovers import is_open
from belayed.connections.sockets import readable
from belayed.job import Job
from belayed.plugin import Plugin
from belayed.safelog import log

ACTIVE = 1
"""PQTRANS_ACTIVE of libpq, as a plain number: psycopg may not be there."""
IDLE = 60.0
"""Seconds without a job after which a thread's connections are closed: a server may have dropped them."""
NONE: Mapping[str, int] = MappingProxyType({})


class Upkeep(Plugin):
    """Before a job: close what cannot be used, or is too old. After it: roll back what it has left open.

    All of it is about the connections of the thread that it is called in, as Django's connections are of threads.
    """

    def __init__(self) -> None:
        self.used = threading.local()

    @contextmanager
    def around_attempt(self, job: Job) -> Iterator[None]:
        self.freshen()
        outer = {one.alias: len(one.atomic_blocks) for one in connections.all(initialized_only=True) if is_begun(one)}
        try:
            yield
        finally:
            self.clean(job, outer)

    def freshen(self) -> None:
        """Close the connections that are of no use, and forget the queries that DEBUG keeps."""
        is_idle = time.monotonic() - getattr(self.used, "at", float("inf")) > IDLE
        for one in connections.all(initialized_only=True):
            # A test's is in a transaction, around a job that runs in it.
            if one.connection is not None and not one.in_atomic_block:
                renewed(one, is_idle)
        if settings.DEBUG:
            reset_queries()

    def clean(self, job: Job | Claimed, outer: Mapping[str, int] = NONE) -> None:
        """Roll back what a job has left open, and give connections back to Django's pool.

        *outer*: the connections that were in a transaction before the job, as in a test or in a program that runs it in
        its own thread (inline, or by drain()), and how many blocks of `atomic()` each was in.
        """
        for one in connections.all(initialized_only=True):
            cleaned(one, job, outer.get(one.alias))
            if one.connection is not None and one.alias not in outer and has_pool(one):
                one.close()
        self.used.at = time.monotonic()

    def rest(self, has_ended: bool) -> None:
        """Close what this thread would keep without using it: all, if it has ended."""
        for one in connections.all(initialized_only=True):
            if one.connection is not None and not one.in_atomic_block and (has_ended or is_over(one, is_idle=True)):
                one.close()


def renewed(one: BaseDatabaseWrapper, is_idle: bool) -> None:
    """Close a connection that is too old, or has been lost: the job opens another."""
    # As Django does at each request; CONN_HEALTH_CHECKS asks the server then, when it is first used.
    one.health_check_done = False
    is_old = is_over(one, is_idle)
    if not (is_old or one.errors_occurred or has_news(one.connection)) or is_begun(one):
        return
    if is_old:
        one.close()
    else:
        one.errors_occurred = False
        if not one.is_usable():
            one.close()


def is_begun(one: BaseDatabaseWrapper) -> bool:
    """Whether a transaction is open, by Django's knowledge or by SQL."""
    if one.connection is None:
        return False
    # Not get_autocommit(), which Django refuses in the thread of an event loop.
    return one.in_atomic_block or not one.autocommit or is_open(one.connection)


def is_over(one: BaseDatabaseWrapper, is_idle: bool) -> bool:
    """Whether CONN_MAX_AGE has passed. Its 0, the default, is for requests: it would open one for each job."""
    age = one.settings_dict["CONN_MAX_AGE"]
    if age == 0:
        return is_idle
    return age is not None and one.close_at is not None and time.monotonic() >= one.close_at


def has_news(raw: Any) -> bool:
    """Whether the server has said something that nobody asked for: mostly its good-bye, as at a restart."""
    try:
        return readable(raw.fileno())
    except AttributeError:
        # A driver that does not tell its socket, or has none.
        return False
    except Exception:
        return True


def is_asking(raw: Any) -> bool:
    """Whether the server is at a statement whose answer nobody waits for any more, as where a job was stopped.

    It takes no other one before that has ended.
    """
    try:
        return bool(raw.pgconn.transaction_status == ACTIVE)
    except AttributeError:
        # SQLite's has no server.
        return False


def has_pool(one: BaseDatabaseWrapper) -> bool:
    """Whether Django takes the connection from a pool, where each that is kept is one that others wait for."""
    return bool(one.settings_dict.get("OPTIONS", {}).get("pool"))


def cleaned(one: BaseDatabaseWrapper, job: Job | Claimed, outer: int | None) -> None:
    """Roll back a transaction that a job has left open: the connection's next user would write into it.

    *outer*: within how many blocks of a transaction the job ran; None: there was none. If the job has left a statement
    under way nothing can be asked: the connection is closed.
    """
    if outer is None and one.connection is not None and is_asking(one.connection):
        text = "%s #%d left a statement under way in the database %r: the connection is closed"
        log.warning(text, job.task, job.id, one.alias)
        forget_blocks(one)
        one.close()
        return
    if not is_left_open(one, outer):
        return
    log.warning("%s #%d left a transaction open on the database %r: it is rolled back", job.task, job.id, one.alias)
    if outer is not None:
        while len(one.atomic_blocks) > outer:
            one.atomic_blocks[-1].__exit__(RuntimeError, None, None)
        return
    forget_blocks(one)
    try:
        # Not by Django's own, which does nothing where it knows of no transaction: a job may have begun it in SQL.
        one.connection.rollback()
        one.set_autocommit(True)
    except Exception:
        one.close()


def is_left_open(one: BaseDatabaseWrapper, outer: int | None) -> bool:
    if outer is not None:
        return len(one.atomic_blocks) > outer
    return one.in_atomic_block or is_begun(one)


def forget_blocks(one: BaseDatabaseWrapper) -> None:
    """Let a connection know of no block of `atomic()`, as Django does when it opens one."""
    one.in_atomic_block = one.needs_rollback = one.closed_in_transaction = False
    one.atomic_blocks, one.savepoint_ids, one.run_on_commit = [], [], []
