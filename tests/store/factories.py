"""What the conformance tests are made of: drafts, outcomes, and stores driven in each way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.config import address
from belayed.connections import Connections
from belayed.job import Draft, Job, Outcome, State
from belayed.steps import Ask, Steps
from belayed.store import open_store
from belayed.store.answers import Inserted, Rescued, Sign, Wanted, WorkerRow
from belayed.store.base import Store
from belayed.store.lanes import Lanes, Serving
from belayed.store.statements import statement

NOON = datetime(2030, 6, 1, 12, 0, tzinfo=UTC)
"""When each test begins."""


@dataclass
class Payload:
    """What a draft needs; its text is given."""

    task: str = "app.work"

    def write(self, codec: Any) -> str:
        return "{}"


def draft(**options: Any) -> Draft:
    """A draft whose text is written."""
    given = {"task": "app.work", "queue": "default", "priority": 0, "text": '{"v":1}', **options}
    return Draft(Payload(given["task"]), **given)


def drafts(number: int, **options: Any) -> list[Draft]:
    return [draft(**options) for _ in range(number)]


def worker(id: str = "w1", **columns: Any) -> WorkerRow:
    """A worker that registers."""
    given = {"name": id, "host": "host", "pid": 1, "queues": "*", "version": "0.1.0", **columns}
    return WorkerRow(id, **given)


def finished(job: Claimed, outcome: Outcome, state: State, **columns: Any) -> Finished:
    given = {"attempt": job.attempt + 1, **columns}
    return Finished(job.id, job.token, outcome, state, **given)


def succeeded(job: Claimed, **columns: Any) -> Finished:
    return finished(job, Outcome.SUCCEEDED, State.SUCCEEDED, **columns)


def failed(job: Claimed, **columns: Any) -> Finished:
    """The last failure of a job."""
    error = {"error_type": "ValueError", "message": "no", "traceback": "Traceback: no"}
    return finished(job, Outcome.FAILED, State.FAILED, **{"failed": True, **error, **columns})


def cancelled(job: Claimed, **columns: Any) -> Finished:
    return finished(job, Outcome.CANCELLED, State.CANCELLED, **columns)


def again(job: Claimed, **columns: Any) -> Finished:
    """A failure after which the job is tried again."""
    error = {"error_type": "ValueError", "message": "no", "traceback": "Traceback: no"}
    return finished(job, Outcome.RETRY, State.READY, **{"failed": True, **error, **columns})


def released(job: Claimed, **columns: Any) -> Finished:
    """A job given back that never started."""
    return finished(job, Outcome.INTERRUPTED, State.READY, **{"started": False, **columns})


class Driven:
    """A store and a way of performing its operations; each operation is a method that answers at once.

    Operations that take `now` are told `self.time`, which tests move.
    """

    def __init__(self, store: Store, perform: Callable[[Steps[Any]], Any]) -> None:
        self.store = store
        self.perform = perform
        self.time: datetime | None = NOON
        self.queues = count()

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self.store, name)
        if not inspect.ismethod(operation):
            return operation
        timed = "now" in inspect.signature(operation).parameters

        def performed(*args: Any, **options: Any) -> Any:
            if timed and "now" not in options:
                options["now"] = self.time
            return self.perform(operation(*args, **options))

        return performed

    def prune_excess(self, most: int, count: int = 1000) -> int:
        """Delete succeeded jobs beyond the newest *most*."""
        edge = self.perform(self.store.passed(None, most + 1))
        return 0 if edge is None else int(self.perform(self.store.prune_excess(edge, count=count)))

    def rescue(self, *, most: int = 10, lapse: float = 30.0) -> Rescued:
        """Rescue from workers whose sign of life is older than they gave; unregistered ones gave *lapse* seconds."""
        dead = silent(self.store, self.signs().workers, self.time or datetime.now(UTC), lapse)
        return self.perform(self.store.rescue(dead, most=most, now=self.time))  # type: ignore[no-any-return]

    @property
    def dialect(self) -> str:
        return self.store.dialect

    def later(self, **span: float) -> datetime:
        """Let time pass; the time that it is then."""
        assert self.time is not None
        self.time += timedelta(**span)
        return self.time

    def lanes(self, *queues: str, **serving: Any) -> Lanes:
        """The memory of a claimer that serves *queues*."""
        return self.store.lanes(Serving(queues or ("*",), **serving))

    def added(self, number: int = 1, **options: Any) -> list[int]:
        """The ids of so many new jobs."""
        return [job.id for job in self.insert_many(drafts(number, **options))]

    def claimed(self, number: int = 1, *, by: str = "w1", lanes: Lanes | None = None) -> list[Claimed]:
        """At most so many jobs, running now."""
        brought: list[Claimed] = self.turn([], Wanted(by, number, lanes or self.lanes())).claimed
        return brought

    def running(self, number: int | None = None, *, by: str = "w1", **options: Any) -> Any:
        """A new job that runs now; with a *number*, so many of them."""
        ids = self.added(number or 1, **options)
        jobs = self.claimed(len(ids), by=by)
        assert sorted(job.id for job in jobs) == ids, "older jobs were ready too"
        return jobs[0] if number is None else jobs

    def ended(self, state: State = State.SUCCEEDED, number: int = 1, **options: Any) -> list[int]:
        """The ids of so many jobs that ended now in *state*."""
        end = {State.SUCCEEDED: succeeded, State.FAILED: failed, State.CANCELLED: cancelled}[state]
        jobs = self.running(number, **options)
        self.turn([end(job) for job in jobs])
        return [job.id for job in jobs]

    def finish(self, *outcomes: Finished) -> set[int]:
        """The jobs whose claims still held."""
        held: set[int] = self.turn(outcomes).held
        return held

    def job(self, id: int) -> Job:
        found: Job = self.get(id)[0]
        return found

    def state(self, id: int) -> State | None:
        """Where the job stands; None if it is nowhere."""
        found = self.get(id)
        return found[0].state if found else None

    def rows(self, sql: str) -> list[Any]:
        """What a query of the test's own answers, with `{jobs}`-style names in it."""
        tables = self.store.tables  # type: ignore[attr-defined]
        return self.perform(asked([(statement("test", tables.fill(sql)), {})]))  # type: ignore[no-any-return]


def silent(store: Store, signs: Sequence[Sign], now: datetime, lapse: float) -> list[Sign]:
    """Those who have not shown a sign of life for as long as they gave: by the test's clock, which is right."""

    def shown(sign: str) -> datetime:
        if store.dialect == "sqlite":
            return datetime.fromtimestamp(int(sign) / 1e6, UTC)
        return datetime.fromisoformat(sign).replace(tzinfo=UTC)

    return [one for one in signs if (now - shown(one.sign)).total_seconds() > (one.lapse or lapse)]


def asked(calls: Sequence[Any]) -> Steps[Any]:
    answers = yield Ask(calls, last=True)
    return answers[-1]


def of_threads(url: str, **options: Any) -> tuple[Driven, Connections]:
    """A store driven by threads, as a process of its own would open it; and its connections, to be closed."""
    at = address(url)
    connections = Connections(at, synchronous="normal")
    return Driven(open_store(at.dialect, **options), connections.perform), connections


def of_loop(url: str, runner: asyncio.Runner) -> tuple[Driven, Connections]:
    """A store driven from an event loop."""
    at = address(url)
    connections = Connections(at, synchronous="normal")
    return Driven(open_store(at.dialect), lambda steps: runner.run(connections.aperform(steps))), connections


def ids_of(jobs: Sequence[Claimed | Inserted | Job]) -> list[int]:
    return [job.id for job in jobs]
