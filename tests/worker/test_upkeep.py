"""What a worker does beside running jobs: it deletes what the history need not keep."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from belayed import State, enqueue_many
from belayed.jobs import Jobs
from belayed.worker import pruning
from tests.patience import patient
from tests.worker.helpers import eventually, execute, worked, worker
from tests.worker.tasks import double, fails, raises

Opened = Callable[..., Jobs]
HOUR = timedelta(hours=1)


def aged(jobs: Jobs) -> None:
    """Let everything have ended two hours ago."""
    ago = "finished_at - 7200000000" if jobs.address.dialect == "sqlite" else "finished_at - interval '2h'"
    execute(jobs, f"UPDATE belayed_history SET finished_at = {ago}")


def of_each(jobs: Jobs, number: int = 3) -> None:
    """So many jobs that succeeded, failed and were cancelled two hours ago."""
    enqueue_many(double.draft(n) for n in range(number))
    enqueue_many(fails.using(max_attempts=1).draft() for _ in range(number))
    enqueue_many(raises.draft("Gone") for _ in range(number))
    worked(jobs)
    aged(jobs)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "PRUNE_EVERY", 0.05)


@pytest.mark.dj(115, 126)
def test_what_is_older_than_its_limit_is_deleted_by_a_worker(url: str, opened: Opened, at_once: None) -> None:
    jobs = opened(url, keep_succeeded=HOUR, keep_failed=HOUR, keep_cancelled=HOUR)
    of_each(jobs)

    with worker(jobs):
        recent = double.enqueue(1).wait(patient(10))
        eventually(lambda: [job.id for job in jobs.find()] == [recent.id])

    assert execute(jobs, "SELECT count(*) FROM belayed_attempts") == [(0,)]


@pytest.mark.dj(126)
def test_each_state_has_its_own_limit(url: str, opened: Opened, at_once: None) -> None:
    jobs = opened(url, keep_succeeded=HOUR, keep_failed=3 * HOUR, keep_cancelled=3 * HOUR)
    of_each(jobs)

    with worker(jobs):
        eventually(lambda: jobs.counts().ended[State.SUCCEEDED] == 0)

    assert jobs.counts().ended == {State.SUCCEEDED: 0, State.FAILED: 3, State.CANCELLED: 3}


def test_succeeded_jobs_beyond_the_limit_are_deleted_oldest_first(url: str, opened: Opened, at_once: None) -> None:
    jobs = opened(url, max_succeeded=10)
    saved = enqueue_many(double.draft(number) for number in range(30))

    with worker(jobs, threads=1):
        eventually(lambda: sorted(job.id for job in jobs.find()) == [job.id for job in saved[-10:]])

    assert jobs.counts().ended[State.SUCCEEDED] == 10


@pytest.mark.dj(126)
def test_what_is_kept_for_ever_is_never_deleted(url: str, opened: Opened, at_once: None) -> None:
    jobs = opened(url, keep_succeeded=True, keep_failed=True, keep_cancelled=True, max_succeeded=1)
    of_each(jobs)

    with worker(jobs) as running:
        first = eventually(lambda: running.loop and running.loop.upkeep.prune_at)
        eventually(lambda: running.loop and running.loop.upkeep.prune_at > first + 0.1)

    assert jobs.counts().ended == {State.SUCCEEDED: 3, State.FAILED: 3, State.CANCELLED: 3}


def test_pruning_goes_batch_by_batch_and_says_when_it_is_behind(
    lite: Jobs, opened: Opened, at_once: None, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(pruning, "PRUNE_BATCH", 100)
    jobs = opened(lite.url, keep_succeeded=HOUR)
    enqueue_many(double.draft(number) for number in range(1000))
    worked(jobs)
    aged(jobs)

    with worker(jobs):
        eventually(lambda: jobs.counts().ended[State.SUCCEEDED] == 0)
        eventually(lambda: "pruning the history has caught up" in caplog.text)

    assert caplog.text.count("pruning the history is behind") == 1
