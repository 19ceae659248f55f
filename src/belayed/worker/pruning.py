"""Deletes what the history need not keep, a little at a time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta

from belayed.config import Config
from belayed.errors import StoreUnavailable
from belayed.job import State
from belayed.safelog import log
from belayed.store import Store
from belayed.store.answers import Place
from belayed.worker.duties import Duties
from belayed.worker.mending import Perform

PRUNE_EVERY = 180.0
PRUNE_BATCH = 1000
PRUNE_SHARE = 20
"""Pruning takes at most one part in so many of the time: it pauses so many times what its last batch took."""
STEP = 20_000
"""Jobs that a look for the edge of what is kept passes over at a time: 2 to 7 ms."""


class Pruning:
    """The pruning of one worker. All workers may be at it at once."""

    def __init__(self, store: Store, config: Config, duties: Duties) -> None:
        self.store, self.config, self.duties = store, config, duties
        self.behind = False
        self.batches: dict[str, int] = {}
        """How many jobs are deleted at a time, by the name of the duty: less after one that took too long."""
        self.edge: Place | None = None
        """How far the look for the edge has come, and how many of the newest jobs it has passed over."""
        self.passed = 0

    def pause(self) -> float:
        """Seconds until it is worth to look again."""
        return PRUNE_EVERY * random.uniform(0.8, 1.2)

    def slice(self, perform: Perform) -> float:
        """Delete a batch; in how many seconds the next is due."""
        begun = time.monotonic()
        full, names = False, [EXCESS]
        if not self.is_looking():
            for state, keep in (
                (State.SUCCEEDED, self.config.keep_succeeded),
                (State.FAILED, self.config.keep_failed),
                (State.CANCELLED, self.config.keep_cancelled),
            ):
                if isinstance(keep, timedelta):
                    names.append(f"pruning jobs that {WORDS[state]}")
                    full |= self.batch(names[-1], perform, self.aged(perform, state, keep.total_seconds()))
        if self.config.keep_succeeded is not True:
            full |= self.batch(EXCESS, perform, lambda count: self.excess(perform, count))
        now = time.monotonic()
        rest = (now - begun) * PRUNE_SHARE
        if self.is_looking():
            return rest
        if full != self.behind:
            self.behind = full
            log.info("pruning the history %s", "is behind: more ends than it may delete" if full else "has caught up")
        if full:
            return rest
        return max(rest, min([due - now for name in names if (due := self.duties.due(name))], default=self.pause()))

    def is_looking(self) -> bool:
        """Whether the look for the edge has begun, and has not come to its end."""
        return 0 < self.passed <= self.config.max_succeeded

    def batch(self, name: str, perform: Perform, delete: Callable[[int], int]) -> bool:
        """Delete a batch, unless that has failed lately; whether there may be more."""

        def deleted() -> bool:
            count = min(PRUNE_BATCH, self.batches.get(name, PRUNE_BATCH))
            try:
                number = delete(count)
            except StoreUnavailable:
                self.batches[name] = max(1, count // 2)
                raise
            self.batches[name] = 2 * count
            # Of a whole batch, too, some may be passed over.
            return number > count // 2

        return bool(self.duties.attempt(name, deleted))

    def aged(self, perform: Perform, state: State, age: float) -> Callable[[int], int]:
        return lambda count: perform(self.store.prune(state, age, count=count))

    def excess(self, perform: Perform, count: int) -> int:
        """Delete what is beyond the newest that are kept; until their edge is found, look a step further."""
        most = self.config.max_succeeded + 1
        if self.passed < most:
            step = min(STEP, most - self.passed)
            self.edge = perform(self.store.passed(self.edge, step))
            self.passed = 0 if self.edge is None else self.passed + step
            if self.edge is None or self.passed < most:
                return 0
        assert self.edge is not None
        number: int = perform(self.store.prune_excess(self.edge, count=count))
        if number <= count // 2:
            self.edge, self.passed = None, 0
        return number


EXCESS = "pruning succeeded jobs beyond the limit"
WORDS = {State.SUCCEEDED: "have succeeded", State.FAILED: "have failed", State.CANCELLED: "were cancelled"}
