"""What enqueues during a chaos run, and the record of what was accepted."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from belayed.errors import StoreError, StoreUnavailable
from belayed.job import Draft
from belayed.jobs import Jobs

PERIOD = 0.1
"""Seconds between two batches."""


@dataclass
class Accepted:
    """What the enqueuer was told."""

    jobs: dict[int, tuple[str, str]] = field(default_factory=dict)
    """The kind and the key of each accepted job."""
    uncertain: set[str] = field(default_factory=set)
    """The keys whose COMMIT was not answered: they may be there or not."""
    rolled_back: set[str] = field(default_factory=set)


class Load:
    """A thread that enqueues so many jobs a second until it is stopped."""

    def __init__(self, jobs: Jobs, place: Any, app: Any, rate: int, seed: int, longest: float) -> None:
        self.jobs, self.place, self.app, self.rate, self.longest = jobs, place, app, rate, longest
        self.rng = random.Random(seed)
        self.accepted = Accepted()
        self.number = 0
        self.stopped = threading.Event()
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        try:
            due = time.monotonic()
            while not self.stopped.is_set():
                self.batch()
                if self.rng.random() < 0.1:
                    self.nothing()
                due = max(due + PERIOD, time.monotonic() - 1)
                self.stopped.wait(max(0.0, due - time.monotonic()))
        except BaseException as error:
            self.failure = error

    def batch(self) -> None:
        drafts = [self.draft() for _ in range(int(self.rate * PERIOD) + 1)]
        try:
            saved = self.jobs.enqueue_many(draft for _, _, draft in drafts)
        except StoreUnavailable as error:
            if error.uncertain:
                self.accepted.uncertain.update(key for _, key, _ in drafts)
            return
        except StoreError:
            return
        for job, (kind, key, _) in zip(saved, drafts, strict=True):
            self.accepted.jobs[job.id] = (kind, key)

    def draft(self) -> tuple[str, str, Draft]:
        rng, app = self.rng, self.app
        self.number += 1
        dice, key = rng.random(), f"k{self.number}"
        seconds = rng.uniform(0.001, 0.02)
        if dice < 0.001:
            seconds = rng.uniform(self.longest / 4, self.longest)
        elif dice < 0.015:
            seconds = rng.uniform(0.1, 2)
        kind = rng.choices(["works", "aworks", "trips", "transacts", "begets", "poisons"], [50, 30, 5, 10, 4, 0.05])[0]
        if kind in ("works", "aworks"):
            return kind, key, getattr(app, kind).draft(key, seconds)
        if kind == "transacts":
            return kind, key, app.transacts.draft(key, rng.uniform(0, 0.003))
        if kind == "poisons":
            return kind, key, app.poisons.draft(key, rng.choice(("exit", "fault")))
        return kind, key, getattr(app, kind).draft(key)

    def nothing(self) -> None:
        """Enqueue in a transaction that is rolled back."""
        self.number += 1
        key = f"k{self.number}"
        self.accepted.rolled_back.add(key)
        try:
            self.place.rolled_back(lambda raw: self.app.works.using(connection=raw).enqueue(key, 0.001))
        except Exception:
            # The database is away: then it is rolled back all the more.
            pass
