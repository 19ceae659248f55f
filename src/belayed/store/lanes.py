"""Where a worker's claims look: its lanes (a queue and a range of priorities), each with a low-water mark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from belayed.claim import Claimed

LOWEST, HIGHEST = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True)
class Serving:
    """Which jobs a worker serves: `*` is every queue, `!name` all but that one, anything else a queue's name."""

    queues: tuple[str, ...] = ("*",)
    min_priority: int | None = None
    max_priority: int | None = None

    @property
    def named(self) -> list[str] | None:
        """The names of the queues, or None for all."""
        names = [queue for queue in self.queues if queue != "*" and not queue.startswith("!")]
        return None if "*" in self.queues or not names else names

    @property
    def excluded(self) -> frozenset[str]:
        return frozenset(queue[1:] for queue in self.queues if queue.startswith("!"))

    def serves(self, queue: str) -> bool:
        named = self.named
        return queue not in self.excluded and (named is None or queue in named)


@dataclass(slots=True)
class Lane:
    """A queue's jobs of the priorities from `priority` to `upto`, from the mark on."""

    queue: str
    priority: int
    upto: int
    mark_at: int | None = None
    """Microseconds since 1970."""
    mark_id: int = 0


@dataclass(slots=True)
class Lanes:
    """The lanes that have ready jobs, as far as known. Hints only: a scan of the index from its start finds all.

    A scan is due when nothing is known, at a hint of a lane that is not known, and every `max(1 s, 20 × its cost)`:
    rows kept dead by an old snapshot make it slow, and it must stay a twentieth of the work. After a claim that came
    short the second does not count: what came late (a retry, a slow commit) stands before the marks.
    """

    serving: Serving
    remember: bool = True
    """False: scan before each claim (SQLite, where that is cheap)."""
    lanes: list[Lane] = field(default_factory=list)
    scanned_at: float = float("-inf")
    cost: float = 0.0
    short: bool = True

    def due(self) -> bool:
        """Whether the next claim must scan."""
        if not self.remember or not self.lanes:
            return True
        wait = 20 * self.cost if self.short else max(1.0, 20 * self.cost)
        return monotonic() - self.scanned_at >= wait

    def found(self, heads: Iterable[tuple[str, int, int, int]], cost: float) -> None:
        """Take what a scan found: the first job of each queue and priority, in that order."""
        self.lanes = []
        low, high = self.serving.min_priority, self.serving.max_priority
        for queue, priority, run_at, id in heads:
            if not self.serving.serves(queue):
                continue
            if self.lanes and self.lanes[-1].queue == queue:
                self.lanes[-1].upto = min(self.lanes[-1].upto, priority - 1)
            # The last lane of a queue is open-ended: it takes in priorities that the scan has not seen.
            lane = Lane(queue, priority, HIGHEST if high is None else high, run_at, id)
            if low is not None and priority < low:
                lane.priority, lane.mark_at, lane.mark_id = low, None, 0
            self.lanes.append(lane)
        self.lanes = [lane for lane in self.lanes if lane.priority <= lane.upto]
        self.scanned_at, self.cost = monotonic(), cost

    def hint(self, queue: str, priority: int) -> bool:
        """Take the news of a ready job. False: it is none that this worker serves."""
        low, high = self.serving.min_priority, self.serving.max_priority
        if not self.serving.serves(queue):
            return False
        if priority < (LOWEST if low is None else low) or priority > (HIGHEST if high is None else high):
            return False
        if not self.lanes and self.remember:
            # Nothing was ready: the news itself says where to look, and the scan can wait until after that.
            self.lanes = [Lane(queue, LOWEST if low is None else low, HIGHEST if high is None else high)]
            self.scanned_at, self.short = monotonic(), False
        elif not any(lane.queue == queue and lane.priority <= priority <= lane.upto for lane in self.lanes):
            self.scanned_at = float("-inf")
        return True

    def claimed(self, jobs: Sequence[Claimed], wanted: int) -> None:
        """Move the marks to the last of the *jobs* claimed of each lane; they are in the order of claims."""
        self.short = len(jobs) < wanted
        if not self.remember:
            return
        left: dict[str, list[Lane]] = {}
        for lane in self.lanes:
            left.setdefault(lane.queue, []).append(lane)
        for job in reversed(jobs):
            for lane in left.get(job.queue, ()):
                if lane.priority <= job.priority <= lane.upto:
                    lane.priority, lane.mark_at, lane.mark_id = job.priority, job.run_at, job.id
                    left[job.queue].remove(lane)
                    if not left[job.queue]:
                        del left[job.queue]
                    break
            if not left:
                break
