"""The jobs of a chaos run that do no harm but to themselves; what does is in killers.py and vandals.py."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sqlite3
import threading
import time
from datetime import timedelta
from typing import Any

import belayed
from belayed import current_job, task
from tests.chaos import imports
from tests.chaos.ledger import note, ran

imports.obey()

SOON = timedelta(milliseconds=200)
local = threading.local()
jobs = belayed.configure(
    synchronous="normal", keep_succeeded=True, keep_failed=True, unknown_task_limit=timedelta(seconds=8)
)


class Tripped(Exception):
    """What a job raises on purpose."""


@task(backoff=SOON)
def works(key: str, seconds: float) -> None:
    with ran(key):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.02))


@task(backoff=SOON)
async def aworks(key: str, seconds: float) -> None:
    with ran(key):
        await asyncio.sleep(seconds)


@task(backoff=SOON, priority=-100)
def canary(key: str) -> None:
    """It shows that jobs get their turn."""
    with ran(key):
        pass


@task(backoff=SOON)
def trips(key: str) -> None:
    """It fails until it has failed once."""
    with ran(key):
        if not current_job().failures:
            raise Tripped


@task(backoff=SOON)
def transacts(key: str, seconds: float) -> None:
    """An effect in the jobs' database, committed together with the completion."""
    with ran(key), connection() as raw, current_job().transaction(raw):
        effect(raw, key)
        time.sleep(seconds)


@task(backoff=SOON)
def begets(key: str) -> None:
    """Another job, enqueued in the transaction that completes this one."""
    with ran(key), connection() as raw, current_job().transaction(raw):
        works.using(connection=raw).enqueue(f"child-of-{key}", 0.001)
        effect(raw, key)


@task
def poisons(key: str, how: str) -> None:
    note("start", key)
    note("dies", key)
    if how == "exit":
        os._exit(1)
    ctypes.string_at(0)


def effect(raw: Any, key: str) -> None:
    mark = "?" if isinstance(raw, sqlite3.Connection) else "%s"
    raw.execute(f"INSERT INTO chaos_effects (key) VALUES ({mark})", (key,))


@contextlib.contextmanager
def connection() -> Any:
    """A connection of this thread's own, not of Belayed's."""
    raw = getattr(local, "raw", None)
    if raw is None:
        if jobs.address.dialect == "sqlite":
            raw = sqlite3.connect(jobs.address.target, timeout=20, isolation_level=None)
        else:
            import psycopg

            raw = psycopg.connect(jobs.address.target, autocommit=True)
        local.raw = raw
    try:
        yield raw
    except BaseException:
        local.raw = None
        with contextlib.suppress(Exception):
            raw.close()
        raise


# The tasks of these modules are part of the application.
from tests.chaos import killers, vandals  # noqa: E402

__all__ = ["killers", "vandals"]
