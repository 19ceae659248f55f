"""What a supervisor knows of each of its children, and of each job that it holds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from enum import StrEnum

from belayed.claim import Claimed, Finished
from belayed.config import WorkerConfig
from belayed.job import Outcome
from belayed.worker.blame import MOMENT, Death, Left
from belayed.worker.demand import Demand
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
    began: float = 0.0
    """When its attempt started, as first seen in the page: a job may write there what it likes later."""
    looks: int = 0
    """At how many looks it had not started."""
    marked_at: float = 0.0
    """When it was marked as withdrawn, on the clock of leases (withdrawal.py)."""


AHEAD_OF_CHILD = 0.01
"""Seconds of work that a child holds beyond what runs: the rest is kept where it can be given back."""
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
    born: float = field(default_factory=time.monotonic)
    idle_since: float = 0.0
    """Since when it has no work, once it is ready."""
    asked_at: float = 0.0
    """When it was asked to give back what it had not started, on the clock of leases."""
    last_pulse: float = 0.0
    """When it last took what it was sent, once it is dead."""
    ended_at: float = float("-inf")
    """When the last outcome of an attempt has come from it."""
    taught: set[str] = field(default_factory=set)
    """The tasks whose kinds it has found out."""
    result_limit: int = 0
    """Characters of a result, at most."""
    ask_at: float = 0.0
    """When it may be asked again for a sign of life."""
    said: int = 0
    """How many frames it has sent since the last look at it."""
    still: int = 0
    """At how many looks in a row it held jobs, ran none of them and had sent nothing."""
    withdrawn: dict[int, Handed] = field(default_factory=dict)
    """What was taken back from it and it has not let go of yet, by the cells, as it was handed over."""
    knows_database: bool = False
    """Whether it can be asked how to connect to the database."""
    asked: bool = False
    """Whether it was, and has not answered."""
    silent: int = 0
    """At how many looks in a row it had let go of nothing of that."""

    def __post_init__(self) -> None:
        self.cells = list(range(self.process.page.cells))

    def __str__(self) -> str:
        return f"child {self.process.pid}"

    @property
    def working(self) -> bool:
        """Whether it takes jobs of the queue."""
        return self.ready and self.role is Role.WORKER and not self.leaving and not self.withdrawn and self.answers

    @property
    def takes_suspect(self) -> bool:
        """Whether it takes a suspect now: it has no other."""
        busy = self.handed or self.withdrawn or self.leaving
        return self.role is Role.ALONE and self.ready and not busy

    @property
    def answers(self) -> bool:
        """Whether it takes what it is sent: it does not while it is stopped, or a job keeps the interpreter's lock."""
        return self.has_taken or clock() - self.sent_at < SILENCE

    @property
    def has_taken(self) -> bool:
        """Whether it has taken all that it was sent. A pulse of the future, or NaN, says nothing."""
        pulse = self.process.page.pulse
        return pulse >= self.sent_at and pulse <= clock()

    @property
    def can_say(self) -> bool:
        """Whether it is likely to answer how to connect to the database."""
        channel = self.process.channel
        return self.knows_database and not (self.asked or self.told_to_end or channel.deaf) and channel.open

    @property
    def coroutines(self) -> int:
        return len(self.handed) - self.threads

    def room(self, config: WorkerConfig, demand: Demand) -> list[int]:
        """How many more jobs it is to hold: for its threads, for its event loop, and of both together."""
        most = len(self.cells) if config.max_jobs is None else min(len(self.cells), config.max_jobs - self.given)
        # Nothing ahead for one that may have stopped listening: what it has is there to stay.
        ahead = AHEAD_OF_CHILD if self.has_taken else 0.0
        threads = demand.threads_pace.target(config.threads, config.read_ahead, ahead) - self.threads
        loop = demand.loop_pace.target(config.async_slots, config.read_ahead, ahead) - self.coroutines
        return [max(0, min(threads, most)), max(0, min(loop, most)), most]

    def sends(self) -> None:
        """It is about to be handed jobs."""
        if self.has_taken:
            self.sent_at = clock()

    def take(self, one: Handed) -> None:
        """Give a job its cell: from now on it counts as the child's."""
        one.cell, one.began, one.looks, one.marked_at = self.cells.pop(), 0.0, 0, 0.0
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

    def withdraw(self, one: Handed) -> None:
        """It will not start this job. Its cell is not free before the child has let go of it."""
        self.withdrawn[one.cell] = replace(one)
        del self.handed[one.cell]
        self.threads -= not one.is_async
        one.cell = -1

    def lets_go(self, cell: int) -> None:
        """It has seen that a job was withdrawn."""
        del self.withdrawn[cell]
        self.cells.append(cell)
        self.silent = 0

    # What the page says, which may be anything: a job can write there. In doubt an attempt is running.

    def started(self, one: Handed) -> float:
        """When its attempt started, on the clock of leases, as it was first seen; 0: it has not."""
        if not one.began and not self.process.page.untouched(one.cell):
            started, now = self.process.page.started(one.cell), clock()
            one.began = started if one.claimed_at <= started <= now else now
        return one.began

    def ended(self, one: Handed) -> float:
        """When its attempt ended; 0: it has not, or it cannot have then."""
        ended, started = self.process.page.ended(one.cell), self.started(one)
        return ended if ended > 0 and started <= ended <= clock() else 0.0

    def runs(self, one: Handed) -> bool:
        """Whether its code runs now, as far as the page tells."""
        return bool(self.started(one)) and not self.ended(one)

    def death(self) -> Death:
        """How it ended, once it is dead."""
        just_ended = time.monotonic() - self.ended_at < MOMENT
        self.last_pulse = self.process.page.pulse
        deaf = self.last_pulse < self.asked_at
        return replace(self.process.death(), deaf=deaf, just_ended=just_ended, shared=self.given > 1)

    def left(self, one: Handed) -> Left:
        """What is known of an attempt whose child has died."""
        started, ended = self.started(one), self.ended(one)
        stop = one.stop if self.process.expected else None
        return Left(one.job, (ended or clock()) - started, not ended, one.completed is not None, one.is_async, stop)
