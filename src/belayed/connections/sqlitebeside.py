"""The files beside an SQLite database, its write-ahead log and the log's index: without them there are two databases.

Who has them open goes on with what nobody else sees, and who opens the database then gets errors, or a log of its own.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from belayed.connections import forks
from belayed.safelog import log

LOG, INDEX = "-wal", "-shm"
PATIENCE = 5.0
"""Seconds to wait for an operation of another thread on the same database."""

told: set[tuple[str, int]] = set()
"""The files, by path and inode, of which it is logged that they are gone: all connections see it."""


class Beside:
    """What a connection has seen beside its database."""

    def __init__(self, place: Path | None) -> None:
        self.paths = [] if place is None else [f"{place}{end}" for end in (LOG, INDEX)]
        self.seen: dict[str, os.stat_result] = {}
        self.files: list[tuple[str, int, int]] = []

    def lost(self) -> str | None:
        """The file that is not the one any more that this connection has open; None: all are."""
        # At each operation: some microseconds count.
        for path, inode, device in self.files:
            try:
                now = os.stat(path)  # noqa: PTH116
            except OSError:
                return path
            if now.st_ino != inode or now.st_dev != device:
                return path
        if len(self.files) < len(self.paths):
            self.look()
        return None

    def look(self) -> None:
        """Remember the files as far as they are there: not where another mode than WAL was wanted."""
        self.seen = {path: stat for path in self.paths if (stat := found(path)) is not None}
        self.files = [(path, stat.st_ino, stat.st_dev) for path, stat in self.seen.items()]


def found(path: str | Path) -> os.stat_result | None:
    with suppress(OSError):
        return os.stat(path)  # noqa: PTH116
    return None


def leave(own: Any, lost: str) -> None:
    """Let all connections of this process leave files that are gone: one alone would share them with the next.

    What the log had is written into the database, unless somebody has begun another one: it would go between its pages.
    Called with `forks.opening` held and the connection's lock.
    """
    with ExitStack() as stack:
        others = []
        for one in forks.present():
            if one is not own and one.place == own.place and one.lock.acquire(timeout=PATIENCE):
                stack.callback(one.lock.release)
                others.append(one)
        is_kept = not any(is_begun(path, own.beside.seen.get(path)) for path in own.beside.paths)
        if is_kept:
            with suppress(sqlite3.Error):
                own.raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        for one in others:
            one.before_fork()
    kept = (
        "what was in it is in the database"
        if is_kept
        else "another one has been begun, and what was not in the database by then is lost"
    )
    tell(lost, own.beside.seen[lost], "%s was removed or replaced while it was in use: %s; it is opened again", kept)


def is_begun(path: str, before: os.stat_result | None) -> bool:
    """Whether somebody uses another file in the place of one that a connection has open."""
    now = found(path)
    if now is None or before is None or os.path.samestat(now, before):
        return False
    # The log of somebody who has written nothing yet is empty.
    return now.st_size > 0


def replaced(place: Path, before: os.stat_result | None) -> None:
    """Log that the database itself is another one."""
    what = "is another file now" if place.exists() else "is gone"
    tell(str(place), before, "%s was removed or replaced while it was in use: it %s, and is opened again", what)


def tell(path: str, before: os.stat_result | None, text: str, what: str) -> None:
    """Log it once for all connections that see it."""
    file = path, before.st_ino if before is not None else 0
    if file not in told:
        told.add(file)
        log.warning(text, path, what)
