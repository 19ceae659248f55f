"""Claims past rows that the database refuses to have claimed: one row that a trigger guards must not stop a queue."""

from __future__ import annotations

from collections.abc import Callable

from belayed.claim import Claimed
from belayed.store import Store
from belayed.store.answers import Turn, Wanted
from belayed.store.lanes import Lanes
from belayed.worker.duties import HeldBack
from belayed.worker.mending import Perform, each, is_of_others, is_refusal
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
        """Claim and start jobs, at most *count*, that the database lets be claimed; how many. Raises StoreError."""
        if count <= 0:
            return 0
        claimed_at = clock()
        passed_over = self.stuck.ids()
        first = self.perform(self.store.first(self.lanes, count + len(passed_over)))
        ids = [id for id in first if id not in passed_over][:count]

        def claimed(some: list[int]) -> Turn:
            wanted = Wanted(self.worker, len(some), self.lanes, some)
            return self.perform(self.store.turn([], wanted))  # type: ignore[no-any-return]

        parts: list[Turn] = []
        if ids:
            parts = self.stuck.sort_out(each(lambda some: claimed(list(some)), ids))
        self.careful = bool(self.stuck)
        jobs = [job for part in parts for job in part.claimed]
        self.start(jobs, claimed_at)
        return len(jobs)
