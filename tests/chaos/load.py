"""What enqueues during a chaos run, and the record of what was accepted."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from belayed.errors import StoreError, StoreUnavailable
from belayed.job import Draft
from belayed.jobs import Jobs
from tests.chaos import rows
from tests.chaos.kinds import KINDS, Kind
from tests.chaos.rows import Odd

PERIOD = 0.1
"""Seconds between two batches."""
CANARY_EVERY = 2.0
"""Seconds between two jobs by which it is seen that jobs get their turn: a plain one, then a suspect."""
ODD_EVERY = 0.7
LOUD, QUIET = 10.0, 6.0
"""Seconds of the whole load, and of a part of it, in turns: with few neighbours it shows best who is charged."""
SHARE = 0.06
"""Of the load, in quiet times."""


@dataclass
class Canary:
    """A job that must soon have its turn."""

    key: str
    at: float
    suspect: bool = False


@dataclass
class Accepted:
    """What the enqueuer was told."""

    jobs: dict[int, tuple[str, str]] = field(default_factory=dict)
    """The kind and the key of each accepted job."""
    uncertain: set[str] = field(default_factory=set)
    """The keys whose COMMIT was not answered: they may be there or not."""
    rolled_back: set[str] = field(default_factory=set)
    rows: dict[int, Odd] = field(default_factory=dict)
    """The jobs whose rows were written by hand."""
    refused: Counter[str] = field(default_factory=Counter)
    """What the database did not let in."""
    canaries: list[Canary] = field(default_factory=list)


class Load:
    """A thread that enqueues so many jobs a second until it is stopped."""

    def __init__(
        self, jobs: Jobs, place: Any, app: Any, rate: int, seed: int, longest: float, parts: Collection[str]
    ) -> None:
        self.jobs, self.place, self.app, self.rate, self.longest = jobs, place, app, rate, longest
        self.rng = random.Random(seed)
        steady = {name: kind for name, kind in KINDS.items() if not kind.part and kind.share}
        self.names, self.shares = list(steady), [kind.share for kind in steady.values()]
        self.extra = {name: kind for name, kind in KINDS.items() if kind.part in parts}
        self.hostile = "hostile" in parts
        self.accepted = Accepted()
        self.number = 0
        self.begun = time.monotonic()
        self.canary_at = self.odd_at = 0.0
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
                self.timed(time.monotonic())
                due = max(due + PERIOD, time.monotonic() - 1)
                self.stopped.wait(max(0.0, due - time.monotonic()))
        except BaseException as error:
            self.failure = error

    def timed(self, now: float) -> None:
        """Enqueue what comes at its time, not at a rate."""
        if now >= self.canary_at:
            self.canary_at = now + CANARY_EVERY
            self.canary()
        if self.hostile and now >= self.odd_at:
            self.odd_at = now + ODD_EVERY
            self.odd()

    def key(self) -> str:
        self.number += 1
        return f"k{self.number}"

    def batch(self) -> None:
        rate = self.rate * (SHARE if self.quiet() else 1)
        drafts = [self.steady() for _ in range(int(rate * PERIOD) + 1)]
        for name, kind in self.extra.items():
            if self.rng.random() < kind.share * PERIOD / 60:
                drafts.append(self.draft(name, kind, kind.arguments(self.rng)))
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

    def quiet(self) -> bool:
        return (time.monotonic() - self.begun) % (LOUD + QUIET) > LOUD

    def steady(self) -> tuple[str, str, Draft]:
        """A job of those that come all the time."""
        rng = self.rng
        name = rng.choices(self.names, self.shares)[0]
        kind = KINDS[name]
        return self.draft(name, kind, (self.seconds(),) if name in ("works", "aworks") else kind.arguments(rng))

    def draft(self, name: str, kind: Kind, arguments: tuple[Any, ...]) -> tuple[str, str, Draft]:
        key = self.key()
        module = self.app if kind.module == "app" else getattr(self.app, kind.module)
        return name, key, getattr(module, name).draft(key, *arguments)

    def seconds(self) -> float:
        """How long a job works: a few work long."""
        dice = self.rng.random()
        if dice < 0.001:
            return self.rng.uniform(self.longest / 4, self.longest)
        if dice < 0.015 or dice < 0.2 and self.quiet():
            return self.rng.uniform(0.1, 2)
        return self.rng.uniform(0.001, 0.02)

    def nothing(self) -> None:
        """Enqueue in a transaction that is rolled back."""
        key = self.key()
        self.accepted.rolled_back.add(key)
        # If the database is away, it is rolled back all the more.
        with contextlib.suppress(Exception):
            self.place.rolled_back(lambda raw: self.app.works.using(connection=raw).enqueue(key, 0.001))

    def canary(self) -> None:
        """Enqueue a job that must have its turn soon, every second one as a suspect."""
        canary = Canary(self.key(), 0.0, suspect=len(self.accepted.canaries) % 2 == 1)
        options = {"run_at": rows.LATER} if canary.suspect else {}
        try:
            job = self.app.canary.using(**options).enqueue(canary.key)
        except StoreError:
            return
        if canary.suspect and not self.written(rows.SUSPECT, job.id):
            return
        canary.at = time.time()
        self.accepted.jobs[job.id] = ("canary", canary.key)
        self.accepted.canaries.append(canary)

    def odd(self) -> None:
        """Enqueue a job for later, and make its row odd and ready by hand."""
        odd = rows.odd_of(self.jobs.address.dialect, self.rng)
        try:
            job = self.app.works.using(run_at=rows.LATER).enqueue(self.key(), 0.001)
        except StoreError:
            return
        if self.written(odd, job.id):
            self.accepted.rows[job.id] = odd

    def written(self, odd: Odd, id: int) -> bool:
        """Make the row odd; False: it was not, and is deleted, or waits for good where the database is away."""
        statement, values = rows.assignment(odd, self.jobs.address.dialect, id)
        mark = "?" if self.jobs.address.dialect == "sqlite" else "%s"
        try:
            with contextlib.closing(self.place.open()) as raw:
                try:
                    raw.execute(statement, values)
                except Exception as error:
                    raw.execute(f"DELETE FROM belayed_jobs WHERE id = {mark}", (id,))
                    self.accepted.refused[f"{odd.name}: {type(error).__name__}"] += 1
                    return False
        except Exception:
            self.accepted.rows[id] = replace(odd, ends=rows.ANY)
            return False
        return True
