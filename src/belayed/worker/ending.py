"""What a worker was asked for at its end, and when what runs is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable

from belayed.errors import BelayedError
from belayed.worker.slots import nothing


class Ending:
    """Whether a worker was asked to stop, and how: set by signal handlers and by any thread."""

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.asked = self.now = self.patient = False
        self.asked_at = 0.0
        self.on_stop: Callable[[], None] = nothing

    def ask(self, now: bool, patient: bool) -> None:
        """Ask for the end: *now*, *patient* with what runs, or within the grace."""
        self.asked_at = self.asked_at or time.monotonic()
        self.now |= now
        self.patient |= patient
        self.asked = True
        self.on_stop()

    @property
    def seconds(self) -> float:
        """How long what runs may go on."""
        return float("inf") if self.patient else self.grace

    @property
    def by(self) -> float:
        """When what runs is stopped, on the monotonic clock."""
        return self.asked_at + self.seconds

    def is_up(self, moment: float) -> bool:
        """Whether what runs is to be stopped."""
        return self.asked and (self.now or moment >= self.by)


def unsound(why: str) -> BelayedError:
    """What a worker ends with whose slots do not work any more."""
    return BelayedError(f"the worker ended, as {why}: what had not started went back; start it again")
