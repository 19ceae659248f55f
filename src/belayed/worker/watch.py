"""Which other workers are dead, judged by what this process has seen of them, on its own clock."""

from __future__ import annotations

from collections.abc import Iterable

from belayed.store.answers import Sign


class Watch:
    """Remembers the sign of life of every worker, and since when it has seen that one.

    A worker is dead when its sign has not changed for its lapse, counted in looks of this process's own: two clocks
    are never compared, so none has to be right, and each may jump.
    """

    def __init__(self, worker: str, lapse: float, every: float) -> None:
        self.worker = worker
        """Who watches; it does not look at itself."""
        self.lapse, self.every = lapse, every
        self.since: dict[str, tuple[str, float]] = {}
        self.looked_at: float | None = None
        self.due = float("inf")
        """When the next of them is dead, unless it shows another sign until then."""

    def silent(self, worker: str) -> float:
        """Seconds for which a worker has shown the same sign, as of the last look; 0 for one that is not there."""
        _, since = self.since.get(worker, ("", None))
        return 0.0 if since is None or self.looked_at is None else max(0.0, self.looked_at - since)

    def dead(self, signs: Iterable[Sign], asked: float, answered: float) -> list[Sign]:
        """Those of the workers that are dead; the *signs* were *asked* for and *answered* at these monotonic times."""
        # While this worker could not look, others could not beat: the store was away, or the machine was suspended.
        # That time counts against nobody, or each would rescue all the others after it.
        held_up = 0.0 if self.looked_at is None else max(0.0, asked - self.looked_at - 2 * self.every)
        before, self.since = self.since, {}
        dead, self.due = [], float("inf")
        for one in signs:
            if one.worker == self.worker:
                continue
            sign, since = before.get(one.worker, ("", 0.0))
            # A sign is as new as the answer that brings it; it was there still when the next one was asked for.
            since = since + held_up if sign == one.sign else answered
            self.since[one.worker] = one.sign, since
            over = since + (self.lapse if one.lapse is None else one.lapse)
            if asked > over:
                dead.append(one)
            else:
                self.due = min(self.due, over)
        self.looked_at = answered
        return dead
