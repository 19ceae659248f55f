"""Logs about an attempt in the thread that runs it: whatever the log's handlers do, the attempt goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.safelog import log

HANGS = 5.0
"""Seconds after which a log handler hangs: its thread is given up, and the job goes on without it."""


class Saying:
    """One thread's calls of the log: what it says now, and since when."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now: tuple[float, Claimed, Finished | None] | None = None
        """Since when, about which job, and its outcome if it has one."""
        self.given_up = False

    def say(self, call: Callable[[Any], None], claimed: Claimed, finished: Finished | None = None) -> bool:
        """Log about an attempt that starts, or has *finished*, by *call*. Raises nothing.

        False: it took so long that the thread was given up. Then the job is no longer this thread's.
        """
        self.now = time.monotonic(), claimed, finished
        try:
            call(claimed if finished is None else finished)
        except BaseException as error:
            log.complain(error)
        with self.lock:
            self.now = None
            return not self.given_up

    def hung(self, now: float) -> tuple[Claimed, Finished | None] | None:
        """Give the thread up if it has hung in a log handler for long: the job that it was about, and its outcome."""
        said = self.now
        if said is None or now < said[0] + HANGS:
            return None
        with self.lock:
            if self.now is not said or self.given_up:
                return None
            self.given_up = True
        return said[1:]

    def due(self) -> float:
        """When it is to be looked at again."""
        said = self.now
        return float("inf") if said is None or self.given_up else said[0] + HANGS
