"""Where jobs are kept: one contract, and a store for each database."""

from __future__ import annotations

from belayed.store.base import Store
from belayed.store.postgresql import PostgresStore
from belayed.store.sqlite import SqliteStore
from belayed.store.statements import Tables

__all__ = ["Store", "open_store"]

STORES: dict[str, type[SqliteStore | PostgresStore]] = {"sqlite": SqliteStore, "postgresql": PostgresStore}


def open_store(dialect: str, *, prefix: str = "belayed_", schema: str | None = None, hints: bool = True) -> Store:
    """The store for a dialect, its tables named with *prefix*, in *schema* where there are such.

    Without *hints*, no operation wakes workers.
    """
    kind = STORES[dialect]
    store = kind(Tables(prefix, schema if kind.has_schemas else None))
    store.hints = hints
    return store
