"""A transaction of the application's that keeps its own thread waiting for SQLite's write lock: until the time is up.

Which connection has the lock, SQLite does not say. Linux says which process has it (/proc/locks), and Python which
connections there are: where only this thread could end what is open on them, it would wait for itself.
"""

from __future__ import annotations

import gc
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from belayed.connections import forks
from belayed.connections.leftovers import is_bound
from belayed.errors import StoreError

SUSPICIOUS = 1.0
"""Seconds of waiting after which to look: few transactions of others take so long, and a look takes milliseconds."""
WRITE_LOCK = 120
"""The byte of the -shm file that is locked while somebody writes (https://sqlite.org/walformat.html)."""
OWN = (
    "a transaction that this thread has begun on another connection keeps it locked, and would be ended only after "
    "this call: hand that connection over, by connection=…, so that the job is saved with it; or commit it before"
)


def refuse_own_transaction(own: Any, path: str) -> None:
    """Raise StoreError if a transaction that only this thread can end keeps the file of *own* locked."""
    if own.place is None or not is_locked_here(f"{path}-shm"):
        return
    ours: list[Any] = [*forks.present()]
    if any(one is not own and one.place == own.place and one.is_writing for one in ours):
        return
    known = {id(one.raw) for one in ours}
    candidates = [raw for raw in opened() if id(raw) not in known and concerns(raw, own.place)]
    if candidates and all(is_this_threads(raw) for raw in candidates):
        raise StoreError(f"the database {path} waits for itself: {OWN}")


def is_locked_here(file: str) -> bool:
    """Whether this process has SQLite's write lock, as far as the system says."""
    try:
        # The file must not be opened: to close it would take all of this process's locks.
        inode = Path(file).stat().st_ino
        lines = Path("/proc/locks").read_text("ascii", "replace").splitlines()
    except (OSError, ValueError):
        return False
    for line in lines:
        words = line.split()
        if words[1:4] == ["POSIX", "ADVISORY", "WRITE"] and words[4] == str(os.getpid()):
            begin, end = int(words[6]), WRITE_LOCK if words[7] == "EOF" else int(words[7])
            if words[5].endswith(f":{inode}") and begin <= WRITE_LOCK <= end:
                return True
    return False


def opened() -> Iterator[sqlite3.Connection]:
    """The connections of this process with an open transaction."""
    for raw in gc.get_objects():
        # Not isinstance, which would ask proxies of all kinds what they are.
        if issubclass(type(raw), sqlite3.Connection):
            with suppress(sqlite3.Error):
                if raw.in_transaction:
                    yield raw


def concerns(raw: sqlite3.Connection, place: Path) -> bool:
    """Whether a connection has a file open. Where this thread may not ask, it may have."""
    try:
        cursor = sqlite3.Connection.cursor(raw)
        cursor.row_factory = None
        files = [row[2] for row in cursor.execute("PRAGMA database_list").fetchall()]
        cursor.close()
    except sqlite3.Error:
        return True
    for file in files:
        with suppress(OSError, ValueError):
            if file and place.samefile(os.fsdecode(file)):
                return True
    return False


def is_this_threads(raw: sqlite3.Connection) -> bool:
    """Whether only this thread could go on with a connection's transaction."""
    try:
        sqlite3.Connection.cursor(raw).close()
    except sqlite3.Error:
        return False
    if is_bound(raw) or is_of_django(raw):
        return True
    # Any thread may use it: so it must be the only one there is.
    return threading.enumerate() == [threading.current_thread()]


def is_of_django(raw: sqlite3.Connection) -> bool:
    """Whether it is below one of Django's connections, which are of threads, within its atomic()."""
    django: Any = sys.modules.get("django.db")
    if django is None:
        return False
    with suppress(Exception):
        for one in django.connections.all(initialized_only=True):
            if one.connection is raw:
                return bool(one.in_atomic_block)
    return False
