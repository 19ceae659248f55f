"""Time limits and stops hold in a worker of one process while its store does not answer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from belayed import State
from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.helpers import eventually, states, worker
from tests.worker.tasks import aact, act

Body = Callable[[Callable[..., Any]], str]
PATIENT: dict[str, Any] = {"beat": timedelta(seconds=0.1), "lapse": timedelta(seconds=60)}
"""The loop soon asks its store for something, and waits for the answer for 20 s."""


class Locked:
    """A job that runs until it is stopped, in a database that is locked from its start on."""

    def __init__(self, jobs: Jobs, body: Body, task: Any) -> None:
        self.raw = sqlite3.connect(jobs.address.target, isolation_level=None, check_same_thread=False)
        self.begun, self.stopped = threading.Event(), threading.Event()
        self.task, self.name = task, body(self.aruns if task is aact else self.runs)

    def lock(self) -> None:
        self.raw.execute("BEGIN IMMEDIATE")
        self.begun.set()

    def runs(self) -> None:
        self.lock()
        try:
            while True:
                time.sleep(0.001)
        finally:
            self.stopped.set()

    async def aruns(self) -> None:
        self.lock()
        try:
            await asyncio.sleep(60)
        finally:
            self.stopped.set()

    def stops(self) -> bool:
        """Whether the job is stopped while the database is locked."""
        eventually(self.stopped.is_set)
        return self.raw.in_transaction


@pytest.fixture
def locked(lite: Jobs, body: Body, request: pytest.FixtureRequest) -> Iterator[Locked]:
    one = Locked(lite, body, request.param)
    yield one
    one.raw.close()


JOBS = pytest.mark.parametrize("locked", [act, aact], ids=["def", "async def"], indirect=True)


@JOBS
def test_a_time_limit_holds_while_the_store_does_not_answer(locked: Locked, lite: Jobs) -> None:
    job = locked.task.using(max_run_time=timedelta(seconds=0.4), max_attempts=1).enqueue(locked.name)

    with worker(lite, **PATIENT):
        during = locked.stops()
        locked.raw.execute("ROLLBACK")
        eventually(lambda: job.refresh().ended)

    assert during
    assert (job.state, job.attempts[0].error_type) == (State.FAILED, "AttemptTimeout")


@JOBS
@pytest.mark.parametrize("grace", [0.2, 60.0], ids=["the grace is over", "at once"])
def test_a_stop_holds_while_the_store_does_not_answer(grace: float, locked: Locked, lite: Jobs) -> None:
    job = locked.task.enqueue(locked.name)

    with worker(lite, **PATIENT, grace=timedelta(seconds=grace)) as running:
        locked.begun.wait(patient(10))
        running.stop(now=grace > 1)
        during = locked.stops()
        locked.raw.execute("ROLLBACK")

    assert during
    assert states(job) == [State.READY]
    assert job.attempt == 1


def test_limits_are_kept_in_whatever_order_attempts_begin(lite: Jobs, body: Body) -> None:
    gate = threading.Event()

    def spins() -> None:
        while not gate.is_set():
            pass

    name = body(spins)
    endless = act.using(max_run_time=timedelta(hours=1)).enqueue(name)
    with worker(lite, beat=timedelta(seconds=20), lapse=timedelta(seconds=80)) as running:
        eventually(lambda: states(endless) == [State.RUNNING])
        brief = [act.using(max_run_time=timedelta(seconds=s / 10), max_attempts=1).enqueue(name) for s in (3, 1)]

        eventually(lambda: states(*brief) == [State.FAILED] * 2)
        still = states(endless)
        gate.set()
        running.stop()

    assert still == [State.RUNNING]
