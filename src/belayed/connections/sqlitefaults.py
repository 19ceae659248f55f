"""What SQLite refuses, as errors of ours."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from belayed.connections.base import NO_TABLES, store_error
from belayed.errors import SchemaMissing, StoreError, StoreUnavailable

OUT_OF_REACH = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
                sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)  # fmt: skip

LOCKED = (
    "is not available: another connection has been writing for as long as was waited, a transaction that was left "
    "open, most likely. If it is of this program, enqueue by that connection (connection=…), or commit it before"
)
LOCKED_TO_CALLER = (
    "the database is not available: another connection than the one that was given is writing; the `timeout` of "
    "sqlite3.connect() says for how long to wait"
)


def primary_code(error: Exception) -> int:
    """SQLite's primary result code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_of_closed(error: Exception) -> bool:
    """Whether it says that a connection is closed. Of aiosqlite that is an error of Python's own."""
    return type(error) is ValueError or "closed database" in str(error)


def translated(error: Exception, path: str | None = None) -> StoreError:
    """The error of ours for what sqlite3 raised, or aiosqlite on a connection that is closed."""
    if "no such table" in str(error):
        return SchemaMissing(f"{NO_TABLES} ({error})")
    if primary_code(error) == sqlite3.SQLITE_BUSY:
        return StoreUnavailable(f"the database {path} {LOCKED} ({error})" if path else f"{LOCKED_TO_CALLER} ({error})")
    place = f"the database {path}" if path else "the database"
    return store_error(error, gone=primary_code(error) in OUT_OF_REACH or is_of_closed(error), place=place)


def locked_out(path: str) -> str:
    """What keeps this user from writing the file at *path*, with what to do; empty if nothing of the kind does."""
    who = f"user {os.getuid()}" if hasattr(os, "getuid") else "this user"
    if Path(path).exists() and not os.access(path, os.W_OK):
        return f"{who} may not write to it; give it to that user, or name another database (BELAYED_URL)"
    folder = Path(path).absolute().parent
    if not os.access(folder, os.W_OK):
        return (
            f"{who} may not write in the folder {folder}, where SQLite keeps its log beside it; give the folder to "
            "that user, or name another database (BELAYED_URL)"
        )
    return ""


def unopened(error: sqlite3.Error, path: str) -> StoreUnavailable:
    """The error of ours for a file that could not be opened."""
    if not Path(path).parent.is_dir():
        return StoreUnavailable(f"cannot open {path}: there is no folder {Path(path).parent}")
    if primary_code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) and (barred := locked_out(path)):
        return StoreUnavailable(f"cannot open {path} as a SQLite database: {barred}")
    return StoreUnavailable(f"cannot open {path} as a SQLite database: {error}")
