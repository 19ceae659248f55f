"""What the operations of a store are given and answer with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from belayed.claim import Claimed
from belayed.errors import StoreError
from belayed.job import Draft, State
from belayed.steps import Row
from belayed.store.lanes import Lanes, Serving

LOOK = "look"
"""The hint that there may be news anywhere; others name a priority and a queue, or `@`: a new time to be due."""


class Inserted(NamedTuple):
    """What the database gave a new job."""

    id: int
    state: State
    run_at: datetime
    created_at: datetime


class Drafts(Sized, Iterable[Draft], Protocol):
    """Drafts that may be completed while they are read."""


Made = Callable[[Draft, int, State, datetime, datetime], Any]
"""What makes something of a draft and of what an `Inserted` has."""


def inserted_only(_: Draft, id: int, state: State, run_at: datetime, created_at: datetime) -> Inserted:
    return Inserted(id, state, run_at, created_at)


PASSED_OVER = (
    "the database passes over the row and reports no error, as a trigger, a rule or row-level security can have it do"
)


def saved(rows: Sequence[Row]) -> Row:
    """The row that answers to an INSERT of one job. Raises StoreError if there is none."""
    if not rows:
        raise StoreError(f"the job was not saved: {PASSED_OVER}")
    return rows[0]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A wish for a claim: at most `count` jobs of the `lanes`, for a `worker`."""

    worker: str
    count: int
    lanes: Lanes
    only: list[int] | None = None
    """Of these jobs, which `first` has found, not of the first."""


class Turn(NamedTuple):
    """What a worker's turn at the store brought."""

    held: set[int]
    """The jobs among the finished whose claim still held; the others' outcomes were refused."""
    claimed: list[Claimed]
    """Running now, most urgent first, each with a fresh token."""


class Promoted(NamedTuple):
    jobs: int
    next_due: float | None
    """Seconds until the next scheduled job is due."""


class Beat(NamedTuple):
    fresh: bool
    """The worker was not registered (any more): it starts now, or its claims had lapsed and were rescued."""
    cancels: list[int]
    """Running jobs of this worker that were asked to be cancelled."""


class Sign(NamedTuple):
    """The last sign of life of a worker that is registered or holds claims."""

    worker: str
    sign: str
    """It changes with each beat (an unregistered worker's with each claim), and says nothing else: no clock is asked
    how old it is, as clocks differ and jump."""
    lapse: float | None
    """Seconds without another after which its claims lapse, as it gave them; None: it is not registered."""


class Signs(NamedTuple):
    workers: list[Sign]
    held: list[int]
    """The jobs that the worker holds who asks."""


class Rescued(NamedTuple):
    saved: list[int]
    poisoned: list[int]
    workers: list[str]


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker as the store shows it."""

    id: str
    name: str
    host: str
    pid: int
    queues: str
    version: str
    started_at: datetime | None = None
    beat_at: datetime | None = None
    alive: bool = True
    running: int = 0
    lapse: float = field(default=30.0, compare=False)
    """Seconds without a beat after which its claims lapse."""


def served(worker: WorkerRow) -> tuple[str, ...]:
    """The queues that a worker serves, as it was told them."""
    try:
        listed = json.loads(worker.queues)
    except (ValueError, RecursionError):
        listed = None
    return tuple(map(str, listed)) if isinstance(listed, list) else tuple(worker.queues.split(","))


def named(workers: Iterable[WorkerRow]) -> set[str]:
    """The queues that workers name, those that they leave out with their `!`."""
    return {name for worker in workers for name in served(worker) if name.isprintable() and "*" not in name}


def servings(workers: Iterable[WorkerRow]) -> set[Serving]:
    """What those of *workers* that live take: each only once, as a thousand may be alike."""
    return {Serving(served(worker)) for worker in workers if worker.alive}


class Place(NamedTuple):
    """Of a job in the history: by when it ended, and its id."""

    finished_at: datetime
    id: int


class QueueCount(NamedTuple):
    queue: str
    state: State
    jobs: int
    oldest: datetime
    """The earliest `run_at`."""


class Counts(NamedTuple):
    live: list[QueueCount]
    ended: dict[State, int]
    """Counted up to the limit that was given: a value equal to it means "or more"."""


class Overdue(NamedTuple):
    queue: str
    jobs: int
    oldest: datetime
    """The earliest `run_at`."""
    paused: bool


class Checked(NamedTuple):
    """What a database says of itself."""

    version: str
    encoding: str
    journal: str | None
    """SQLite's journal mode."""


class Ids(NamedTuple):
    """How the ids of a table are counted."""

    table: str
    last: int | None
    """The last one given; None: that may not be read."""
    most: int | None
    """The last that there is; None: the table counts none."""
    least: int | None
    """The smallest in use."""
    greatest: int
    """The largest in use, but for those near the end of all ids."""
    beyond: int | None
    """One in use that is near the end, and keeps the counter there."""
    mending: str
    """The SQL that sets the counter right."""


class Sessions(NamedTuple):
    """What a server does with the sessions of clients that have vanished. Times are in seconds; 0 is never."""

    database: str
    remote: bool
    """Whether the client that asked is on another machine."""
    idle: float
    """Until the first look whether a silent client is there."""
    interval: float
    """Between the looks."""
    looks: float
    """So many looks without an answer end the session."""
    user_timeout: float
    """Without an acknowledgement of what was sent."""
    idle_in_transaction: float
