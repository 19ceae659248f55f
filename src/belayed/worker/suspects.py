"""The suspects that a supervisor holds: jobs that run one at a time, in a child where nothing else runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence

from belayed.claim import Claimed, Finished
from belayed.job import State
from belayed.worker.handed import Child, Handed, Role

PATIENCE = 10.0
"""Seconds that suspects wait behind one that runs, before they are let go."""
WAIT = 5.0
"""Seconds after which those may be claimed again, by a worker that has room."""
PACE = 0.02
"""Seconds for each of those that must wait for one another outside of this worker."""
MANY_RESCUES = 1
"""A suspect with more rescues may have ended whole workers."""
DOUBTS = 1000
"""Suspects that are remembered to need a new child."""
BACK_WITHIN = 10.0
"""Seconds within which suspects that this worker has let go come back to it, if they do."""
LONELY = 5.0
"""Seconds that their child stays without work."""
SLOW_START = 60.0
"""Seconds that they wait at least for their child to start; longer where starts have been seen to be slow."""
SLOWER = 5
"""So many times the slowest start seen so far is longer than a start takes."""


def may_end_workers(job: Claimed) -> bool:
    """Whether a job may have ended whole workers, so that it must be the only such one that this worker holds."""
    return job.suspect and job.rescues > MANY_RESCUES


class Suspects(deque[Handed]):
    """The suspects, in the order of their claims; and how long they wait for their child, and it for them."""

    def __init__(self) -> None:
        super().__init__()
        self.moved_at = time.monotonic()
        """When it was last the turn of one, or their child got ready, or they began to wait."""
        self.back_by = float("-inf")
        """Until when some are expected, which their child waits for."""
        self.doubtful: set[int] = set()
        """Those whose last child other jobs may have spoilt: they need a new one."""
        self.slowest_start = 0.0
        """Seconds that a child has taken to start, at most."""

    def add(self, one: Handed) -> None:
        if not self:
            self.moved_at = time.monotonic()
        self.append(one)

    def admit(self, one: Handed, jobs: Iterable[Handed]) -> float | None:
        """Add a suspect, one of the *jobs* that this worker holds, or say after how many seconds it may come back.

        Of those that were held by several dead workers only one is taken at a time: if it takes this worker down, it is
        then the only one of them that the worker has held.
        """
        held = sum(may_end_workers(other.job) for other in jobs) if may_end_workers(one.job) else 1
        if held > 1:
            # Behind one that runs for long, less and less often.
            return min(WAIT, max(PACE * (held - 1), time.monotonic() - self.moved_at))
        self.add(one)
        return None

    def next_is_only(self, children: Sequence[Child]) -> bool:
        """Whether the next one only waits until it is the only one of its kind that this worker holds."""
        return bool(self) and may_end_workers(self[0].job) and any(child.takes_suspect for child in children)

    def wait_until(self, children: Sequence[Child]) -> float:
        """When they are let go: they wait for a child of theirs that starts, and for one that runs another of them."""
        for child in children:
            if child.role is Role.ALONE and not child.ready and not child.leaving:
                return max(child.born + max(SLOW_START, SLOWER * self.slowest_start), self.moved_at + PATIENCE)
        return self.moved_at + PATIENCE

    def expect(self, now: float, wait: float = 0.0) -> None:
        """Some have been let go, or have just become suspects: they may be back soon after *wait* seconds."""
        self.back_by = max(self.back_by, now + wait + BACK_WITHIN)

    def expected(self, now: float) -> bool:
        """Whether there are some, or may soon be."""
        return bool(self) or now < self.back_by

    def crashed(self, outcomes: Sequence[Finished], now: float, *, spoilt: bool) -> None:
        """A child has died: some of its jobs may have become suspects; of one that was *spoilt* they are doubtful."""
        if found := [one.id for one in outcomes if one.suspect and one.state is State.READY]:
            self.expect(now)
            if spoilt:
                # A hint: what is forgotten is found out again.
                if len(self.doubtful) > DOUBTS:
                    self.doubtful.clear()
                self.doubtful.update(found)

    def started(self, child: Child, now: float) -> None:
        """A child has got ready."""
        self.slowest_start = max(self.slowest_start, now - child.born)
        if child.role is Role.ALONE:
            self.moved_at = now

    def spare_until(self, child: Child, children: Sequence[Child], now: float) -> float:
        """Until when their child is kept without work. Its time begins when it is ready, however long that takes."""
        if not child.ready or child.leaving or child.handed or self:
            return float("inf")
        if now < self.back_by and not any(other.working for other in children):
            # Nothing is claimed before there is a child for other jobs.
            self.expect(now)
        return max(child.idle_since + LONELY, self.back_by)
