"""What a worker was asked for at its end, and when what runs is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable

from belayed.errors import BelayedError

BEYOND_GRACE = 3.0
"""Seconds after the grace at which a worker has to have ended, whatever the store or a job does."""
AT_ONCE = 2.0
"""The same after a second signal: so many seconds more."""


class Ending:
    """Whether a worker was asked to stop, and how: set by signal handlers and by any thread."""

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.asked = self.now = self.patient = False
        self.asked_at = 0.0
        self.now_at = 0.0
        self.on_stop: list[Callable[[], None]] = []
        """Called at each request."""

    def ask(self, now: bool, patient: bool) -> None:
        """Ask for the end: *now*, *patient* with what runs, or within the grace."""
        self.asked_at = self.asked_at or time.monotonic()
        if now:
            self.now_at = self.now_at or time.monotonic()
        self.now |= now
        self.patient |= patient
        self.asked = True
        for call in self.on_stop:
            call()

    @property
    def seconds(self) -> float:
        """How long what runs may go on."""
        return float("inf") if self.patient else self.grace

    @property
    def by(self) -> float:
        """When what runs is stopped, on the monotonic clock."""
        return self.asked_at + self.seconds

    @property
    def end_by(self) -> float:
        """When the worker has to have ended, on the monotonic clock."""
        at_once = self.now_at + AT_ONCE if self.now else float("inf")
        return min(self.by, at_once) + BEYOND_GRACE

    def is_up(self, moment: float) -> bool:
        """Whether what runs is to be stopped."""
        return self.asked and (self.now or moment >= self.by)


def unsound(why: str) -> BelayedError:
    """What a worker ends with whose slots do not work any more."""
    return BelayedError(f"the worker ended, as {why}: what had not started went back; start it again")
