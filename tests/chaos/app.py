"""The jobs of a chaos run. Each start and end is a line in the ledger: who, where, when."""

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

LEDGER = os.environ["CHAOS_LEDGER"]
SOON = timedelta(milliseconds=200)
local = threading.local()
jobs = belayed.configure(synchronous="normal", keep_succeeded=True, keep_failed=True)


class Tripped(Exception):
    """What a job raises on purpose."""


def note(event: str, key: str) -> None:
    """One line, written whole, however many processes write."""
    job = current_job()
    line = f"{event} {key} {job.id} {job.attempt} {os.getpid()} {os.getppid()} {time.time():.6f}\n"
    file = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@task(backoff=SOON)
def works(key: str, seconds: float) -> None:
    note("start", key)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.02))
    note("end", key)


@task(backoff=SOON)
async def aworks(key: str, seconds: float) -> None:
    note("start", key)
    await asyncio.sleep(seconds)
    note("end", key)


@task(backoff=SOON)
def trips(key: str) -> None:
    """It fails until it has failed once."""
    note("start", key)
    if not current_job().failures:
        raise Tripped
    note("end", key)


@task(backoff=SOON)
def transacts(key: str, seconds: float) -> None:
    """An effect in the jobs' database, committed together with the completion."""
    note("start", key)
    with connection() as raw, current_job().transaction(raw):
        effect(raw, key)
        time.sleep(seconds)
    note("end", key)


@task(backoff=SOON)
def begets(key: str) -> None:
    """Another job, enqueued in the transaction that completes this one."""
    note("start", key)
    with connection() as raw, current_job().transaction(raw):
        works.using(connection=raw).enqueue(f"child-of-{key}", 0.001)
        effect(raw, key)
    note("end", key)


@task
def poisons(key: str, how: str) -> None:
    note("start", key)
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
