"""Stores against the model: whatever happens in whatever order, both give the same answers and hold the same jobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import starmap
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from belayed.claim import Claimed, Finished, micros
from belayed.config import address
from belayed.connections import Connections
from belayed.job import LIVE, Draft, Job, Outcome, State
from belayed.steps import Ask, Steps
from belayed.store import open_store
from belayed.store.answers import Turn, Wanted, WorkerRow
from belayed.store.chores import POISON
from belayed.store.lanes import Serving
from belayed.store.sql import SqlStore
from belayed.store.statements import statement
from tests import depth
from tests.store.factories import silent
from tests.store.model import Entry, Model, Try

QUEUES = ("a", "a", "b", "ä")
SERVINGS = (
    Serving(),
    Serving(),
    Serving(("a",)),
    Serving(("b", "a", "nowhere")),
    Serving(("*", "!a")),
    Serving(min_priority=0),
    Serving(("a", "ä"), max_priority=0),
)
MOST = 2
NEVER = 1e9

queues = st.sampled_from(QUEUES)
priorities = st.sampled_from((0, 0, -5, 7, 2**31 - 1, -(2**31)))
delays = st.sampled_from((0, 0, 0, 0, 5, 60))
wishes = st.lists(st.tuples(queues, priorities, delays), min_size=4, max_size=8)
counts = st.integers(1, 6)
batches = st.integers(1, 9)
picks = st.lists(st.integers(0, 40), min_size=1, max_size=4)
claimers = st.integers(0, 1)
passing = st.sampled_from((0, 1, 31, 61))

ENDINGS: tuple[dict[str, Any], ...] = (
    {"outcome": Outcome.SUCCEEDED, "state": State.SUCCEEDED, "result": "42", "seconds": 1.5},
    {"outcome": Outcome.SUCCEEDED, "state": State.SUCCEEDED, "keep": False},
    {"outcome": Outcome.FAILED, "state": State.FAILED, "failed": True, "error_type": "E", "message": "no"},
    {"outcome": Outcome.FAILED, "state": State.FAILED, "failed": True, "keep": False, "error_type": "E", "message": ""},
    {"outcome": Outcome.CANCELLED, "state": State.CANCELLED, "error_type": "Cancel", "message": "bye"},
    {"outcome": Outcome.FAILED, "state": State.READY, "failed": True, "delay": 60, "error_type": "E", "message": "%s"},
    {"outcome": Outcome.TIMED_OUT, "state": State.READY, "failed": True, "delay": 0, "seconds": 9.0},
    {"outcome": Outcome.RETRY, "state": State.READY, "free": True, "delay": 5, "error_type": "Retry", "message": "é"},
    {"outcome": Outcome.CRASHED, "state": State.READY, "failed": True, "crashed": True, "delay": 5},
    {"outcome": Outcome.INTERRUPTED, "state": State.READY, "started": False},
    {"outcome": Outcome.INTERRUPTED, "state": State.READY, "started": False, "unknown": True, "delay": 60},
)
endings = st.sampled_from(ENDINGS)


class Queue(RuleBasedStateMachine):
    """A store and its model, side by side."""

    def __init__(self, connections: Connections, store: SqlStore) -> None:
        super().__init__()
        self.perform, self.store = connections.perform, store
        self.model = Model()
        self.claims: list[Claimed] = []
        self.counted: dict[int, tuple[int, ...]] = {}
        self.reset: set[int] = set()
        self.perform(emptied(store))

    @initialize(first=st.sampled_from(SERVINGS), second=st.sampled_from(SERVINGS), wishes=wishes)
    def two_claimers_and_some_jobs(self, first: Serving, second: Serving, wishes: list[tuple[str, int, int]]) -> None:
        self.lanes = [self.store.lanes(first), self.store.lanes(second)]
        self.enqueue(wishes, one=False)

    def chosen(self, numbers: list[int]) -> list[int]:
        """The ids that *numbers* stand for, and one that there never was."""
        known = [*self.model.jobs, 10**12]
        return sorted({known[number % len(known)] for number in numbers})

    # Rules: one operation each, on both.

    @rule(wishes=wishes, one=st.booleans())
    def enqueue(self, wishes: list[tuple[str, int, int]], one: bool) -> None:
        drafts = list(starmap(draft, wishes))
        if one:
            drafts = drafts[:1]
            found = [self.perform(self.store.insert(drafts[0], now=self.model.now))]
        else:
            found = self.perform(self.store.insert_many(drafts, now=self.model.now))
        for inserted, (queue, priority, delay) in zip(found, wishes, strict=False):
            assert inserted.id not in self.model.jobs
            entry = self.model.insert(inserted.id, queue, priority, self.model.now + timedelta(seconds=delay))
            assert inserted[1:] == (entry.state, entry.run_at, entry.created_at)
        assert len(found) == len(drafts)
        assert [inserted.id for inserted in found] == sorted(inserted.id for inserted in found)

    @rule(count=batches, seconds=passing)
    def promote(self, count: int, seconds: int) -> None:
        self.model.now += timedelta(seconds=seconds)
        answer = self.perform(self.store.promote(count=count, now=self.model.now))

        assert tuple(answer) == pytest.approx(self.model.promote(count))

    @rule(claimer=claimers, count=counts)
    def claim(self, claimer: int, count: int) -> None:
        """After a scan the claim is exact."""
        lanes = self.lanes[claimer]
        lanes.scanned_at = float("-inf")
        wanted = self.model.claimable(lanes.serving)[:count]

        turn = self.turn(claimer, [], count)

        assert [job.id for job in turn.claimed] == [job.id for job in wanted]

    @rule(claimer=claimers, count=counts)
    def claim_from_memory(self, claimer: int, count: int) -> None:
        """Without one, it is exact from the marks on."""
        lanes = self.lanes[claimer]
        lanes.scanned_at, lanes.cost = monotonic(), NEVER
        known = self.model.claimable(lanes.serving) if lanes.due() else self.model.seen(lanes.serving, lanes.lanes)

        turn = self.turn(claimer, [], count)

        assert [job.id for job in turn.claimed] == [job.id for job in known[:count]]

    @rule(claimer=claimers, numbers=picks, ending=endings, count=counts)
    def finish_and_claim(self, claimer: int, numbers: list[int], ending: dict[str, Any], count: int) -> None:
        """What is given back in the same turn may be claimed again or not; all else comes in order."""
        lanes = self.lanes[claimer]
        lanes.scanned_at = float("-inf")
        wanted = [job.id for job in self.model.claimable(lanes.serving)]
        finished = self.finished(numbers, ending)

        turn = self.turn(claimer, finished, count)

        claimed = [job.id for job in turn.claimed]
        others = [id for id in claimed if id not in turn.held]
        assert others == wanted[: len(others)]
        assert min(count, len(wanted)) <= len(claimed) <= count

    @rule(claimer=claimers, numbers=picks, ending=endings)
    def finish(self, claimer: int, numbers: list[int], ending: dict[str, Any]) -> None:
        self.turn(claimer, self.finished(numbers, ending), 0)

    @rule(claimer=claimers, numbers=picks, ending=endings)
    def finish_without_a_claim(self, claimer: int, numbers: list[int], ending: dict[str, Any]) -> None:
        """A token that is not the row's changes nothing."""
        before = self.contents()
        stale = [Finished(id, "stale", **ending) for id in self.chosen(numbers)]

        turn = self.turn(claimer, stale, 0)

        assert turn.held == set()
        assert self.contents() == before

    def finished(self, numbers: list[int], ending: dict[str, Any]) -> list[Finished]:
        """The same outcome for some of the claims there ever were, the latest first."""
        known = self.claims[::-1]
        chosen = {known[number % len(known)].id: known[number % len(known)] for number in numbers if known}
        return [Finished(claim.id, claim.token, **ending) for claim in chosen.values()]

    def turn(self, claimer: int, finished: list[Finished], count: int) -> Turn:
        worker, lanes = f"w{claimer}", self.lanes[claimer]
        turn = self.perform(self.store.turn(finished, Wanted(worker, count, lanes), now=self.model.now))
        assert turn.held == self.model.finish(finished)
        places = [(job.priority, job.run_at, job.id) for job in turn.claimed]
        assert places == sorted(places)
        assert all(lanes.serving.serves(job.queue) for job in turn.claimed)
        assert {job.token for job in turn.claimed}.isdisjoint(job.token for job in self.claims)
        self.model.claim(worker, turn.claimed)
        for job in turn.claimed:
            entry = self.model.jobs[job.id]
            assert job[6:11] == (micros(entry.created_at), entry.attempt, entry.failures, entry.crashes, entry.rescues)
            unknown_for = entry.unknown_since and (self.model.now - entry.unknown_since).total_seconds()
            assert job.unknown_for == pytest.approx(unknown_for)
        self.claims += turn.claimed
        return turn

    @rule(claimer=claimers, lapse=st.sampled_from((10.0, 60.0)), leaves=st.booleans())
    def beat(self, claimer: int, lapse: float, leaves: bool) -> None:
        worker = WorkerRow(f"w{claimer}", "name", "host", 1, "*", "1", lapse=lapse)
        answer = self.perform(self.store.beat(worker, now=self.model.now))

        assert (answer.fresh, sorted(answer.cancels)) == self.model.beat(worker.id, lapse)
        if leaves:
            self.perform(self.store.retire(worker.id))
            del self.model.workers[worker.id]

    @rule(seconds=passing)
    def rescue(self, seconds: int) -> None:
        self.model.now += timedelta(seconds=seconds)
        dead = silent(self.store, self.perform(self.store.signs()).workers, self.model.now, 30.0)
        answer = self.perform(self.store.rescue(dead, most=MOST, now=self.model.now))

        expected = self.model.rescue(MOST, 30.0, POISON.format(most=MOST))
        assert (sorted(answer.saved), sorted(answer.poisoned), sorted(answer.workers)) == expected

    @rule(numbers=picks)
    def cancel(self, numbers: list[int]) -> None:
        ids = self.chosen(numbers)
        answer = self.perform(self.store.cancel(ids, now=self.model.now))

        assert sorted(answer) == self.model.cancel(ids)

    @rule(numbers=picks)
    def retry(self, numbers: list[int]) -> None:
        ids = self.chosen(numbers)
        answer = self.perform(self.store.retry(ids, now=self.model.now))

        assert sorted(answer) == self.model.retry(ids)
        self.reset |= set(answer)

    @rule(numbers=picks)
    def delete(self, numbers: list[int]) -> None:
        ids = self.chosen(numbers)
        answer = self.perform(self.store.delete(ids))

        assert sorted(answer) == self.model.delete(ids)

    @rule(
        numbers=picks,
        queue=st.none() | queues,
        priority=st.none() | priorities,
        when=st.none() | st.sampled_from((-60, 0, 60)),
        absolute=st.booleans(),
    )
    def change(
        self, numbers: list[int], queue: str | None, priority: int | None, when: int | None, absolute: bool
    ) -> None:
        ids, now = self.chosen(numbers), self.model.now
        run_at = now + timedelta(seconds=when) if when is not None and absolute else None
        delay = float(when) if when is not None and not absolute else None
        steps = self.store.change(ids, queue=queue, priority=priority, run_at=run_at, delay=delay, now=now)

        assert sorted(self.perform(steps)) == self.model.change(ids, queue, priority, run_at, delay)

    @rule(queue=queues)
    def pause_or_resume(self, queue: str) -> None:
        if queue in self.model.paused:
            self.perform(self.store.resume(queue))
        else:
            self.perform(self.store.pause(queue, now=self.model.now))
        self.model.paused ^= {queue}

    @rule(state=st.sampled_from((State.SUCCEEDED, State.FAILED, State.CANCELLED)), age=passing, count=counts)
    def prune(self, state: State, age: int, count: int) -> None:
        answer = self.perform(self.store.prune(state, age, count=count, now=self.model.now))

        assert answer == self.model.prune(state, age, count)

    @rule(most=st.integers(0, 3), count=counts)
    def prune_excess(self, most: int, count: int) -> None:
        edge = self.perform(self.store.passed(None, most + 1))
        answer = 0 if edge is None else self.perform(self.store.prune_excess(edge, count=count))

        assert answer == self.model.prune_excess(most, count)

    # What must hold after each of them.

    @invariant()
    def the_contents_are_the_same(self) -> None:
        jobs, tries = self.contents()

        assert jobs == self.model.shown()
        assert tries == sorted(self.model.tries, key=lambda one: one.job)
        self.counters_fall_by_retry_alone(jobs)

    def counters_fall_by_retry_alone(self, jobs: list[Entry]) -> None:
        counted = {job.id: (job.attempt, job.failures, job.crashes, job.rescues, job.free_retries) for job in jobs}
        for id, counters in counted.items():
            before = self.counted.get(id, (0,) * 5)
            risen = [now >= then for now, then in zip(counters, before, strict=True)]
            assert all(risen) or (id in self.reset and risen[0])
        self.counted, self.reset = counted, set()

    @invariant()
    def the_summaries_are_the_same(self) -> None:
        live, ended = self.perform(self.store.counts())
        workers = self.perform(self.store.workers(now=self.model.now))

        times: dict[tuple[str, State], list[datetime]] = {}
        for job in self.model.all(*LIVE):
            times.setdefault((job.queue, job.state), []).append(job.run_at)
        assert {(one.queue, one.state): (one.jobs, one.oldest) for one in live} == {
            place: (len(found), min(found)) for place, found in times.items()
        }
        assert all(number == len(self.model.all(state)) for state, number in ended.items())
        running = [job.worker for job in self.model.all(State.RUNNING)]
        assert {one.id: (one.alive, one.running) for one in workers} == {
            name: (name not in self.model.lapsed(), running.count(name)) for name in self.model.workers
        }
        assert self.perform(self.store.paused()) == sorted(self.model.paused)

    def contents(self) -> tuple[list[Entry], list[Try]]:
        """The jobs by id, each in one place, and the attempts by job, oldest first."""
        jobs = [entry(job) for job in self.perform(self.store.find({}, count=1000))]
        jobs.sort(key=lambda job: job.id)
        assert len(jobs) == len({job.id for job in jobs})
        return jobs, self.perform(tries(self.store))


