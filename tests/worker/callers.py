"""Connections that applications have, in all their modes, and jobs that are completed in a transaction of one."""

from __future__ import annotations

import inspect
import sqlite3
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

import aiosqlite
import asyncpg
import psycopg
from psycopg.rows import dict_row

from belayed import Job, current_job
from belayed.config import address
from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.helpers import execute
from tests.worker.tasks import aact, act, bodies


@dataclass(frozen=True)
class Caller:
    """A way of connecting."""

    name: str
    dialect: str
    connect: Callable[[str], Any]
    is_async: bool = False
    implicit: bool = True
    """A statement that writes opens a transaction, which the application commits."""
    opens: str = "BEGIN"
    """A statement after which a transaction is open."""


def lite(**settings: Any) -> Callable[[str], Any]:
    return lambda target: sqlite3.connect(target, timeout=patient(20), **settings)


def lite_rows(target: str) -> sqlite3.Connection:
    raw = sqlite3.connect(target, timeout=patient(20))
    raw.row_factory, raw.text_factory = sqlite3.Row, bytes
    return raw


def postgres(**settings: Any) -> Callable[[str], Any]:
    return lambda url: psycopg.connect(url, **settings)


@asynccontextmanager
async def aiolite(target: str) -> Any:
    async with aiosqlite.connect(target, timeout=patient(20), isolation_level=None) as raw:
        raw.row_factory = sqlite3.Row
        yield raw


def apostgres(**settings: Any) -> Callable[[str], Any]:
    @asynccontextmanager
    async def connect(url: str) -> Any:
        raw = await psycopg.AsyncConnection.connect(url, **settings)
        try:
            yield raw
        finally:
            await raw.close()

    return connect


@asynccontextmanager
async def pg(url: str) -> Any:
    raw = await asyncpg.connect(url)
    try:
        yield raw
    finally:
        await raw.close()


@asynccontextmanager
async def pooled_pg(url: str) -> Any:
    async with asyncpg.create_pool(url, min_size=1) as pool, pool.acquire() as raw:
        yield raw


SQLITE3 = Caller("sqlite3", "sqlite", lite())
AIOSQLITE = Caller("aiosqlite", "sqlite", lambda target: aiosqlite.connect(target, timeout=patient(20)), is_async=True)
PSYCOPG = Caller("psycopg", "postgresql", postgres())
ASYNC_PSYCOPG = Caller("async psycopg", "postgresql", apostgres(), is_async=True)
ASYNCPG = Caller("asyncpg", "postgresql", pg, is_async=True, implicit=False)
EACH = [SQLITE3, AIOSQLITE, PSYCOPG, ASYNC_PSYCOPG, ASYNCPG]
"""Each driver, as it comes."""
ALL = [
    *EACH,
    Caller("sqlite3, no isolation", "sqlite", lite(isolation_level=None), implicit=False),
    Caller("sqlite3, exclusive", "sqlite", lite(isolation_level="EXCLUSIVE")),
    Caller("sqlite3, rows of bytes", "sqlite", lite_rows),
    Caller("aiosqlite, no isolation, rows", "sqlite", aiolite, is_async=True, implicit=False),
    Caller("psycopg, autocommit", "postgresql", postgres(autocommit=True), implicit=False),
    Caller("psycopg, dictionaries", "postgresql", postgres(row_factory=dict_row, prepare_threshold=0)),
    Caller("psycopg, client-side binds", "postgresql", postgres(cursor_factory=psycopg.ClientCursor)),
    Caller("async psycopg, autocommit", "postgresql", apostgres(autocommit=True), is_async=True, implicit=False),
    Caller("asyncpg, of a pool", "postgresql", pooled_pg, is_async=True, implicit=False),
]
if sys.version_info >= (3, 12):
    ALL += [
        Caller("sqlite3, autocommit", "sqlite", lite(autocommit=True), implicit=False),
        Caller("sqlite3, no autocommit", "sqlite", lite(autocommit=False), opens="SELECT * FROM effects"),
    ]
"""Each driver in each of its modes."""


def nothing(_: Any = None) -> None:
    pass


class Shop:
    """An application whose jobs write a row and complete themselves in one transaction."""

    def __init__(self, jobs: Jobs, caller: Caller) -> None:
        self.jobs, self.caller = jobs, caller
        self.errors: list[BaseException] = []
        """What the blocks of its jobs raised."""
        execute(jobs, "CREATE TABLE effects (n integer)")

    def connect(self) -> Any:
        """A connection of the application's: to be closed, or a context manager that is awaited."""
        return self.caller.connect(address(self.jobs.url).target)

    @property
    def effects(self) -> int:
        """How many rows others see."""
        return int(execute(self.jobs, "SELECT count(*) FROM effects")[0][0])

    def job(
        self,
        *,
        before: Callable[[Any], Any] = nothing,
        within: Callable[[Any], Any] = nothing,
        after: Callable[[Any], Any] = nothing,
        url: str | None = None,
        **options: Any,
    ) -> Job:
        """A job that calls *before*, *within* the block and *after* it; what these return is executed, or awaited."""
        target = address(url or self.jobs.url).target

        def work() -> str:
            with closing(self.caller.connect(target)) as raw:
                execute_in(raw, before(raw))
                try:
                    with current_job().transaction(raw) as completion:
                        raw.execute("INSERT INTO effects VALUES (1)")
                        execute_in(raw, within(completion))
                except BaseException as error:
                    self.errors.append(error)
                    raise
                execute_in(raw, after(raw))
            return "returned"

        async def awork() -> str:
            async with self.caller.connect(target) as raw:
                await aexecute_in(raw, before(raw))
                try:
                    async with current_job().transaction(raw) as completion:
                        await raw.execute("INSERT INTO effects VALUES (1)")
                        await aexecute_in(raw, within(completion))
                except BaseException as error:
                    self.errors.append(error)
                    raise
                await aexecute_in(raw, after(raw))
            return "returned"

        return self.enqueued(work, awork, **options)

    def enqueued(self, work: Callable[[], Any], awork: Callable[[], Any], **options: Any) -> Job:
        """A job that runs *work*, or *awork* where the connection is async."""
        name = f"{len(bodies)} of the shop"
        bodies[name] = awork if self.caller.is_async else work
        return (aact if self.caller.is_async else act).using(**options).enqueue(name)


def execute_in(raw: Any, text: Any) -> None:
    if isinstance(text, str):
        raw.execute(text)


async def aexecute_in(raw: Any, text: Any) -> None:
    if inspect.isawaitable(text):
        await text
    elif isinstance(text, str):
        await raw.execute(text)
