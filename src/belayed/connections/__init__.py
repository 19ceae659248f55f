"""Anything that can perform the steps of a store operation: connections of the application's, and ours."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from belayed.addresses import without_secrets
from belayed.config import MEMORY, Address
from belayed.connections.base import AsyncConnection, Connection
from belayed.connections.parameters import ConnectionParameters, Source, of_url
from belayed.connections.pool import IDLE, MOST, AsyncPool, Pool
from belayed.connections.sqlite import CallersAiosqlite, CallersSqlite, OwnSqlite
from belayed.connections.sqlitefaults import translated
from belayed.errors import ConfigError
from belayed.steps import Params, Row, Statement, Steps

T = TypeVar("T")

WAIT = 30.0
"""Seconds to wait for an answer, unless told otherwise."""
DEEPEST = 5
"""So many proxies may be around a connection."""

__all__ = ["AsyncConnection", "Connection", "Connections", "is_async", "wrap"]


def wrap(raw: Any) -> Connection | AsyncConnection:
    """A connection of the application's as one that performs steps within its open transaction.

    Takes connections of sqlite3, aiosqlite, psycopg (sync and async) and asyncpg, and proxies of them: what tracers put
    in their place (wrapt), and what SQLAlchemy's pools hand out. Raises ConfigError.
    """
    found = raw
    for _ in range(DEEPEST):
        if (connection := of_driver(found)) is not None:
            return connection
        found = getattr(found, "__wrapped__", None) or getattr(found, "dbapi_connection", None)
    raise ConfigError(
        f"connection={without_secrets(repr(raw))}: it takes a connection of sqlite3, aiosqlite, psycopg or asyncpg, "
        f"not {type(raw).__name__}"
    )


def of_driver(raw: Any) -> Connection | AsyncConnection | None:
    """A driver's own connection, wrapped; None for anything else."""
    if isinstance(raw, sqlite3.Connection):
        return CallersSqlite(raw)
    family = {base.__module__.partition(".")[0]: base.__name__ for base in reversed(type(raw).__mro__)}
    if "aiosqlite" in family and "aiosqlite" in sys.modules:
        return CallersAiosqlite(raw)
    if "psycopg" in family and "psycopg" in sys.modules:
        import psycopg

        from belayed.connections.psycopg import CallersAsyncPsycopg, CallersPsycopg

        if isinstance(raw, psycopg.Connection):
            return CallersPsycopg(raw)
        if isinstance(raw, psycopg.AsyncConnection):
            return CallersAsyncPsycopg(raw)
    if "asyncpg" in family and hasattr(raw, "copy_records_to_table"):
        from belayed.connections.asyncpg import CallersAsyncpg

        return CallersAsyncpg(raw)
    return None


def is_async(connection: Connection | AsyncConnection) -> bool:
    return inspect.iscoroutinefunction(connection.perform)


class Shared:
    """The one connection of a database in memory, for a worker beside the program's own use of it."""

    dialect = "sqlite"

    def __init__(self, pool: Pool[Any]) -> None:
        self.pool = pool

    def perform(self, steps: Steps[T]) -> T:
        return self.pool.perform(steps)

    def usable(self) -> bool:
        return True

    def data_version(self) -> int:
        """Another number at every look: what the same connection writes changes no version."""
        return time.monotonic_ns()

    def close(self) -> None:
        """The pool keeps it."""


def opened(
    address: Address, source: Source, synchronous: str, timeout: float | None, lock_timeout: float | None = None
) -> Any:
    """A connection of ours, for threads."""
    if address.dialect == "sqlite":
        return OwnSqlite(address.target, source(), synchronous=synchronous, timeout=timeout)
    from belayed.connections.postgresql import OwnPsycopg

    return OwnPsycopg(source(), timeout=timeout, lock_timeout=lock_timeout)


def rehearsed(own: Any, steps: Steps[T]) -> T:
    """The result of *steps*, their transaction rolled back."""
    caller: Any = wrap(own.raw)
    if not isinstance(own, OwnSqlite):
        caller.begin()
        try:
            return caller.perform(steps)  # type: ignore[no-any-return]
        finally:
            caller.roll_back()
    with own.lock:
        try:
            own.patiently(lambda: own.raw.execute("BEGIN IMMEDIATE"))
            return caller.perform(steps)  # type: ignore[no-any-return]
        except sqlite3.Error as error:
            raise translated(error, own.path) from error
        finally:
            own.roll_back()


