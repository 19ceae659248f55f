"""Forks, and what is open then: the child takes SQLite's locks for its own, and does not hold them.

A child that has the file open thanks to its parent's connection holds no lock that the system knows of. When the parent
closes that connection, as the last one that it sees, it removes the write-ahead log into which the child still writes.
So no connection is open, and no operation under way, while a process forks.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any, Protocol

from belayed.forking import at_fork

PATIENCE = 60.0
"""Seconds to wait for an operation under way; each ends by itself, after its own time limit at the latest."""


class Forkable(Protocol):
    """A connection that a child must not inherit."""

    lock: Any
    place: Any
    """The file; None in memory."""

    @property
    def is_writing(self) -> bool:
        """Whether its operation under way, if there is one, keeps others from writing."""
        ...

    def before_fork(self) -> None:
        """Let nothing be open; called with the lock held."""


opening = threading.RLock()
"""Held while a connection is opened."""
known: weakref.WeakSet[Forkable] = weakref.WeakSet()
held: list[Forkable] = []


def present() -> list[Forkable]:
    """The connections that are known now. It waits for none of the threads that open or close one."""
    while True:
        try:
            return list(known)
        except RuntimeError:
            # One was opened or closed during the look.
            continue


def before() -> None:
    opening.acquire()
    for connection in present():
        if connection.lock.acquire(timeout=PATIENCE):
            held.append(connection)
            connection.before_fork()


def after() -> None:
    while held:
        held.pop().lock.release()
    opening.release()


at_fork(before=before, in_parent=after, in_child=after)
