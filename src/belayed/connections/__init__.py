"""Anything that can perform the steps of a store operation: connections of the application's, and ours."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import sys
import time
from typing import Any, TypeVar

from belayed.config import Address, hidden
from belayed.connections.base import AsyncConnection, Connection
from belayed.connections.pool import AsyncPool, Pool
from belayed.connections.sqlite import CallersAiosqlite, CallersSqlite, OwnSqlite
from belayed.errors import ConfigError
from belayed.steps import Steps

T = TypeVar("T")

MEMORY = ":memory:"

__all__ = ["AsyncConnection", "Connection", "Connections", "is_async", "wrap"]


def wrap(raw: Any) -> Connection | AsyncConnection:
    """A connection of the application's as one that performs steps within its open transaction.

    Takes connections of sqlite3, aiosqlite, psycopg (sync and async) and asyncpg. Raises ConfigError.
    """
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
    raise ConfigError(
        f"connection={hidden(repr(raw))}: it takes a connection of sqlite3, aiosqlite, psycopg or asyncpg, "
        f"not {type(raw).__name__}"
    )


def is_async(connection: Connection | AsyncConnection) -> bool:
    return inspect.iscoroutinefunction(connection.perform)


class Shared:
    """The one connection of a database in memory, for a worker beside the program's own use of it."""

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


class Connections:
    """The connections of ours to one database."""

    def __init__(self, address: Address, *, synchronous: str = "full") -> None:
        self.address = address
        if address.dialect == "sqlite":
            # A database in memory belongs to its connection: there is one, and it stays.
            alone = address.target == MEMORY
            self.pool: Pool[Any] = Pool(
                lambda: OwnSqlite(address.target, synchronous=synchronous),
                most=1 if alone else 4,
                idle=0 if alone else 60,
            )
            self.apool: AsyncPool[Any] | None = None
        else:
            from belayed.connections.postgresql import OwnAsyncPsycopg, OwnPsycopg

            self.pool = Pool(lambda: OwnPsycopg(address.target))
            self.apool = AsyncPool(lambda: OwnAsyncPsycopg.open(address.target))

    def __repr__(self) -> str:
        return f"<Connections to {hidden(self.address.target)}>"

    def perform(self, steps: Steps[T]) -> T:
        """The result of *steps*, in a transaction of their own."""
        return self.pool.perform(steps)

    async def aperform(self, steps: Steps[T]) -> T:
        """The result of *steps*, in a transaction of their own, without blocking the event loop."""
        if self.apool is None:
            return await asyncio.to_thread(self.pool.perform, steps)
        return await self.apool.perform(steps)

    def open(self) -> Any:
        """A connection that is not of the pool: a worker's own. Of a database in memory there is only the pool's."""
        return Shared(self.pool) if self.address.target == MEMORY else self.pool.open()

    def listener(self, channel: str) -> Any:
        """What hears the hints of a channel, or None where there are none."""
        if self.address.dialect != "postgresql":
            return None
        from belayed.connections.postgresql import Listener

        return Listener(self.address.target, channel)

    def close(self) -> None:
        """Close the idle connections; those of event loops by `aclose()`."""
        self.pool.close()

    async def aclose(self) -> None:
        """Close the idle connections, the running event loop's too."""
        self.pool.close()
        if self.apool is not None:
            await self.apool.close()
