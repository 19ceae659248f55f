"""Claims past rows that the database refuses to have claimed: one row that a trigger guards must not stop a queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from belayed.claim import Claimed
from belayed.errors import StoreError
from belayed.store import Store
from belayed.store.answers import Turn, Wanted
from belayed.store.lanes import Lanes
from belayed.worker.duties import VAIN, HeldBack, Overlooked
from belayed.worker.mending import AT_A_TIME, Perform, each, is_refusal
from belayed.worker.page import clock


class Claims:
    """The claims of one worker. As long as none was refused lately, they are part of its turns."""

    def __init__(
        self, perform: Perform, store: Store, worker: str, lanes: Lanes, start: Callable[[list[Claimed], float], None]
    ) -> None:
        """*start* is called with jobs that were claimed, and when they were asked for."""
        self.perform, self.store, self.worker, self.lanes, self.start = perform, store, worker, lanes, start
        self.stuck, self.hushed = HeldBack("claim"), Overlooked("claim")
        self.careful = False
        """They are made by themselves, past rows that were refused."""
        self.more = False
        """The last of those was cut short: there may be jobs behind the ones that were refused."""
        self.vain = 0
        """How many looks in a row have found ready jobs, and claimed none."""

    @property
    def unsure(self) -> bool:
        """Whether there may be jobs that can be claimed, though the last look has claimed none."""
        return self.more or self.vain > 0

    def wanted(self, count: int) -> Wanted | None:
        """What the next turn is to claim; None: nothing, or not in the turn."""
        return Wanted(self.worker, count, self.lanes) if count > 0 and not self.careful else None

    def took_over(self, error: Exception) -> bool:
        """Make claims by themselves from now on, if the database has refused one; False: it is away."""
        if self.careful or not is_refusal(error):
            return False
        self.careful = True
        return True

    def looked(self, claimed: bool, scanned: bool) -> None:
        """Take the news of a turn's claim; *scanned* says that the lanes have just been looked for.

        Where jobs are seen again and again and none can be claimed, the database may pass over them; or others are
        faster, or their queue is paused: which it is, a careful look finds out.
        """
        if claimed or (scanned and not self.lanes.lanes):
            self.vain = 0
        elif scanned:
            self.vain += 1
            self.careful |= self.vain >= VAIN

    def carefully(self, count: int) -> int:
        """Claim and start jobs, at most *count*, that the database lets be claimed; how many. Raises StoreError.

        It takes a short time. What is refused is passed over at once, so as to come to the others.
        """
        if count <= 0:
            return 0
        until, started, self.more, self.vain = time.monotonic() + AT_A_TIME, 0, False, 0
        passed_over = {*self.stuck.ids(), *self.hushed.ids()}
        asked: set[int] = set()
        left: set[int] = set()

        def claimed(some: Sequence[int]) -> Turn:
            wanted = Wanted(self.worker, len(some), self.lanes, list(some))
            turn: Turn = self.perform(self.store.turn([], wanted))
            asked.update(some)
            left.update(set(some).difference(job.id for job in turn.claimed))
            return turn

        while started < count:
            claimed_at = clock()
            first = self.perform(self.store.first(self.lanes, count + len(passed_over)))
            ids = [id for id in first if id not in passed_over][: count - started]
            if not ids:
                break
            # What others have locked or claimed is not asked for again either.
            passed_over.update(ids)
            try:
                for turn in self.stuck.sort_out(each(claimed, ids)):
                    self.start(turn.claimed, claimed_at)
                    started += len(turn.claimed)
            except StoreError as error:
                if not self.stuck.full or not is_refusal(error):
                    raise
                # No more can be passed over. What comes before them is claimed nevertheless.
                break
            if self.hushed.full and not left <= self.hushed.rows.keys():
                # The same of those that it passes over.
                break
            if time.monotonic() > until:
                self.more = True
                break
        if asked:
            self.miss(asked, left)
        self.careful = self.more or bool(self.stuck) or bool(self.hushed)
        return started

    def miss(self, asked: set[int], left: set[int]) -> None:
        """Of jobs that were *asked* for, take note of those *left*: nothing has refused them, nor have they started."""
        if left:
            # They may not be ready any more.
            self.lanes.forget()
            left = left.difference(self.perform(self.store.locked(sorted(left))))
        self.more |= self.hushed.tried(asked, left)
