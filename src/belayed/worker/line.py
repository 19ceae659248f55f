"""The connection of a worker's loop: its own, opened anew when it has become unusable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from belayed.config import MEMORY
from belayed.database import Database
from belayed.errors import SchemaMissing, StoreError
from belayed.steps import Steps

T = TypeVar("T")

LOCK_TIMEOUT = 1.0
"""Seconds that a statement may wait for somebody else's lock, at most: for so long nothing else is written."""


class Line:
    """A connection to the jobs' database for one thread, whose answers may take *timeout* seconds each."""

    def __init__(self, jobs: Database, timeout: float) -> None:
        self.jobs, self.timeout = jobs, timeout
        self.connection: Any = None
        self.opened: Callable[[], object] = lambda: None
        """Called when it was opened anew, perhaps at another server."""

    def perform(self, steps: Steps[T], meanwhile: Callable[[], None] | None = None) -> T:
        """An operation's answer. Raises StoreError; SchemaMissing only if Belayed's own tables are missing.

        *meanwhile* is called once in any case: while the database is at work, where the driver lets us.
        """
        try:
            self.open()
            if meanwhile is not None and self.connection.dialect == "postgresql":
                self.connection.meanwhile, meanwhile = meanwhile, None
        finally:
            if meanwhile is not None:
                meanwhile()
        try:
            return self.connection.perform(steps)  # type: ignore[no-any-return]
        except SchemaMissing as error:
            self.refuse_others(error)
            raise
        except StoreError as error:
            self.jobs.explain(error)
            raise

    def refuse_others(self, error: SchemaMissing) -> None:
        """Raise the refusal that *error* is if what it misses is not Belayed's: the table of a trigger, for example."""
        try:
            self.open()
            self.connection.perform(self.jobs.store.version())
        except StoreError:
            return
        cause = error.__cause__ or error
        raise StoreError(f"the database refused a statement: {cause}") from cause

    def open(self) -> None:
        """Open it, if it is not or has become unusable."""
        if self.connection is None or not self.connection.usable():
            self.close()
            self.connection = self.jobs.connections.open(self.timeout, min(LOCK_TIMEOUT, self.timeout / 2))
            self.opened()

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def listener(self) -> Any:
        """A connection that hears of news, where the database can tell any; None where it cannot.

        Raises SharedSession where a pooler may be in between.
        """
        channel = getattr(self.jobs.store, "channel", None)
        if channel is None:
            return None
        self.open()
        return self.jobs.connections.listener(channel, self.timeout, self.connection)

    @property
    def watched(self) -> bool:
        """Whether `version` tells of what others write: SQLite, but not in memory, where all share one connection."""
        return self.jobs.address.dialect == "sqlite" and self.jobs.address.target != MEMORY

    def version(self) -> Any:
        """What is another one when another connection has written, or this one must be opened anew."""
        if self.connection is None or not self.connection.usable():
            return object()
        # The number begins anew with each connection.
        return self.connection.raw, self.connection.data_version()
