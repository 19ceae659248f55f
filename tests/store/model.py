"""The queue as a few dictionaries: what every store must do, without SQL. `test_model.py` holds stores to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from belayed.claim import Claimed, Finished, moment
from belayed.job import Outcome, State
from belayed.store.lanes import Lane, Serving

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
WAITING = (State.SCHEDULED, State.READY)


@dataclass
class Entry:
    """A job, live or ended."""

    id: int
    state: State
    queue: str
    priority: int
    run_at: datetime
    created_at: datetime
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    rescues: int = 0
    free_retries: int = 0
    error: str | None = None
    worker: str | None = None
    started_at: datetime | None = None
    cancel_requested: bool = False
    finished_at: datetime | None = None
    seconds: float | None = None
    result: str | None = None
    token: str | None = None
    unknown_since: datetime | None = None

    @property
    def place(self) -> tuple[int, datetime, int]:
        """Where it stands in the order of claims."""
        return self.priority, self.run_at, self.id


@dataclass(frozen=True)
class Try:
    """An attempt that did not succeed."""

    job: int
    number: int
    outcome: Outcome
    worker: str | None
    started_at: datetime | None
    ended_at: datetime
    error_type: str | None
    message: str | None


@dataclass
class Registered:
    beat_at: datetime
    lapse: float


@dataclass
class Model:
    """The queue. Each operation answers as the store's does; lists of ids are sorted."""

    now: datetime = EPOCH
    jobs: dict[int, Entry] = field(default_factory=dict)
    tries: list[Try] = field(default_factory=list)
    workers: dict[str, Registered] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)

    def those(self, ids: Iterable[int], *states: State) -> list[Entry]:
        """The jobs of *ids* that are in one of *states*, by id."""
        found = (self.jobs[id] for id in sorted(set(ids)) if id in self.jobs)
        return [job for job in found if job.state in states]

    def all(self, *states: State) -> list[Entry]:
        return self.those(self.jobs, *states)

    def insert(self, id: int, queue: str, priority: int, run_at: datetime) -> Entry:
        state = State.READY if run_at <= self.now else State.SCHEDULED
        self.jobs[id] = Entry(id, state, queue, priority, run_at, created_at=self.now)
        return self.jobs[id]

    def promote(self, count: int) -> tuple[int, float | None]:
        """Those due for longest become ready; if that is not all, the last quarter of a batch are the most urgent."""
        due = [job for job in self.all(State.SCHEDULED) if job.run_at <= self.now]
        due.sort(key=lambda job: job.place[1:])
        urgent = count // 4
        longest, others = due[: count - urgent], due[count - urgent :]
        promoted = [*longest, *sorted(others, key=lambda job: job.place)[:urgent]]
        for job in promoted:
            job.state = State.READY
        waiting = [(job.run_at - self.now).total_seconds() for job in self.all(State.SCHEDULED)]
        return len(promoted), min(waiting, default=None)

    def claimable(self, serving: Serving) -> list[Entry]:
        """What a claimer may get now, most urgent first."""
        low, high = serving.min_priority, serving.max_priority
        found = [
            job
            for job in self.all(State.READY)
            if serving.serves(job.queue)
            and job.queue not in self.paused
            and (low is None or job.priority >= low)
            and (high is None or job.priority <= high)
        ]
        return sorted(found, key=lambda job: job.place)

    def seen(self, serving: Serving, lanes: Sequence[Lane]) -> list[Entry]:
        """What of it stands after the marks of remembered lanes."""

        def within(job: Entry, lane: Lane) -> bool:
            at = datetime.min.replace(tzinfo=UTC) if lane.mark_at is None else moment(lane.mark_at)
            mark = (lane.priority, at, lane.mark_id)
            return lane.queue == job.queue and job.place >= mark and job.priority <= lane.upto

        return [job for job in self.claimable(serving) if any(within(job, lane) for lane in lanes)]

    def claim(self, worker: str, claims: Iterable[Claimed]) -> None:
        """Take over what the store has given to *worker*."""
        for claim in claims:
            job = self.jobs[claim.id]
            assert job.state is State.READY, f"{claim} was not ready"
            job.state, job.worker, job.token, job.started_at = State.RUNNING, worker, claim.token, self.now

    def finish(self, finished: Sequence[Finished]) -> set[int]:
        held = set()
        for one in finished:
            job = self.jobs.get(one.id)
            if job is None or job.state is not State.RUNNING or job.token != one.token:
                continue
            held.add(one.id)
            if one.state is State.SUCCEEDED:
                self.succeed(job, one)
            elif one.state.ended:
                self.end(job, one)
            else:
                self.back(job, one)
        return held

    def succeed(self, job: Entry, one: Finished) -> None:
        job.state, job.finished_at, job.seconds, job.result = State.SUCCEEDED, self.now, one.seconds, one.result
        job.attempt += 1
        self.settle(job, error=None)
        if not one.keep:
            self.forget([job])

    def end(self, job: Entry, one: Finished) -> None:
        if one.started:
            self.tried(job, one.outcome, one)
        self.count(job, one)
        job.state, job.finished_at, job.seconds = one.state, self.now, one.seconds
        self.settle(job, error=summary(one))
        if not one.keep:
            self.forget([job])

    def back(self, job: Entry, one: Finished) -> None:
        if one.started:
            self.tried(job, one.outcome, one)
        self.count(job, one)
        if one.delay is not None:
            job.run_at = self.now + timedelta(seconds=one.delay)
        if one.unknown:
            job.unknown_since = job.unknown_since or self.now
        elif one.started:
            job.unknown_since = None
        self.release(job, State.SCHEDULED if one.delay else State.READY)
        job.error = summary(one) or job.error
        self.cancel_if_asked(job)

    def tried(self, job: Entry, outcome: Outcome, one: Finished | None, message: str | None = None) -> None:
        if one is None:
            self.tries.append(Try(job.id, job.attempt + 1, outcome, job.worker, None, self.now, None, message))
            return
        began = self.now - timedelta(seconds=one.seconds)
        number = job.attempt + 1
        self.tries.append(Try(job.id, number, outcome, job.worker, began, self.now, one.error_type, one.message))

    def count(self, job: Entry, one: Finished) -> None:
        job.attempt += one.started
        job.failures += one.failed
        job.crashes += one.crashed
        job.free_retries += one.free

    def release(self, job: Entry, state: State) -> None:
        job.state, job.worker, job.token, job.started_at = state, None, None, None

    def cancel_if_asked(self, job: Entry) -> None:
        if job.cancel_requested:
            job.state, job.finished_at = State.CANCELLED, self.now
            self.settle(job, error=job.error)

    def settle(self, job: Entry, *, error: str | None) -> None:
        """Drop what only live jobs have."""
        job.error, job.token, job.cancel_requested, job.unknown_since = error, None, False, None

    def beat(self, worker: str, lapse: float) -> tuple[bool, list[int]]:
        fresh = worker not in self.workers
        if fresh:
            self.workers[worker] = Registered(self.now, lapse)
        self.workers[worker].beat_at = self.now
        return fresh, [job.id for job in self.all(State.RUNNING) if job.worker == worker and job.cancel_requested]

    def lapsed(self) -> set[str]:
        return {name for name, one in self.workers.items() if one.beat_at < self.now - timedelta(seconds=one.lapse)}

    def rescue(self, most: int, lapse: float, poison: str) -> tuple[list[int], list[int], list[str]]:
        dead = self.lapsed()
        latest: dict[str, datetime] = {}
        for job in self.all(State.RUNNING):
            assert job.worker is not None
            assert job.started_at is not None
            if job.worker not in self.workers:
                latest[job.worker] = max(job.started_at, latest.get(job.worker, job.started_at))
        dead |= {worker for worker, at in latest.items() if at < self.now - timedelta(seconds=lapse)}
        saved, poisoned = [], []
        for job in self.all(State.RUNNING):
            if job.worker not in dead:
                continue
            job.rescues += 1
            if job.rescues >= most and not job.cancel_requested:
                poisoned.append(job.id)
                self.tried(job, Outcome.LOST, None, poison)
                job.state, job.finished_at = State.FAILED, self.now
                self.settle(job, error=poison)
            else:
                saved.append(job.id)
                self.tried(job, Outcome.LOST, None, "the worker stopped beating")
                self.release(job, State.READY)
                self.cancel_if_asked(job)
        for worker in self.lapsed():
            del self.workers[worker]
        return saved, poisoned, sorted(dead)

    def cancel(self, ids: Sequence[int]) -> list[int]:
        waiting, running = self.those(ids, *WAITING), self.those(ids, State.RUNNING)
        for job in waiting:
            job.state, job.finished_at = State.CANCELLED, self.now
            self.settle(job, error=job.error)
        for job in running:
            job.cancel_requested = True
        return sorted(job.id for job in (*waiting, *running))

    def retry(self, ids: Sequence[int]) -> list[int]:
        chosen = self.those(ids, State.FAILED, State.CANCELLED, State.SCHEDULED)
        for job in chosen:
            self.jobs[job.id] = Entry(
                job.id, State.READY, job.queue, job.priority, self.now, job.created_at, job.attempt, error=job.error
            )
        return [job.id for job in chosen]

    def delete(self, ids: Sequence[int]) -> list[int]:
        chosen = self.those(ids, *(state for state in State if state is not State.RUNNING))
        self.forget(chosen)
        return [job.id for job in chosen]

    def change(
        self, ids: Sequence[int], queue: str | None, priority: int | None, run_at: datetime | None, delay: float | None
    ) -> list[int]:
        chosen = self.those(ids, *WAITING)
        for job in chosen:
            later = None if delay is None else self.now + timedelta(seconds=delay)
            job.queue = job.queue if queue is None else queue
            job.priority = job.priority if priority is None else priority
            job.run_at = run_at or later or job.run_at
            job.state = State.READY if job.run_at <= self.now else State.SCHEDULED
        return [job.id for job in chosen]

    def prune(self, state: State, age: float, count: int) -> int:
        old = [job for job in self.ended(state) if job.finished_at < self.now - timedelta(seconds=age)]  # type: ignore[operator]
        self.forget(old[:count])
        return len(old[:count])

    def prune_excess(self, most: int, count: int) -> int:
        succeeded = self.ended(State.SUCCEEDED)
        excess = succeeded[: max(0, len(succeeded) - most)][:count]
        self.forget(excess)
        return len(excess)

    def ended(self, state: State) -> list[Entry]:
        """The jobs that ended in *state*, oldest first."""
        return sorted(self.all(state), key=lambda job: (job.finished_at, job.id))

    def forget(self, jobs: Iterable[Entry]) -> None:
        for job in jobs:
            del self.jobs[job.id]
        self.tries = [one for one in self.tries if one.job in self.jobs]

    def shown(self) -> list[Entry]:
        """The contents as people can read them, by id: without tokens."""
        return [replace(self.jobs[id], token=None, unknown_since=None) for id in sorted(self.jobs)]


def summary(one: Finished) -> str | None:
    return None if one.error_type is None else f"{one.error_type}: {one.message}"
