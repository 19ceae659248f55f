"""Jobs for later start on time, whoever has saved them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from belayed import Job, State, enqueue_many
from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.helpers import eventually, execute, program, worked, worker
from tests.worker.tasks import double, stamp

SOON = timedelta(seconds=0.5)


def lateness(job: Job) -> float:
    """Seconds from the time that the job was to run at until it ran."""
    found: datetime = job.wait(patient(10)).result
    return (found - job.run_at).total_seconds()


@pytest.mark.dj(67)
def test_a_job_starts_when_it_is_due(jobs: Jobs) -> None:
    with worker(jobs):
        saved = [
            stamp.using(run_at=SOON).enqueue(),
            stamp.using(run_at=datetime.now(UTC) + SOON).enqueue(),
            stamp.using(run_at=2 * SOON).enqueue(),
        ]

        late = [lateness(job) for job in saved]

    assert all(0 <= seconds < 0.3 for seconds in late), late


@pytest.mark.dj(68)
def test_a_time_that_has_passed_is_now(jobs: Jobs) -> None:
    job = double.using(run_at=datetime.now(UTC) - timedelta(days=9)).enqueue(1)

    worked(jobs)

    assert job.refresh().result == 2


def test_an_idle_worker_starts_on_time_what_another_process_has_saved(jobs: Jobs) -> None:
    text = """
from datetime import timedelta
# The first hint holds the second one back.
tests.worker.tasks.stamp.using(run_at=timedelta(hours=1)).enqueue()
tests.worker.tasks.stamp.using(run_at=timedelta(seconds=0.5)).enqueue()
"""
    with worker(jobs, poll_interval=timedelta(seconds=30)) as running:
        eventually(lambda: running.loop and running.loop.upkeep.last_beat)
        with program(jobs, text) as other:
            assert other.ended() == 0

            late = lateness(jobs.find(limit=1)[0])

    assert 0 <= late < 5


def test_a_job_that_is_put_forward_starts_soon(jobs: Jobs) -> None:
    job = double.using(run_at=timedelta(hours=1)).enqueue(4)
    with worker(jobs, poll_interval=timedelta(seconds=1)):
        eventually(jobs.workers)

        job.change(run_at=timedelta())

        job.wait(patient(5))
    assert job.result == 8


def test_thousands_due_at_once_all_run(jobs: Jobs) -> None:
    enqueue_many(double.using(run_at=timedelta(seconds=0.5)).draft(number) for number in range(5000))

    with worker(jobs):
        eventually(lambda: jobs.counts().ended[State.SUCCEEDED] == 5000, within=30)

    assert jobs.counts().live == []


def test_a_retry_starts_when_its_wait_is_over(lite: Jobs, body: Callable[..., str]) -> None:
    from belayed import Retry, current_job
    from tests.worker.tasks import act

    def second_time() -> Any:
        if current_job().attempt == 1:
            raise Retry(after=SOON)
        return datetime.now(UTC)

    job = act.enqueue(body(second_time))
    with worker(lite, poll_interval=timedelta(seconds=30)):
        late = lateness(job)

    assert job.attempt == 2
    assert late < 5


def test_without_hints_due_jobs_are_found_by_polling(postgres: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres.connections, "listener", lambda channel, timeout, beside: None)
    with worker(postgres) as running:
        eventually(lambda: running.loop and running.loop.upkeep.last_beat)
        with program(
            postgres, "tests.worker.tasks.stamp.using(run_at=datetime.timedelta(seconds=0.3)).enqueue()"
        ) as other:
            assert other.ended() == 0

            late = lateness(postgres.find(limit=1)[0])

    assert 0 <= late < 5


@pytest.mark.dj(364)
def test_a_busy_worker_finds_due_jobs_too(jobs: Jobs) -> None:
    enqueue_many(double.draft(number) for number in range(3000))
    due = double.using(run_at=timedelta(seconds=1), priority=-1).enqueue(1)
    ago = "1" if jobs.address.dialect == "sqlite" else "now() - interval '1 minute'"
    with worker(jobs) as running:
        eventually(lambda: running.loop and running.loop.summary.succeeded)

        # Unseen by the worker, whose next look would have been in a second.
        execute(jobs, f"UPDATE belayed_jobs SET run_at = {ago} WHERE id = {due.id}")

        eventually(lambda: due.refresh().ended)