def asked(connection: Any, call: tuple[Statement, Params]) -> list[Row]:
    return connection.ask(call)  # type: ignore[no-any-return]


class Connections:
    """The connections of ours to one database."""

    def __init__(
        self,
        address: Address,
        *,
        source: Source | None = None,
        synchronous: str = "full",
        timeout: float | None = WAIT,
    ) -> None:
        """*timeout* is how many seconds to wait for an answer of the database, None for ever.

        *source* says what each is opened with: it may wait, and is asked in a thread of its own in an event loop.
        Without it that is the address.
        """
        self.address, self.synchronous, self.timeout = address, synchronous, timeout
        self.source = source or partial(of_url, address.target)
        # A database in memory belongs to its connection: there is one, and it stays.
        alone = address.target == MEMORY
        self.pool: Pool[Any] = Pool(
            partial(opened, address, self.source, synchronous, timeout),
            most=1 if alone else MOST,
            idle=0 if alone else IDLE,
            timeout=timeout,
        )
        self.apool: AsyncPool[Any] | None = None
        if address.dialect != "sqlite":
            from belayed.connections.postgresql import OwnAsyncPsycopg

            async def open() -> OwnAsyncPsycopg:
                given = await asyncio.to_thread(source) if source else of_url(address.target)
                return await OwnAsyncPsycopg.open(given, timeout=timeout)

            self.apool = AsyncPool(open, timeout=timeout)

    def __repr__(self) -> str:
        return f"<Connections to {self.address.shown}>"

    def perform(self, steps: Steps[T]) -> T:
        """The result of *steps*, in a transaction of their own."""
        return self.pool.perform(steps)

    def ask(self, call: tuple[Statement, Params]) -> list[Row]:
        """The rows of a statement that is an operation by itself."""
        return self.pool.use(asked, call)

    def rehearse(self, steps: Steps[T]) -> T:
        """The result of *steps*, of which nothing stays: their transaction is rolled back."""
        if self.address.target == MEMORY:
            return self.pool.use(rehearsed, steps)
        own = self.open()
        try:
            return rehearsed(own, steps)
        finally:
            own.close()

    async def aperform(self, steps: Steps[T]) -> T:
        """The result of *steps*, in a transaction of their own, without blocking the event loop."""
        if self.apool is None:
            return await asyncio.to_thread(self.pool.perform, steps)
        return await self.apool.perform(steps)

    def open(self, timeout: float | None = None, lock_timeout: float | None = None) -> Any:
        """A connection that is not of the pool: a worker's own. Of a database in memory there is only the pool's.

        It waits at most *timeout* seconds for an answer, if that is less than the other connections do; and at most
        *lock_timeout* seconds for a lock of a row or a table, where the database has such.
        """
        if self.address.target == MEMORY:
            return Shared(self.pool)
        return opened(self.address, self.source, self.synchronous, self.shortest(timeout), lock_timeout)

    def listener(self, channel: str, timeout: float | None = None, beside: Any = None) -> Any:
        """What hears the hints of a channel, or None where there are none. *timeout* is as for `open()`.

        Raises SharedSession where a pooler may be in between; *beside* is an idle connection of `open()` for the proof.
        """
        if self.address.dialect != "postgresql":
            return None
        from belayed.connections.listening import Listener

        return Listener(self.source, channel, timeout=self.shortest(timeout), beside=beside)

    def parameters(self, variables: Mapping[str, str]) -> ConnectionParameters:
        """What another process opens a connection with, to get such as this one does.

        *variables* are those of the environment that it does not have.
        """
        given = self.source()
        if self.address.dialect != "postgresql" or not any(name.startswith("PG") for name in variables):
            return given
        from belayed.connections.environment import with_variables

        return with_variables(given, variables)

    def shortest(self, timeout: float | None) -> float | None:
        return min((one for one in (timeout, self.timeout) if one is not None), default=None)

    def close(self) -> None:
        """Close the idle connections; those of event loops by `aclose()`."""
        self.pool.close()

    async def aclose(self) -> None:
        """Close the idle connections, the running event loop's too."""
        self.pool.close()
        if self.apool is not None:
            await self.apool.close()
