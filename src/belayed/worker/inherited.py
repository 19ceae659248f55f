"""What workers that died shortly before this one started still hold: the log says once what is waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from datetime import timedelta

from belayed.safelog import log
from belayed.store.answers import WorkerRow

NAMED = 3
"""So many workers are named in a line."""
SILENT = 1 / 3
"""Of its lapse: a worker that has not beaten for so long is most likely dead. It beats several times in that."""

Seconds = Callable[[WorkerRow], float]


class Inherited:
    """Asks once, at the start, who holds jobs; logs those of workers that are dead, as soon as that is seen."""

    def __init__(self, row: WorkerRow) -> None:
        self.row = row
        self.asked = False
        self.holders: list[WorkerRow] = []
        """Those that may be dead, with what they held at the start."""

    def ask(self, workers: Iterable[WorkerRow] | None, left: Seconds) -> None:
        """Take the answer, and log those whose process is not there, or that have not beaten for long."""
        self.asked = True
        rows = list(workers or ())
        # By the database's clock, which has just written our own.
        now = next((row.beat_at for row in rows if row.id == self.row.id), None)
        self.holders = [row for row in rows if row.running and row.id != self.row.id]
        dead = [row for row in self.holders if not row.alive or is_gone(row)]
        if now is not None:
            dead += [row for row in self.holders if row not in dead and is_late(row, now - (row.beat_at or now))]
        self.log(dead, left)

    def look(self, silent: Seconds, left: Seconds) -> None:
        """Log those of the rest that have shown no other sign since this worker has seen them."""
        if self.holders:
            self.log([row for row in self.holders if is_late(row, timedelta(seconds=silent(row)))], left)

    def log(self, dead: list[WorkerRow], left: Seconds) -> None:
        if not dead:
            return
        self.holders = [row for row in self.holders if row not in dead]
        count = sum(row.running for row in dead)
        names = ", ".join(f"{row.name} (pid {row.pid} on {row.host})" for row in dead[:NAMED])
        more = f" and {len(dead) - NAMED} more" if len(dead) > NAMED else ""
        log.warning(
            "%d job%s still held by %s%s, which %s dead: given back in %.0f s, unless there is a beat before",
            count,
            " is" if count == 1 else "s are",
            names,
            more,
            "seems" if len(dead) == 1 else "seem",
            max(left(row) for row in dead),
        )


def is_late(row: WorkerRow, silent: timedelta) -> bool:
    return silent.total_seconds() > row.lapse * SILENT


def is_gone(row: WorkerRow) -> bool:
    """Whether a worker was a process of this machine that is not there any more."""
    # Windows has no signal 0: it would end the process.
    if os.name == "nt" or row.host != socket.gethostname() or row.pid <= 0:
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        # It is another user's.
        return False
    return False
