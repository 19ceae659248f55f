"""Logs about an attempt in the thread that runs it: whatever the log's handlers do, the attempt goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.safelog import log

HANGS = 5.0
"""Seconds after which a log handler hangs: its thread is given up, and the job goes on without it."""

Said = tuple[Claimed, Finished | None]
"""The job that a line is about, and its outcome if it has one."""


class Saying:
    """One thread's calls of the log. Another thread looks from time to time whether one hangs."""

    def __init__(self) -> None:
        self.box: list[Said] = []
        """What is being logged. Whoever takes it out, of the two threads, goes on with the job: no lock is needed."""
        self.seen: Said | None = None
        self.seen_at = 0.0
        self.given_up = False

    def say(self, call: Callable[[Any], None], claimed: Claimed, finished: Finished | None = None) -> bool:
        """Log about an attempt that starts, or has *finished*, by *call*. Raises nothing.

        False: it took so long that the thread was given up. Then the job is no longer this thread's.
        """
        self.box.append((claimed, finished))
        try:
            call(finished or claimed)
        except BaseException as error:
            log.complain(error)
        try:
            self.box.pop()
        except IndexError:
            return False
        return True

    def hung(self, now: float) -> Said | None:
        """Give the thread up if it hangs in a log handler: the job that it was about, and its outcome."""
        if not self.looks_busy(now) or now < self.seen_at + HANGS:
            return None
        try:
            said = self.box.pop()
        except IndexError:
            return None
        # If it has gone on in this very moment it is another job, which is now in the same case: the thread may have
        # found the box empty already.
        self.given_up = True
        return said

    def looks_busy(self, now: float) -> bool:
        """Take note of what is being logged now; whether anything is."""
        try:
            said = self.box[0]
        except IndexError:
            self.seen = None
            return False
        if said is not self.seen:
            self.seen, self.seen_at = said, now
        return True

    def due(self) -> float:
        """When it is to be looked at again."""
        return float("inf") if self.seen is None or self.given_up else self.seen_at + HANGS
