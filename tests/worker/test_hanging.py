"""What is called at the end of an attempt may hang: the outcome is written, and the worker goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from belayed import State
from belayed.claim import Claimed, Running
from belayed.job import Keeper
from belayed.jobs import Jobs
from belayed.worker.saying import HANGS, VERDICT, Saying
from tests.worker import hanging
from tests.worker.helpers import eventually, states
from tests.worker.tree import over, tree

HANGING = "tests.worker.hanging"
SOON = {"VERDICT": "0.5"}
UNKNOWN = "the worker could not tell how the attempt ended"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize(
    ("draft", "message"),
    [
        (lambda: hanging.ends.draft("plugin"), "for the plugin"),
        (lambda: hanging.ends.draft("text"), UNKNOWN),
        (hanging.Hooked, "no"),
        (lambda: hanging.Hooked(handler=True), "the log handler"),
    ],
    ids=["plugin", "text of the error", "hook", "log handler"],
)
def test_what_hangs_at_the_end_of_a_failed_job_costs_a_thread_and_no_outcome(
    processes: int, draft: Callable[[], Any], message: str, lite: Jobs, log: Path
) -> None:
    job = lite.enqueue(draft())
    others = [hanging.double.using(priority=1).enqueue(number) for number in range(3)]

    with tree(lite, log, app=HANGING, processes=processes, threads=1, variables=SOON) as worker:
        over(job, *others, within=30)
        worker.says("what is called at the end of a job .* does not return: belayed goes on without its thread")
        worker.says(f"#{job.id} FAILED permanently")

    assert job.state is State.FAILED
    assert message in (job.error or job.attempts[-1].message or "")
    assert (job.failures, job.crashes, len(job.attempts)) == (1, 0, 1)
    assert states(*others) == [State.SUCCEEDED] * 3


def test_a_backoff_that_hangs_leaves_the_job_to_be_tried_again(lite: Jobs, log: Path) -> None:
    job = hanging.waits.enqueue()

    with tree(lite, log, app=HANGING, threads=1, variables=SOON):
        eventually(lambda: job.refresh().failures, 20)

    assert (job.state, job.failures) == (State.SCHEDULED, 1)


def test_what_hangs_at_the_end_of_a_coroutine_ends_its_child_after_its_outcome(lite: Jobs, log: Path) -> None:
    job = hanging.aends.enqueue("plugin")

    with tree(lite, log, app=HANGING, variables=SOON) as worker:
        over(job, within=30)
        other = hanging.adouble.enqueue(2)
        over(other, within=30)
        worker.says("exit code 71")
        worker.says(f"#{job.id} FAILED permanently with ValueError: for the plugin")

    assert (job.state, job.failures, job.crashes) == (State.FAILED, 1, 0)
    assert "for the plugin" in (job.error or "")
    assert other.result == 4


def test_a_time_limit_covers_what_is_called_at_the_end() -> None:
    def due(limit: float | None) -> float:
        saying, claimed = Saying(), cast(Claimed, None)
        saying.judge(Running(claimed, cast(Keeper, None), deadline=limit))
        saying.looks_busy(100.0)
        return saying.due()

    assert due(None) == 100.0 + VERDICT
    assert due(100.0) == 100.0 + HANGS
    assert due(120.0) == 120.0
    assert due(1000.0) == 100.0 + VERDICT
