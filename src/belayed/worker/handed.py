"""What a supervisor knows of each of its children, and of each job that it holds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum

from belayed.claim import Claimed, Finished
from belayed.job import Outcome
from belayed.worker.blame import Left
from belayed.worker.page import clock
from belayed.worker.process import Process


@dataclass(slots=True, eq=False)
class Handed:
    """A claimed job, waiting in the supervisor or handed to a child."""

    job: Claimed
    claimed_at: float
    """When its claim was asked for, on the clock of leases."""
    is_async: bool
    cell: int = -1
    stop: tuple[Outcome, str] | None = None
    """What it was told to end as, and why."""
    stopped_at: float = 0.0
    completed: Finished | None = None
    """Its own transaction has completed it."""


SILENCE = 0.25
"""Seconds in which a child takes what it is sent; it gets nothing more before it has."""


class Role(StrEnum):
    WORKER = "worker"
    SPARE = "spare"
    """Warm, for when another dies or is replaced."""
    ALONE = "alone"
    """Runs suspects, one at a time."""


@dataclass(slots=True, eq=False)
class Child:
    """A child process, and the jobs that were handed to it."""

    process: Process
    role: Role
    ready: bool = False
    error: str = ""
    """Why it could not start, in its own words."""
    leaving: str = ""
    """Why it gets no more jobs."""
    kill_at: float = float("inf")
    told_to_end: bool = False
    handed: dict[int, Handed] = field(default_factory=dict)
    """By their cells."""
    cells: list[int] = field(default_factory=list)
    """The free ones."""
    threads: int = 0
    """How many of the handed are `def` jobs; the others are coroutines."""
    given: int = 0
    """Jobs in its life."""
    sent_at: float = 0.0
    """When it was handed the first jobs that it has not taken yet, on the clock of leases."""
    idle_since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.cells = list(range(self.process.page.cells))

    def __str__(self) -> str:
        return f"child {self.process.pid}"

    @property
    def working(self) -> bool:
        """Whether it takes jobs of the queue."""
        return self.ready and self.role is Role.WORKER and not self.leaving and self.answers

    @property
    def answers(self) -> bool:
        """Whether it takes what it is sent: it does not while it is stopped, or a job keeps the interpreter's lock."""
        return self.has_taken or clock() - self.sent_at < SILENCE

    @property
    def has_taken(self) -> bool:
        """Whether it has taken all that it was sent."""
        return self.process.page.pulse >= self.sent_at

    @property
    def coroutines(self) -> int:
        return len(self.handed) - self.threads

    def sends(self) -> None:
        """It is about to be handed jobs."""
        if self.has_taken:
            self.sent_at = clock()

    def take(self, one: Handed) -> None:
        """Give a job its cell: from now on it counts as the child's."""
        one.cell = self.cells.pop()
        self.process.page.clear(one.cell)
        self.handed[one.cell] = one
        self.threads += not one.is_async
        self.given += 1

    def drop(self, one: Handed) -> None:
        """The child has done with it, or has never begun."""
        del self.handed[one.cell]
        self.threads -= not one.is_async
        self.cells.append(one.cell)
        one.cell = -1

    def started(self, one: Handed) -> float:
        """When its attempt started, on the clock of leases; 0: it has not."""
        return self.process.page.started(one.cell)

    def runs(self, one: Handed) -> bool:
        """Whether its code runs now, as far as the page tells."""
        page = self.process.page
        return bool(page.started(one.cell)) and not page.ended(one.cell)

    def left(self, one: Handed) -> Left:
        """What is known of an attempt whose child has died."""
        page = self.process.page
        started, ended = page.started(one.cell), page.ended(one.cell)
        stop = one.stop if self.process.expected else None
        return Left(one.job, (ended or clock()) - started, not ended, stop)
