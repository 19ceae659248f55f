"""Operations within another of the same thread: a signal handler interrupts what goes on only when it has returned."""

from __future__ import annotations

from typing import Any

from belayed.connections import forks
from belayed.errors import StoreError

WITHIN = (
    "this thread is using the database already, and goes on only when the signal handler (or finalizer) that wants to "
    "use it now has returned: let it set a flag or fill a queue, and enqueue afterwards"
)


def refuse_to_wait(connection: Any, path: str) -> None:
    """Raise StoreError if this very thread keeps an SQLite file locked, by another connection of ours."""
    for other in forks.present():
        if other is not connection and other.place == connection.place:
            # The lock knows its thread: to note it at each operation would take time for nothing.
            if other.lock._is_owned() and other.is_writing:  # noqa: SLF001
                raise StoreError(f"the database {path} waits for itself: {WITHIN}")
