"""How texts are read from a connection of the application's while an operation uses it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from operator import methodcaller
from typing import Any

from belayed.forking import at_fork

LENIENT = methodcaller("decode", "utf-8", "backslashreplace")
"""How a text is read: one that is no UTF-8, which any program can write into a file, must not stop all the others."""


class Uses:
    """The connections that operations use now: how many, and how the application reads texts there."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.of: dict[int, tuple[int, Any]] = {}
        # A signal handler may come in between.
        self.lock = threading.RLock()


uses = Uses()
# Another thread may have held the lock.
at_fork(in_child=uses.reset)


@contextmanager
def lenient(raw: Any) -> Iterator[None]:
    """Read texts leniently within. The application's factory may make bytes, or fail for a text that is no UTF-8.

    Other threads and tasks may use the same connection: the last of them sets the application's factory again.
    """
    with uses.lock:
        users, theirs = uses.of.get(id(raw)) or (0, raw.text_factory)
        uses.of[id(raw)] = users + 1, theirs
        raw.text_factory = LENIENT
    try:
        yield
    finally:
        with uses.lock:
            users, theirs = uses.of.pop(id(raw), (1, theirs))
            if users > 1:
                uses.of[id(raw)] = users - 1, theirs
            else:
                raw.text_factory = theirs
