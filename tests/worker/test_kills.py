"""Jobs that do not end when they are told to: their process is ended, the next job is not hurt."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from belayed import Outcome, State
from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker import wild
from tests.worker.helpers import eventually, states
from tests.worker.tree import alive, over, runs, since, tree

BRIEF = timedelta(seconds=0.3)
STUBBORN = pytest.mark.parametrize(
    "task", [wild.loops, wild.sleeps_in_c, wild.swallows, wild.aswallows], ids=lambda task: task.name.split(".")[-1]
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.mark.dj(173, 174, 177, 178)
@STUBBORN
def test_a_time_limit_ends_whatever_a_job_does(task: Any, lite: Jobs, log: Path, effects: Path) -> None:
    job = task.using(max_run_time=BRIEF, max_attempts=2).enqueue(str(effects))

    with tree(lite, log, spare=True):
        eventually(lambda: runs(effects))
        begun = time.monotonic()
        eventually(lambda: job.refresh().failures == 1)
        job.change(run_at=timedelta())
        over(job)
        took = since(begun)
        last = wild.ends.enqueue(str(effects))
        over(last)

    assert (job.state, job.failures, job.crashes) == (State.FAILED, 2, 0)
    assert [one.outcome for one in job.attempts] == [Outcome.TIMED_OUT] * 2
    assert {one.error_type for one in job.attempts} == {"AttemptTimeout"}
    assert all((one.message or "").startswith("stopped after max_run_time, 0.3 s") for one in job.attempts)
    assert took < 30
    assert states(last) == [State.SUCCEEDED]


@STUBBORN
def test_cancelling_ends_whatever_a_job_does(task: Any, jobs: Jobs, log: Path, effects: Path) -> None:
    job = task.enqueue(str(effects))

    with tree(jobs, log):
        eventually(lambda: runs(effects))
        job.cancel()
        over(job)

    assert (job.state, job.failures, job.crashes, len(runs(effects))) == (State.CANCELLED, 0, 0, 1)


def test_neighbours_finish_before_a_process_is_ended(lite: Jobs, log: Path, effects: Path) -> None:
    stubborn = wild.sleeps_in_c.using(max_run_time=BRIEF, max_attempts=1).enqueue(str(effects))
    others = [wild.ends.enqueue(str(effects), 1.2), wild.aends.enqueue(str(effects), 1.2)]

    with tree(lite, log, grace="10s"):
        over(stubborn, *others)

    assert stubborn.attempts[0].outcome is Outcome.TIMED_OUT
    assert states(*others) == [State.SUCCEEDED] * 2
    assert {job.attempt for job in others} == {1}


def test_neighbours_that_take_longer_than_the_grace_go_back_free(lite: Jobs, log: Path, effects: Path) -> None:
    stubborn = wild.sleeps_in_c.using(max_run_time=BRIEF, max_attempts=1).enqueue(str(effects))
    other = wild.ends.using(max_attempts=1).enqueue(str(effects), 2.5)

    with tree(lite, log, grace="0.5s"):
        over(stubborn, other)

    assert (other.state, other.failures, other.crashes, other.attempt) == (State.SUCCEEDED, 0, 0, 2)
    assert [one.outcome for one in other.attempts] == [Outcome.INTERRUPTED]


def test_work_goes_on_while_a_process_is_ended(lite: Jobs, log: Path, effects: Path) -> None:
    wild.sleeps_in_c.using(max_run_time=BRIEF, max_attempts=1).enqueue(str(effects))
    wild.ends.enqueue(str(effects), 30)

    with tree(lite, log, threads=2, grace="30s"):
        eventually(lambda: len(runs(effects)) == 2)
        begun = time.monotonic()
        over(wild.ends.enqueue(str(effects)))

    assert since(begun) < 15


def test_what_a_job_has_started_ends_with_its_process(lite: Jobs, log: Path, effects: Path) -> None:
    job = wild.leaves_behind.using(max_run_time=BRIEF, max_attempts=1).enqueue(str(effects))

    with tree(lite, log):
        over(job)
        left = re.search(r"left (\d+)", effects.read_text())

    assert left
    eventually(lambda: not alive(int(left[1])))


@pytest.mark.dj(109, 179)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_that_keeps_the_interpreters_lock_is_neither_rescued_nor_run_twice(
    processes: int, jobs: Jobs, log: Path, effects: Path
) -> None:
    job = wild.keeps_the_lock.enqueue(str(effects), 2.5)

    with tree(jobs, log, processes=processes), tree(jobs, log, queues="nobody's"):
        over(job)

    assert (job.state, job.rescues, job.attempt, len(runs(effects))) == (State.SUCCEEDED, 0, 1, 1)


def test_a_stopped_child_hinders_nobody(lite: Jobs, log: Path, effects: Path) -> None:
    with tree(lite, log, processes=2) as worker:
        eventually(lambda: len(worker.children()) == 2)
        job = wild.ends.using(max_attempts=1).enqueue(str(effects), 1)
        eventually(lambda: runs(effects))
        os.kill(runs(effects)[0][0], signal.SIGSTOP)

        others = [wild.ends.enqueue(str(effects)) for _ in range(20)]
        # What it was handed before its silence was noticed is withdrawn: as many jobs as it had free threads.
        over(*others)
        late = [wild.ends.enqueue(str(effects)) for _ in range(20)]
        over(*late)

        row = next(row for row in lite.workers() if row.pid == worker.pid)
        assert row.alive
        os.kill(runs(effects)[0][0], signal.SIGCONT)
        over(job)
    assert (job.state, job.attempt, job.rescues) == (State.SUCCEEDED, 1, 0)
    assert {other.attempt for other in others} == {1}


@pytest.mark.parametrize("hog", [wild.keeps_the_lock, wild.leaves_a_block], ids=["lock", "event loop"])
def test_what_is_handed_to_a_process_that_is_held_up_runs_elsewhere(
    hog: Any, jobs: Jobs, log: Path, effects: Path
) -> None:
    first = hog.enqueue(str(effects), 600)

    with tree(jobs, log, threads=2, processes=1) as worker:
        eventually(lambda: runs(effects))
        (child,) = worker.children()
        others = [wild.aends.enqueue(str(effects)) for _ in range(10)]
        others += [wild.ends.enqueue(str(effects)) for _ in range(10)]
        over(*others, within=40)

        assert {pid for pid, _ in runs(effects)[1:]} - {child}
        assert first.refresh().state is (State.RUNNING if hog is wild.keeps_the_lock else State.SUCCEEDED)
        worker.says("does not start what it is handed")
    assert {(job.state, job.attempt, job.rescues) for job in others} == {(State.SUCCEEDED, 1, 0)}


def test_a_gigabyte_of_output_hinders_nobody(lite: Jobs, effects: Path) -> None:
    reading, writing = os.pipe()
    job = wild.shouts.enqueue(1024)

    with tree(lite, Path(f"/proc/self/fd/{writing}"), wait=False) as worker:
        os.close(writing)
        drained(reading, job)
        row = next(row for row in lite.workers() if row.pid == worker.pid)
        assert row.alive

    os.close(reading)


def test_a_log_that_nobody_reads_does_not_stop_the_beat_nor_the_end(lite: Jobs, effects: Path) -> None:
    reading, writing = os.pipe()
    job = wild.shouts.enqueue(20)

    with tree(lite, Path(f"/proc/self/fd/{writing}"), wait=False) as worker:
        os.close(writing)
        eventually(lambda: job.refresh().state is State.RUNNING)
        first = next(row for row in lite.workers() if row.pid == worker.pid)
        eventually(lambda: (lite.workers()[0].beat_at - first.beat_at).total_seconds() > 2)  # type: ignore[operator]
        assert worker.stopped() == 0

    os.close(reading)
    assert (job.refresh().state, job.failures) == (State.READY, 0)


def drained(fd: int, job: Any) -> None:
    """Read what comes until the job has ended."""
    os.set_blocking(fd, False)
    size = 0

    def enough() -> bool:
        nonlocal size
        try:
            size += len(os.read(fd, 1 << 20))
        except BlockingIOError:
            return bool(job.refresh().ended)
        return False

    deadline = time.monotonic() + patient(60)
    while not enough():
        assert time.monotonic() < deadline
    # What is still in the pipes has been written all the same.
    assert size > (1 << 30) - (8 << 20)
    assert job.state is State.SUCCEEDED


@pytest.mark.dj(291)
@pytest.mark.parametrize("stubborn", [False, True], ids=["that obeys", "that does not"])
def test_a_stop_ends_within_the_grace_and_three_seconds(stubborn: bool, jobs: Jobs, log: Path, effects: Path) -> None:
    task: Callable[..., Any] = wild.sleeps_in_c.using(max_attempts=1) if stubborn else wild.ends.using(max_attempts=1)
    job = task.enqueue(str(effects)) if stubborn else task.enqueue(str(effects), 60)  # type: ignore[attr-defined]
    waiting = [wild.ends.enqueue(str(effects)) for _ in range(20)]

    with tree(jobs, log, threads=1, grace="1s") as worker:
        eventually(lambda: runs(effects))
        (child,) = worker.children()
        begun = time.monotonic()
        assert worker.stopped() == 0

    assert 0.9 < since(begun) < 15
    eventually(lambda: not alive(child))
    assert (job.refresh().state, job.failures, job.crashes) == (State.READY, 0, 0)
    assert [one.outcome for one in job.attempts] == [Outcome.INTERRUPTED]
    assert states(*waiting) == [State.READY] * 20
    assert jobs.workers() == []


def test_running_jobs_finish_within_the_grace(jobs: Jobs, log: Path, effects: Path) -> None:
    job = wild.ends.enqueue(str(effects), 1)

    with tree(jobs, log, grace="10s") as worker:
        eventually(lambda: runs(effects))
        assert worker.stopped() == 0

    assert (job.refresh().state, job.attempt) == (State.SUCCEEDED, 1)


@pytest.mark.dj(183)
def test_a_second_signal_is_now(lite: Jobs, log: Path, effects: Path) -> None:
    job = wild.swallows.enqueue(str(effects))

    with tree(lite, log, grace="60s") as worker:
        eventually(lambda: runs(effects))
        worker.signal(signal.SIGTERM)
        worker.says("stopping")
        begun = time.monotonic()
        assert worker.stopped() == 0

    assert since(begun) < 20
    assert (job.refresh().state, job.failures) == (State.READY, 0)