def draft(queue: str, priority: int, delay: int) -> Draft:
    run_at = timedelta(seconds=delay) if delay else None
    return Draft(payload=Nothing(), task="t", text="{}", queue=queue, priority=priority, run_at=run_at)


class Nothing:
    """A payload for drafts whose text is written."""

    task = "t"

    def write(self, codec: Any) -> str:
        return "{}"


def entry(job: Job) -> Entry:
    """A job of the store as the model has it."""
    return Entry(
        job.id, job.state, job.queue, job.priority, job.run_at, job.created_at, job.attempt, job.failures, job.crashes,
        job.rescues, job.free_retries, job.error, job.worker, job.started_at, job.cancel_requested, job.finished_at,
        None if job.run_time is None else job.run_time.total_seconds(), job.result_text,
    )  # fmt: skip


def tries(store: SqlStore) -> Steps[list[Try]]:
    """All rows of attempts, those of no job too."""
    zone = " AT TIME ZONE 'UTC'" if store.dialect == "postgresql" else ""
    columns = f"job_id, number, outcome, worker, started_at{zone}, ended_at{zone}, error_type, message, traceback"
    table = store.tables.named("attempts")
    answers = yield Ask([(statement("tries", f"SELECT {columns} FROM {table} ORDER BY job_id, id"), {})], read=True)
    found = []
    for row in answers[0]:
        one = store.attempt(row[1:])
        times = one.started_at, one.ended_at
        found.append(Try(row[0], one.number, one.outcome, one.worker, *times, one.error_type, one.message))
    return found


def emptied(store: SqlStore) -> Steps[None]:
    """Quicker than new tables."""
    tables = map(store.tables.named, ("jobs", "history", "attempts", "workers", "queues"))
    yield Ask([(statement("empty", f"DELETE FROM {table}"), {}) for table in tables], last=True)


@pytest.fixture
def sqlite_file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/model.db"


@pytest.fixture(params=["sqlite_file", "postgres_url"], ids=["sqlite", "postgresql"])
def connections(request: pytest.FixtureRequest) -> Iterator[Connections]:
    connections = Connections(address(request.getfixturevalue(request.param)), synchronous="normal")
    yield connections
    connections.close()


@pytest.mark.dj(85, 91)
def test_a_store_does_what_the_model_does(connections, pytestconfig):
    store = open_store(connections.address.dialect)
    assert isinstance(store, SqlStore)
    connections.perform(store.migrate())

    run_state_machine_as_test(
        lambda: Queue(connections, store),
        # To shrink a failing example takes minutes here, longer than a test may take: it is told as it was found, in at
        # most 50 steps, and kept in .hypothesis. To have it smaller, add Phase.shrink and run this test alone.
        settings=settings(
            max_examples=depth.examples(pytestconfig, 60),
            stateful_step_count=50,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
