"""An id that was given twice, as after a restored backup or a failover: nobody is stopped by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from belayed import Fail, Job, State
from belayed.jobs import Jobs
from tests.worker.helpers import execute, states, worked
from tests.worker.tasks import act, double, note

Body = Callable[[Callable[..., Any]], str]
COLUMNS = "id, run_at, created_at, priority, queue, task, payload"


def alive_again(jobs: Jobs, job: Job) -> None:
    """Let there be a live job of the id of one that has ended."""
    execute(
        jobs,
        f"INSERT INTO belayed_jobs ({COLUMNS}, state) SELECT {COLUMNS}, 'ready' FROM belayed_history "
        f"WHERE id = {job.id}",
    )


def in_history(jobs: Jobs, job: Job) -> list[str]:
    return [row[0] for row in execute(jobs, f"SELECT state FROM belayed_history WHERE id = {job.id}")]


def test_the_later_end_counts_and_the_neighbours_end_too(jobs: Jobs, body: Body) -> None:
    ends: list[BaseException | None] = [None]

    def end() -> None:
        if ends[0] is not None:
            raise ends[0]

    twin = act.enqueue(body(end))
    worked(jobs)
    alive_again(jobs, twin)
    neighbours = [double.enqueue(number) for number in range(5)]

    ends[0] = Fail("this time")
    worked(jobs)

    assert in_history(jobs, twin) == ["failed"]
    assert states(*neighbours) == [State.SUCCEEDED] * 5
    ends[0] = None
    alive_again(jobs, twin)
    worked(jobs)
    assert in_history(jobs, twin) == ["succeeded"]


def test_one_may_be_cancelled(jobs: Jobs) -> None:
    twin = double.enqueue(1)
    worked(jobs)
    alive_again(jobs, twin)

    assert jobs.cancel(twin.id) == 1

    assert in_history(jobs, twin) == ["cancelled"]


def test_a_retry_of_the_ended_one_leaves_the_live_one_alone(jobs: Jobs, body: Body) -> None:
    def fail() -> None:
        raise Fail

    twin, other = act.enqueue(body(fail)), act.enqueue(body(fail))
    worked(jobs)
    alive_again(jobs, twin)

    assert jobs.retry(twin.id, other.id) == 1

    assert in_history(jobs, twin) == ["failed"]
    assert in_history(jobs, other) == []


@pytest.mark.parametrize("late", [timedelta(), timedelta(hours=1)], ids=["just now", "long ago"])
def test_what_is_due_and_not_ready_yet_is_worked_off(late: timedelta, jobs: Jobs, effects: Any) -> None:
    job = note.using(run_at=timedelta(hours=2)).enqueue(str(effects))
    at = job.run_at - timedelta(hours=2) - late
    value = int(at.timestamp() * 1e6) if jobs.address.dialect == "sqlite" else f"'{at.isoformat()}'"
    execute(jobs, f"UPDATE belayed_jobs SET run_at = {value} WHERE id = {job.id}")

    worked(jobs)

    assert states(job) == [State.SUCCEEDED]
