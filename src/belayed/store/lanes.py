"""Where a worker's claims look: its lanes (a queue and a range of priorities), each with a low-water mark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from json.encoder import encode_basestring as quoted
from operator import attrgetter
from time import monotonic

from belayed.claim import FIRST, Claimed, moment

QUEUE = attrgetter("queue")
LOWEST, HIGHEST = -(2**31), 2**31 - 1
MANY = 8
"""Lanes; to look at fewer costs little."""
SIZE = 50
"""Jobs of a claim from which on it is worth while to look further than to the end of it."""
LATELY = 0.1
"""Seconds for which it counts what a look has found."""


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

    @property
    def range(self) -> tuple[int, int]:
        """The smallest and the greatest priority."""
        low, high = self.min_priority, self.max_priority
        return LOWEST if low is None else low, HIGHEST if high is None else high

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
    told: bool = False
    """The lane is that of a hint, and nothing has been claimed since."""
    next_due: float | None = None
    """Seconds from the scan until the next scheduled job is due; None: there is none."""
    level: int = LOWEST
    """The priority of the last job claimed."""
    shares: dict[str, int] = field(default_factory=dict)
    """How many jobs the last claim brought of each queue."""
    far: list[int] = field(default_factory=list)
    """The ids of the jobs that come next, last first, as a look has found them at `far_at`."""
    far_at: float = float("-inf")
    full_at: float = float("-inf")
    """When the last claim brought all that was wanted."""

    def due(self) -> bool:
        """Whether the next claim must scan."""
        if self.told and self.lanes:
            return False
        if not self.remember or not self.lanes:
            return True
        wait = 20 * self.cost if self.short else max(1.0, 20 * self.cost)
        return monotonic() - self.scanned_at >= wait

    def forget(self) -> None:
        """Look anew before the next claim."""
        self.lanes, self.far, self.scanned_at = [], [], float("-inf")

    def found(self, heads: Iterable[tuple[str, int, int, int]], cost: float) -> None:
        """Take what a scan found: the first job of each queue and priority, in that order."""
        self.lanes, self.told = [], False
        low, high = self.serving.min_priority, self.serving.max_priority
        for queue, priority, run_at, id in heads:
            if not self.serving.serves(queue):
                continue
            if self.lanes and self.lanes[-1].queue == queue:
                self.lanes[-1].upto = min(self.lanes[-1].upto, priority - 1)
            # The last lane of a queue is open-ended: it takes in priorities that the scan has not seen.
            # What is read as the beginning of all times may be before it: a mark there would pass over it for ever.
            lane = Lane(queue, priority, HIGHEST if high is None else high, run_at if run_at > FIRST else None, id)
            if low is not None and priority < low:
                lane.priority, lane.mark_at, lane.mark_id = low, None, 0
            self.lanes.append(lane)
        self.lanes = [lane for lane in self.lanes if lane.priority <= lane.upto]
        self.scanned_at, self.cost = monotonic(), cost

    def text(self, count: int, time: Callable[[datetime], str]) -> str:
        """The lanes as JSON for a claim of *count* jobs, with what to expect of each; a wrong guess costs time.

        `few` is how many jobs of it to look at first; in a `late` one others are likely to come first.
        """
        level = max(self.level, min(lane.priority for lane in self.lanes))
        shares, even = self.shares, count / sum(lane.priority <= level for lane in self.lanes)
        scale = count / sum(shares.values()) if shares else 0.0
        # Written by hand: an encoder takes three times as long.
        return "[" + ",".join([
            f'{{"nth":{nth},"queue":{quoted(lane.queue)},"priority":{lane.priority},"upto":{lane.upto},'
            f'"mark_at":{"null" if lane.mark_at is None else quoted(time(moment(lane.mark_at)))},'
            f'"mark_id":{lane.mark_id},'
            f'"few":{enough(shares.get(lane.queue, 0) * scale if shares else even)},'
            f'"late":{"true" if lane.priority > level else "false"}}}'
            for nth, lane in enumerate(self.lanes)
        ]) + "]"  # fmt: skip

    def hurried(self, count: int) -> bool:
        """Whether it is worth while to look far: claims of some size follow one another, and the lanes are many."""
        if len(self.lanes) < MANY or count < SIZE or self.following(count):
            return False
        return monotonic() - self.full_at < LATELY

    def look_far(self, ids: list[int]) -> None:
        """Take the ids that come first of all."""
        self.far, self.far_at = ids[::-1], monotonic()

    def following(self, count: int) -> list[int]:
        """The next ids by a look of lately; none where it was not lately, or saw fewer."""
        if len(self.far) < count or monotonic() - self.far_at > LATELY:
            self.far = []
        return self.far[: -count - 1 : -1]

    def hint(self, queue: str, priority: int) -> bool:
        """Take the news of a ready job. False: it is none that this worker serves."""
        low, high = self.serving.range
        if not self.serving.serves(queue) or not low <= priority <= high:
            return False
        if priority < self.level:
            self.far = []
        if not self.lanes and self.remember:
            # Nothing was ready: the news itself says where to look, and the scan can wait until after that.
            self.lanes, self.told = [Lane(queue, low, high)], True
        elif not any(lane.queue == queue and lane.priority <= priority <= lane.upto for lane in self.lanes):
            self.scanned_at = float("-inf")
        return True

    def claimed(self, jobs: Sequence[Claimed], wanted: int) -> None:
        """Move the marks to the last of the *jobs* claimed of each lane; they are in the order of claims."""
        self.short, self.told = len(jobs) < wanted, False
        del self.far[-wanted:]
        if not self.short:
            self.full_at = monotonic()
        if jobs:
            self.level = jobs[-1].priority
            self.shares = Counter(map(QUEUE, jobs))
        if not self.remember:
            return
        left: dict[str, list[Lane]] = {}
        for lane in self.lanes:
            left.setdefault(lane.queue, []).append(lane)
        for job in reversed(jobs):
            for lane in left.get(job.queue, ()):
                if lane.priority <= job.priority <= lane.upto:
                    lane.priority, lane.mark_id = job.priority, job.id
                    lane.mark_at = job.run_at if job.run_at > FIRST else None
                    left[job.queue].remove(lane)
                    if not left[job.queue]:
                        del left[job.queue]
                    break
            if not left:
                break


def enough(share: float) -> int:
    """How many jobs of a lane to look at that is expected to have so many of the next ones."""
    return int(share * 1.25) + 4
