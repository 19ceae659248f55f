"""Keeps suspects apart in a worker of one process: one that ran when its worker died runs alone, one at a time.

If it brings its worker down again, it is the only job that the worker held, and so the only one that is counted as
rescued. Jobs that were claimed together with suspects go back before a suspect starts.
"""

from __future__ import annotations

from collections.abc import Sequence

from belayed.claim import Claimed

PATIENCE = 10.0
"""Seconds that a suspect waits until all others have ended, at first: twice as long each time that it was in vain."""
LONGEST = 600.0


class Apart:
    """At most one suspect, which waits or runs alone."""

    def __init__(self) -> None:
        self.waiting: Claimed | None = None
        """It runs as soon as nothing else is here."""
        self.careful = False
        """There were suspects lately: jobs are claimed one by one until there are none."""
        self.due = float("inf")
        """When the one that waits is let go, as the others do not end."""
        self.not_before = 0.0
        self.patience = PATIENCE

    def sorted(self, jobs: Sequence[Claimed], now: float) -> tuple[Sequence[Claimed], Sequence[Claimed], float | None]:
        """Of jobs that were claimed together: those to be run now, those to be let go, and for how many seconds."""
        if self.waiting is not None:
            # Asked for before it was known.
            return (), jobs, None
        suspects = [job for job in jobs if job.suspect]
        self.careful = bool(suspects) and now >= self.not_before
        if not suspects:
            return jobs, (), None
        if not self.careful:
            return [job for job in jobs if not job.suspect], suspects, self.not_before - now
        self.waiting = min(suspects, key=lambda job: job.rescues)
        self.due = now + self.patience
        # The others too: they would be held while it runs, or hold it up.
        return (), [job for job in jobs if job is not self.waiting], None

    def taken(self) -> Claimed:
        """Take out the one that waits."""
        assert self.waiting is not None
        job, self.waiting, self.due = self.waiting, None, float("inf")
        return job

    def passed_over(self, now: float) -> tuple[Claimed, float]:
        """Let go the one that has waited in vain, and for how many seconds: for so long others are claimed again."""
        job, wait = self.taken(), self.patience
        self.careful, self.not_before = False, now + wait
        self.patience = min(LONGEST, 2 * wait)
        return job, wait

    def room(self, room: int, here: int) -> int:
        """How many jobs may be claimed, of *room*, while so many are *here*."""
        if self.waiting is not None or (self.careful and here):
            return 0
        return min(room, 1) if self.careful else room
