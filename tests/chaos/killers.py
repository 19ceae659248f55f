"""Jobs that end their process: around a transaction of their own, or by what they leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

from belayed import current_job, task
from tests.chaos import app
from tests.chaos.ledger import note, ran

left_behind: set[asyncio.Task[None]] = set()
"""Kept, or the event loop would forget them."""
at_once = asyncio.Semaphore(20)
"""A server takes only so many connections."""


def die(how: str, key: str, job: Any = None) -> None:
    """End this process."""
    note("dies", key, job)
    if how == "exit":
        os._exit(3)
    if how == "fault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


@task(backoff=app.SOON)
def completes_and_dies(key: str, how: str, seconds: float) -> None:
    """It commits its completion, goes on for a while, and ends its process."""
    note("start", key)
    with app.connection() as raw, current_job().transaction(raw):
        app.effect(raw, key)
    time.sleep(seconds)
    die(how, key)


@task(backoff=app.SOON)
async def acompletes_and_dies(key: str, how: str, seconds: float) -> None:
    """As `completes_and_dies`, in the event loop; there it may hold up its neighbours meanwhile."""
    note("start", key)
    async with aconnection() as raw, current_job().transaction(raw):
        await aeffect(raw, key)
    if seconds > 0.5:
        time.sleep(0.1)  # noqa: ASYNC251
    await asyncio.sleep(seconds)
    die(how, key)


@task
def dies_in_transaction(key: str, how: str, when: str) -> None:
    """It ends its process before its transaction, within it, or after it was rolled back: no effect, no completion."""
    note("start", key)
    if when == "before":
        die(how, key)
    with app.connection() as raw, contextlib.suppress(app.Tripped), current_job().transaction(raw):
        app.effect(raw, key)
        if when == "within":
            die(how, key)
        raise app.Tripped
    die(how, key)


@task(backoff=app.SOON)
def leaves_a_thread(key: str, how: str, after: float, completes: bool) -> None:
    """It succeeds, and a thread that it has started ends the process later."""
    job = current_job()

    def later() -> None:
        time.sleep(after)
        die(how, key, job)

    with ran(key):
        threading.Thread(target=later, daemon=True).start()
        if completes:
            with app.connection() as raw, job.transaction(raw):
                app.effect(raw, key)


@task(backoff=app.SOON)
async def leaves_a_task(key: str, how: str, after: float) -> None:
    """It succeeds, and an asyncio task that it has started ends the process later."""
    job = current_job()

    async def later() -> None:
        await asyncio.sleep(after)
        die(how, key, job)

    with ran(key):
        left_behind.add(asyncio.get_running_loop().create_task(later()))


@contextlib.asynccontextmanager
async def aconnection() -> AsyncIterator[Any]:
    """An async connection for one job, not of Belayed's."""
    async with at_once:
        if app.jobs.address.dialect == "sqlite":
            import aiosqlite

            raw: Any = await aiosqlite.connect(app.jobs.address.target, timeout=20, isolation_level=None)
        else:
            import psycopg

            raw = await psycopg.AsyncConnection.connect(app.jobs.address.target, autocommit=True)
        try:
            yield raw
        finally:
            with contextlib.suppress(Exception):
                await raw.close()


async def aeffect(raw: Any, key: str) -> None:
    mark = "?" if app.jobs.address.dialect == "sqlite" else "%s"
    await raw.execute(f"INSERT INTO chaos_effects (key) VALUES ({mark})", (key,))
