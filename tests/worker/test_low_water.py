"""A backlog that never drains, beside a transaction that never ends: what comes late still starts within seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from belayed import Job, Retry, current_job, enqueue_many
from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.helpers import eventually, execute, process, worker
from tests.worker.tasks import act, double, note, note_and_wait

Body = Callable[[Callable[..., Any]], str]
SOON = patient(3)
"""Seconds: the two of the promise, and a busy machine's one."""


@contextmanager
def backlog(jobs: Jobs, queue: str = "default", deep: int = 3000) -> Iterator[None]:
    """More jobs than the workers can run, all the time, and a snapshot that keeps each claimed row dead."""
    ends = threading.Event()

    def feed() -> None:
        while not ends.is_set():
            ready = sum(count.jobs for count in jobs.counts().live)
            if ready < deep:
                enqueue_many(double.using(jobs=jobs, queue=queue).draft(number) for number in range(1000))
            ends.wait(0.01)

    with psycopg.connect(jobs.url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM belayed_jobs")
        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            eventually(lambda: sum(count.jobs for count in jobs.counts().live) >= deep)
            yield
            assert sum(count.jobs for count in jobs.counts().live) > 500, "the backlog drained: nothing was tested"
        finally:
            ends.set()
            feeder.join()


def started_within(job: Job, since: float) -> float:
    """Seconds until a job has run."""
    job.wait(patient(15))
    return time.monotonic() - since


@pytest.fixture
def busy(postgres: Jobs) -> Iterator[Jobs]:
    """Jobs whose worker has an endless backlog."""
    with backlog(postgres), worker(postgres, threads=2, read_ahead=100) as running:
        eventually(lambda: running.loop and running.loop.summary.succeeded > 1000)
        yield postgres


def test_a_retried_job_starts_soon(busy: Jobs, body: Body) -> None:
    def second_time() -> None:
        if current_job().attempt == 1:
            raise Retry(after=timedelta(seconds=0.1))

    job = act.using(priority=-1).enqueue(body(second_time))
    eventually(lambda: job.refresh().attempt == 1)
    # Its time is before the marks: those of the backlog have gone on.
    execute(busy, f"UPDATE belayed_jobs SET priority = 0, run_at = now() - interval '1 minute' WHERE id = {job.id}")

    assert started_within(job, time.monotonic()) < SOON


def test_a_promoted_job_starts_soon(busy: Jobs) -> None:
    job = double.using(run_at=timedelta(seconds=1)).enqueue(1)
    execute(busy, f"UPDATE belayed_jobs SET run_at = now() - interval '1 minute' WHERE id = {job.id}")

    assert started_within(job, time.monotonic()) < SOON


def test_a_job_whose_transaction_commits_late_starts_soon(busy: Jobs) -> None:
    with psycopg.connect(busy.url) as connection:
        job = double.using(connection=connection).enqueue(1)
        before = time.monotonic()
        eventually(lambda: time.monotonic() > before + 1)
        connection.commit()

        assert started_within(job, time.monotonic()) < SOON


def test_a_rescued_job_starts_soon(postgres: Jobs, effects: Path) -> None:
    with process(postgres, queues=("default",)) as other:
        job = note_and_wait.enqueue(str(effects), 60)
        eventually(effects.read_text)
        with backlog(postgres, "bulk"), worker(postgres, threads=2, read_ahead=100) as running:
            eventually(lambda: running.loop and running.loop.upkeep.may_rescue())
            other.kill()
            eventually(lambda: job.refresh().rescues == 1, within=5)
            since = time.monotonic()

            eventually(lambda: effects.read_text().count("ran") == 2)

            assert time.monotonic() - since < SOON
            job.cancel()


def test_a_more_urgent_job_starts_at_once(busy: Jobs, effects: Path) -> None:
    job = note.using(priority=-5, queue="other").enqueue(str(effects))

    assert started_within(job, time.monotonic()) < SOON
