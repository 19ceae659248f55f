"""Opens an SQLite file for a connection of ours, and sets the connection up."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from belayed.config import MEMORY
from belayed.connections.leftovers import leftovers
from belayed.connections.parameters import ConnectionParameters
from belayed.connections.sqlitefaults import unopened
from belayed.errors import StoreUnavailable

BUSY = 3
"""Milliseconds that SQLite itself waits for another connection: its waiting doubles up to 100, in which a busy file is
never seen free."""
LOG_LIMIT = 16 * 1024 * 1024
"""Bytes to which the write-ahead log shrinks again, after a long reader has kept it from being reused."""
LOG_PAGES = 4000
"""Pages of it, a little less, after which it goes into the file: at SQLite's 1,000 a busy worker does little else."""
Patiently = Callable[[Callable[[], Any]], Any]


def opened(path: str, parameters: ConnectionParameters, synchronous: str, patiently: Patiently) -> sqlite3.Connection:
    """A connection in autocommit, which begins with the application's commands: what they set is left as it is.

    *patiently* asks again while another connection writes. Raises StoreUnavailable.
    """
    uri, commands = parameters.uri, parameters.commands
    if uri is None:
        make_private(path)
    try:
        with leftovers.overlooked():
            raw = sqlite3.connect(
                uri or path, timeout=BUSY / 1000, isolation_level=None, check_same_thread=False, uri=uri is not None
            )
    except sqlite3.Error as error:
        raise unopened(error, path) from error
    try:
        # First: one of them may be the key of the file.
        for number, text in enumerate(commands, 1):
            try:
                patiently(lambda: raw.execute(text))  # noqa: B023
            except sqlite3.Error as error:
                raise refused(error, path, number) from None
        for text in (*own(synchronous, commands), f"PRAGMA busy_timeout = {BUSY}"):
            patiently(lambda: raw.execute(text))  # noqa: B023
    except sqlite3.Error as error:
        raw.close()
        raise unopened(error, path) from error
    except BaseException:
        raw.close()
        raise
    return raw


def own(synchronous: str, commands: Sequence[str]) -> list[str]:
    """What a connection of ours is set to where the application's commands do not say it."""
    ours = {
        "journal_mode": "WAL",
        "synchronous": synchronous,
        "journal_size_limit": LOG_LIMIT,
        "wal_autocheckpoint": LOG_PAGES,
    }
    theirs = " ".join(commands).lower()
    return [f"PRAGMA {name} = {value}" for name, value in ours.items() if name not in theirs]


def make_private(path: str) -> None:
    """Make the file if it is not there, and not for everybody to read: the arguments of jobs are in it."""
    if path != MEMORY:
        # Where it cannot be made, or is there already, SQLite says what there is to say.
        with suppress(OSError, ValueError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o660))


def refused(error: sqlite3.Error, path: str, number: int) -> StoreUnavailable:
    """The error of ours for a command of the application's, without what SQLite says: it may quote the file's key."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreUnavailable(
        f"cannot open {path}: SQLite refused command {number} of those that each connection begins with ({name}); try "
        "it by hand"
    )
