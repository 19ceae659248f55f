"""Claims past rows that the database refuses to have claimed: one row that a trigger guards must not stop a queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from belayed.claim import Claimed
from belayed.errors import StoreError
from belayed.store import Store
from belayed.store.answers import Turn, Wanted
from belayed.store.lanes import Lanes
from belayed.worker.duties import HeldBack
from belayed.worker.mending import AT_A_TIME, Perform, each, is_of_others, is_refusal
from belayed.worker.page import clock


class Claims:
    """The claims of one worker. As long as none was refused lately, they are part of its turns."""

    def __init__(
        self, perform: Perform, store: Store, worker: str, lanes: Lanes, start: Callable[[list[Claimed], float], None]
    ) -> None:
        """*start* is called with jobs that were claimed, and when they were asked for."""
        self.perform, self.store, self.worker, self.lanes, self.start = perform, store, worker, lanes, start
        self.stuck = HeldBack("claim")
        self.careful = False
        """They are made by themselves, past rows that were refused."""
        self.more = False
        """The last of those was cut short: there may be jobs behind the ones that were refused."""

    def wanted(self, count: int) -> Wanted | None:
        """What the next turn is to claim; None: nothing, or not in the turn."""
        return Wanted(self.worker, count, self.lanes) if count > 0 and not self.careful else None

    def took_over(self, error: Exception) -> bool:
        """Make claims by themselves from now on, if the database has refused one; False: it is away."""
        if self.careful or not (is_refusal(error) or is_of_others(self.perform, self.store, error)):
            return False
        self.careful = True
        return True

    def carefully(self, count: int) -> int:
        """Claim and start jobs, at most *count*, that the database lets be claimed; how many. Raises StoreError.

        It takes a short time. What is refused is passed over at once, so as to come to the others.
        """
        until, started, self.more = time.monotonic() + AT_A_TIME, 0, False
        passed_over = set(self.stuck.ids())

        def claimed(some: Sequence[int]) -> Turn:
            wanted = Wanted(self.worker, len(some), self.lanes, list(some))
            return self.perform(self.store.turn([], wanted))  # type: ignore[no-any-return]

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
            if time.monotonic() > until:
                self.more = True
                break
        self.careful = self.more or bool(self.stuck)
        return started
