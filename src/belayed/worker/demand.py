"""How many jobs to claim ahead: measured by time, not by count, and apart for threads and coroutines."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

AHEAD = 0.05
"""Seconds of work to hold ready beyond what runs, at least."""
TURNS = 4.0
"""Turns at the store that the work held ready lasts for: while one claims, the last one's jobs run; and a duty may come
between two of them. Of a store near by that is less than `AHEAD`."""
PROBE = 10
"""Claims to try for coroutines while every thread is busy."""
PATIENCE = 1.0
"""Seconds that a claimed job waits for a slot before it goes back."""
FARTHEST = 0.8
"""Seconds of work to hold ready at most, however slow the store is: less than `PATIENCE`, or it would go back."""


class Pace:
    """How long attempts of one kind take: a moving average."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def took(self, seconds: float, count: int = 1) -> None:
        """Take in that so many attempts took *seconds* each, on average."""
        share = 0.1 if count == 1 else 1 - 0.9**count
        self.seconds = seconds if self.seconds is None else (1 - share) * self.seconds + share * seconds

    def target(self, slots: int, most: int, ahead: float) -> int:
        """How many jobs to hold so that *slots* stay busy for a while: long ones get exactly the slots."""
        if self.seconds is None:
            return slots
        return min(slots + math.floor(slots * ahead / max(self.seconds, 1e-6)), max(slots, most))


class Demand:
    """What so many slots for threads and for coroutines can take, and which jobs are of which kind."""

    def __init__(self, threads: int, async_slots: int, most: int) -> None:
        self.threads, self.async_slots, self.most = threads, async_slots, most
        self.threads_pace, self.loop_pace = Pace(), Pace()
        self.turns_pace = Pace()
        self.kinds: dict[str, bool] = {}
        self.some_async = False
        self.async_share = 0.0
        self.probe_at = 0.0

    def learn(self, kinds: Mapping[str, bool]) -> None:
        """Take in which tasks, by name, are coroutines."""
        self.kinds.update(kinds)
        self.some_async |= any(kinds.values())

    def claimed(self, functions: int, coroutines: int) -> None:
        """Count claimed jobs for the share of coroutines."""
        if (count := functions + coroutines) and (coroutines or self.async_share):
            old = 0.98**count
            self.async_share = old * self.async_share + (1 - old) * coroutines / count

    def took(self, is_async: bool, seconds: float, count: int = 1) -> None:
        """Take in that so many attempts of one kind took *seconds* each, on average."""
        (self.loop_pace if is_async else self.threads_pace).took(seconds, count)

    @property
    def ahead(self) -> float:
        """Seconds of work to hold ready beyond what runs: as many as a few turns at the store take."""
        return min(max(AHEAD, TURNS * (self.turns_pace.seconds or 0.0)), FARTHEST)

    def slow(self, is_async: bool = False) -> None:
        """Take note that no thread, or no slot of the event loop, has got free for long."""
        pace = self.loop_pace if is_async else self.threads_pace
        pace.seconds = max(pace.seconds or 0.0, PATIENCE)
        if not is_async:
            self.probe_at = time.monotonic() + 5 * PATIENCE

    def room(self, in_threads: int, in_loop: int) -> int:
        """How many more jobs to claim while so many run or wait."""
        ahead = self.ahead
        threads = self.threads_pace.target(self.threads, self.most, ahead) - in_threads
        share = self.async_share
        loop = self.loop_pace.target(self.async_slots, self.most, ahead) - in_loop
        if share > 0.99:
            return max(0, min(loop, self.most))
        if threads <= 0 < loop:
            # Every thread is busy, perhaps for hours: a few claims show whether coroutines wait behind.
            if time.monotonic() < self.probe_at or not (share or self.some_async):
                return 0
            return max(0, min(loop, PROBE - max(0, in_threads - self.threads), self.most))
        if share < 0.01:
            return max(0, min(threads, self.most))
        return max(0, min(int(threads / (1 - share)), int(loop / share), self.most))

    def shared_room(self, slots: int, held: int) -> int:
        """How many more jobs to claim for *slots* that take either kind, while so many run or wait."""
        paces = [pace for pace in (self.threads_pace, self.loop_pace) if pace.seconds is not None]
        target = min((pace.target(slots, self.most, self.ahead) for pace in paces), default=slots)
        return max(0, min(target - held, self.most))

    def starving(self, in_threads: int, in_loop: int) -> bool:
        """Whether slots are, or will soon be, without work."""
        return in_threads - self.threads <= self.threads and in_loop - self.async_slots <= self.async_slots // 4
