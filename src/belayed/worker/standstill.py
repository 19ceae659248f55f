"""Sees whether an event loop starts what waits for it, and lets go of what it does not start."""

from __future__ import annotations

import time

from belayed.claim import Claimed
from belayed.safelog import log
from belayed.worker.loopslots import LoopSlots

AGAIN = 1.0
"""Seconds between two looks at an event loop that starts nothing."""


class Standstill:
    """Looks at an event loop from another thread.

    It may have no free slot: then others may have. Or a job, or a task that one has left, blocks it: that is for the
    supervisor to see where there is one, as it knows where else jobs can run (withdrawal.py); then *withdraws* is
    false.
    """

    def __init__(self, loop: LoopSlots, patience: float, *, withdraws: bool) -> None:
        self.loop, self.patience, self.withdraws = loop, patience, withdraws
        self.first: object = None
        """What was next to start when the loop was last looked at."""
        self.first_at = 0.0
        self.since: float | None = None
        """Since when it has been blocked, on the monotonic clock."""
        self.quiet_until = 0.0

    def release(self, now: float) -> tuple[list[Claimed], float]:
        """What has waited for too long, and when to look again."""
        loop = self.loop
        first = loop.next_one()
        if first is not self.first:
            self.first, self.first_at = first, now
        if first is None:
            return [], self.quiet_until if now < self.quiet_until else float("inf")
        is_full = len(loop.tasks) >= loop.size
        if now < self.first_at + self.patience:
            return [], self.first_at + self.patience
        if not (is_full or self.withdraws):
            return [], now + AGAIN
        found = loop.release()
        if self.withdraws:
            found += loop.withdraw()
            if not is_full and self.since is None and loop.call(self.came_round):
                self.since = now
                log.warning("the event loop is blocked: its jobs go back until it goes on")
            if self.since is not None:
                self.quiet_until = now + 2 * AGAIN
        return found, now + AGAIN

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is to be claimed for the moment: what has just gone back is for others to claim first."""
        return self.since is not None and time.monotonic() < self.quiet_until

    @property
    def delay(self) -> float | None:
        """Seconds after which a job that goes back may be claimed again."""
        return None if self.since is None else AGAIN

    def came_round(self) -> None:
        """It is not blocked any more: called in its thread."""
        self.since = None
        log.info("the event loop goes on")

    def stuck(self, within: float) -> str:
        """Why the event loop will not go on by itself: it is blocked for so long, and by no job that runs."""
        since = self.since
        if since is None or self.loop.tasks or time.monotonic() < since + within:
            return ""
        return f"the event loop has been blocked for {time.monotonic() - since:.0f} s, and no job runs in it"
