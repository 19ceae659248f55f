"""What a connection is to the rest: something that performs the steps of an operation."""

from __future__ import annotations

from typing import Protocol, TypeVar

from belayed.errors import SchemaMissing, StoreError, StoreUnavailable
from belayed.steps import Steps

T = TypeVar("T")

NO_TABLES = "Belayed's tables are not in this database: run `belayed migrate`"


class Connection(Protocol):
    """A connection whose driver waits in the calling thread."""

    dialect: str

    def perform(self, steps: Steps[T]) -> T:
        """The result of *steps*. On a connection of ours they are one transaction; the caller's own is left open."""
        ...


class AsyncConnection(Protocol):
    """A connection whose driver is awaited."""

    dialect: str

    async def perform(self, steps: Steps[T]) -> T:
        """The result of *steps*. On a connection of ours they are one transaction; the caller's own is left open."""
        ...


def store_error(
    error: Exception,
    *,
    sqlstate: str | None = None,
    gone: bool = False,
    uncertain: bool = False,
    place: str = "the database",
) -> StoreError:
    """The error of ours for what a driver raised; *gone* says that the connection is lost, *place* where to."""
    text = str(error).strip() or type(error).__name__
    if sqlstate in ("42P01", "3F000"):
        return SchemaMissing(f"{NO_TABLES} ({text.splitlines()[0]})")
    # 08: connection; 57P0x: shutting down; 53: too many connections, disk full; 40: deadlock, serialisation;
    # 25006: read-only after a failover.
    again = sqlstate is not None and (
        sqlstate[:2] in ("08", "53", "40") or sqlstate[:4] == "57P0" or sqlstate == "25006"
    )
    if gone or again:
        return StoreUnavailable(f"{place} is not available: {text}", uncertain=uncertain)
    return StoreError(f"{place} refused a statement: {text}")
