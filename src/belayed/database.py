"""One store and the connections to it: performs operations in their own transaction, or in the caller's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, TypeVar, cast

from belayed import origin
from belayed.addresses import hidden
from belayed.claim import running
from belayed.config import MEMORY, Address, Config, address
from belayed.connections import Connections, is_async, wrap
from belayed.connections.parameters import Source
from belayed.errors import ConfigError, SchemaMissing, StoreError
from belayed.safelog import log
from belayed.steps import Steps, arun, run
from belayed.store import Store, open_store

T = TypeVar("T")
Operation = Callable[[], Steps[T]]
Plan = Generator[Any, Any, T]
"""Operations one after the other: it yields each operation's steps, and is sent what they return."""

IN_MEMORY = (
    "%s keeps jobs in the memory of this process: no worker but one within it sees them, and they are lost when it "
    "ends; name a file, such as sqlite:///jobs.db, or a server"
)


def connections(address: Address, config: Config, source: Source | None) -> Connections:
    """Connections of ours, as the settings want them."""
    timeout = None if config.store_timeout is None else config.store_timeout.total_seconds()
    return Connections(address, source=source, synchronous=config.synchronous, timeout=timeout)


class Database:
    """A store behind connections of ours. Nothing is opened before it is first needed."""

    migrate_command = "belayed migrate"
    """The command that makes the tables, for people to copy."""
    makes_tables = True
    """Whether tables that are not there are made, on SQLite: not where somebody only looks."""
    quick = True
    """Whether a single statement may go to connections of ours without the detour of `do`."""

    source: Source | None = None
    """Says what each connection of ours is opened with; None: the URL does."""

    def __init__(self, config: Config, source: Source | None = None) -> None:
        self.config = config
        if source is not None:
            self.source = source
        self.place(address(config.url) if config.url else origin.found())
        if self.address.target == MEMORY and self.source is None:
            log.warning(IN_MEMORY, origin.shown(self.address))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} in {hidden(self.url)}>"

    def place(self, address: Address) -> None:
        self.address, config = address, self.config
        self.url = self.address.url
        self.store: Store = open_store(
            self.address.dialect, prefix=config.prefix, schema=config.schema, hints=config.hints
        )
        self.connections = connections(self.address, self.config, self.source)

    def move(self, url: str) -> None:
        """Keep what it keeps at *url* instead: for all of the program's code that holds it."""
        self.close()
        self.config = replace(self.config, url=url)
        self.place(address(url))

    def migrate(self) -> list[int]:
        """Bring the tables to this version; the versions applied."""
        return self._perform(self.store.migrate())

    async def amigrate(self) -> list[int]:
        """Bring the tables to this version; the versions applied."""
        return await self._aperform(self.store.migrate())

    def migrate_remedy(self) -> str:
        """What to do about tables that are missing or old."""
        return self.migrate_command

    def how_to_migrate(self) -> str:
        """`migrate_remedy` as a part of a sentence."""
        remedy = self.migrate_remedy()
        return f"run `{remedy}`" if remedy == self.migrate_command else remedy

    def check_schema(self) -> int:
        """The version of the tables, made first on SQLite. Raises SchemaMissing or SchemaNewer."""
        return cast(int, self.do(self.store.version))

    def close(self) -> None:
        """Close idle connections. They are opened again when needed."""
        self.connections.close()

    async def aclose(self) -> None:
        """Close idle connections, the running event loop's too."""
        await self.connections.aclose()

    def existing(self, operation: Operation[T]) -> Plan[T]:
        """The operation's answer; on SQLite its tables are made when they are not there."""
        try:
            return cast(T, (yield operation()))
        except SchemaMissing as error:
            return (yield from self.anew(operation, error))

    def anew(self, operation: Operation[T], error: SchemaMissing) -> Plan[T]:
        """The operation's answer after the tables were missing."""
        if self.address.dialect != "sqlite" or not self.makes_tables:
            raise SchemaMissing(f"{error}; the database is {origin.shown(self.address)}") from error
        yield self.store.migrate()
        return cast(T, (yield operation()))

    def pin(self) -> None:
        """Find out once, on a connection of ours, which schema the tables are in: there workers look, too.

        Raises SchemaMissing if they are in none that it sees: what a caller's search path finds is not ours.
        """
        connection = self.connections.open()
        try:
            self.pin_to(connection.perform(self.store.place()))
        finally:
            connection.close()

    def pin_to(self, schema: str | None) -> None:
        if schema is None:
            error = SchemaMissing(
                "Belayed's tables are in no schema that its own connections see: "
                f"{self.how_to_migrate()}, or name their schema (BELAYED_SCHEMA)"
            )
            self.explain(error)
            raise error
        self.store.pin(schema)

    def do(self, operation: Operation[T], connection: Any = None) -> T:
        """The operation's answer, in its own transaction or that of the caller's connection."""
        if connection is None:
            try:
                return self._perform(operation())
            except SchemaMissing as error:
                return run(self.anew(operation, error), self._perform)
        wrapped = self._wrapped(connection)
        if is_async(wrapped):
            raise ConfigError(f"connection={connection!r} is async: await the twin of this call, such as aenqueue()")
        if not self.store.pinned:
            self.pin()
        try:
            return run(self.existing(operation), wrapped.perform)
        except StoreError as error:
            self.explain(error)
            raise

    async def ado(self, operation: Operation[T], connection: Any = None) -> T:
        """The operation's answer, in its own transaction or that of the caller's connection."""
        if connection is None:
            return await arun(self.existing(operation), self._aperform)
        wrapped = self._wrapped(connection)
        if not self.store.pinned:
            await asyncio.to_thread(self.pin)
        try:
            if is_async(wrapped):
                return await arun(self.existing(operation), wrapped.perform)
            return run(self.existing(operation), wrapped.perform)
        except StoreError as error:
            await asyncio.to_thread(self.explain, error)
            raise

    def _wrapped(self, connection: Any) -> Any:
        wrapped = wrap(connection)
        if wrapped.dialect != self.address.dialect:
            raise ConfigError(
                f"connection={connection!r} is of {wrapped.dialect}, but the jobs are kept in {self!r}: a job can join "
                "only a transaction of its own database"
            )
        if (run := running.get()) is not None and connection not in run.given:
            run.given.append(connection)
        return wrapped

    def _perform(self, steps: Steps[T]) -> T:
        try:
            return self.connections.perform(steps)
        except StoreError as error:
            self.explain(error)
            raise

    async def _aperform(self, steps: Steps[T]) -> T:
        try:
            return await self.connections.aperform(steps)
        except StoreError as error:
            await asyncio.to_thread(self.explain, error)
            raise

    def explain(self, error: StoreError) -> None:
        """Raise an error that says better what was refused and what to do about it, if the database can tell."""
        if (asking := self.store.explanation(error)) is None:
            return
        connection = self.connections.open()
        try:
            connection.perform(asking)
        finally:
            connection.close()
