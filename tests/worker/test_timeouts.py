"""Attempts that are stopped while they run: by their time limit, or because somebody cancelled the job."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from belayed import Outcome, State, current_job, enqueue_many
from belayed.errors import AttemptStopped
from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.helpers import eventually, program, states, worked, worker
from tests.worker.tasks import aact, act, double

Body = Callable[[Callable[..., Any]], str]
BRIEF = timedelta(seconds=0.1)
TASKS = pytest.mark.parametrize("task", [act, aact], ids=["def", "async def"])


def spin() -> None:
    while True:
        pass


async def await_for_ever() -> None:
    await asyncio.sleep(3600)


def fail_for_ever() -> None:
    while True:
        try:
            raise ValueError("caught")
        except Exception:
            pass


async def catch_for_ever() -> None:
    while True:
        try:
            await asyncio.sleep(0.01)
        except Exception:
            pass


ENDLESS = pytest.mark.parametrize(
    ("task", "endless"),
    [
        (act, spin),
        (act, fail_for_ever),
        (act, await_for_ever),
        (aact, await_for_ever),
        (aact, catch_for_ever),
    ],
    ids=["a loop", "a loop that catches", "a def's coroutine", "an await", "an await that catches"],
)


@pytest.mark.dj(173, 174, 175, 176, 228)
@ENDLESS
def test_an_endless_job_is_stopped_at_its_limit(task: Any, endless: Any, lite: Jobs, body: Body) -> None:
    job = task.using(max_run_time=BRIEF, max_attempts=1).enqueue(body(endless))

    worked(lite)

    (attempt,) = job.refresh().attempts
    assert (job.state, attempt.outcome) == (State.FAILED, Outcome.TIMED_OUT)
    assert (attempt.error_type, attempt.message) == ("AttemptTimeout", "stopped after max_run_time, 0.1 s")
    assert attempt.traceback
    assert 0.1 <= (job.run_time or timedelta()).total_seconds() < 10


@pytest.mark.dj(177)
def test_a_limit_counts_as_a_failure_and_is_tried_again(jobs: Jobs, body: Body) -> None:
    job = act.using(max_run_time=BRIEF).enqueue(body(spin))

    worked(jobs)

    assert (job.refresh().state, job.failures, job.attempt) == (State.SCHEDULED, 1, 1)


@pytest.mark.dj(36, 119)
def test_the_settings_limit_holds_for_jobs_without_one(sqlite_path: Any, opened: Any, body: Body) -> None:
    jobs = opened(f"sqlite:///{sqlite_path}", max_run_time=BRIEF)
    job = act.using(max_attempts=1).enqueue(body(spin))

    worked(jobs)

    assert job.refresh().attempts[0].outcome is Outcome.TIMED_OUT


def left() -> float:
    """Seconds until the deadline of the job that runs."""
    return (current_job().deadline or 0.0) - time.monotonic()


@pytest.mark.dj(119)
def test_by_default_a_job_may_run_for_four_hours(lite: Jobs, body: Body) -> None:
    job = act.enqueue(body(left))

    worked(lite)

    assert 4 * 3600 - 60 < job.refresh().result <= 4 * 3600


@pytest.mark.dj(36)
def test_a_job_may_run_for_longer_than_the_settings_say(sqlite_path: Any, opened: Any, body: Body) -> None:
    jobs = opened(f"sqlite:///{sqlite_path}", max_run_time=BRIEF)
    job = act.using(max_run_time=timedelta(hours=9)).enqueue(body(left))

    worked(jobs)

    assert 9 * 3600 - 60 < job.refresh().result <= 9 * 3600


@pytest.mark.dj(157)
def test_the_time_that_the_store_takes_for_the_outcome_is_not_the_job_s(lite: Jobs, body: Body) -> None:
    raw = sqlite3.connect(lite.address.target, isolation_level=None, check_same_thread=False)
    begun: list[float] = []

    def ends() -> str:
        raw.execute("BEGIN IMMEDIATE")
        begun.append(time.monotonic())
        return "done"

    job = act.using(max_run_time=BRIEF, max_attempts=1).enqueue(body(ends))
    with worker(lite, lapse=timedelta(seconds=30)):
        eventually(lambda: begun and time.monotonic() - begun[0] > 5 * BRIEF.total_seconds())
        before = states(job)
        raw.execute("ROLLBACK")
        job.wait(patient(10))
    raw.close()

    assert (before, job.result) == ([State.RUNNING], "done")


@pytest.mark.dj(178, 284)
@TASKS
def test_a_job_sees_its_deadline_and_that_it_is_to_stop(task: Any, lite: Jobs, body: Body) -> None:
    left: list[float | None] = []

    def obedient() -> str:
        current = current_job()
        left.append(current.deadline and current.deadline - time.monotonic())
        while True:
            try:
                eventually(lambda: current.stopping)
            except AttemptStopped:
                return f"stopped: {current.stopping}"

    async def aobedient() -> str:
        current = current_job()
        left.append(current.deadline and current.deadline - time.monotonic())
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return f"stopped: {current.stopping}"
        return ""

    job = task.using(max_run_time=timedelta(seconds=0.3)).enqueue(body(aobedient if task is aact else obedient))

    worked(lite)

    assert job.refresh().result == "stopped: True"
    assert 0 < (left[0] or 0) <= 0.3


@pytest.mark.dj(175)
def test_a_job_without_a_limit_has_no_deadline(sqlite_path: Any, opened: Any, body: Body) -> None:
    jobs = opened(f"sqlite:///{sqlite_path}", max_run_time=None)
    job = act.enqueue(body(lambda: current_job().deadline))

    worked(jobs)

    assert job.refresh().result is None


@pytest.mark.dj(173)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_stop_never_hits_the_next_job_of_the_slot(threads: int, lite: Jobs, body: Body) -> None:
    hit: list[BaseException] = []
    limit = timedelta(milliseconds=2)

    def about_the_limit(number: int) -> None:
        until = time.monotonic() + 0.0012 + number % 5 * 0.002
        while time.monotonic() < until:
            pass

    def unlimited() -> None:
        try:
            until = time.monotonic() + 0.0005
            while time.monotonic() < until:
                pass
        except BaseException as error:
            hit.append(error)
            raise

    short, other = body(about_the_limit), body(unlimited)
    enqueue_many(
        act.using(max_run_time=limit, max_attempts=1).draft(short, number) if number % 2 else act.draft(other)
        for number in range(1000)
    )

    summary = worked(lite, threads=threads)

    assert hit == []
    assert summary.succeeded + summary.failed == 1000
    assert summary.succeeded >= 500
    assert summary.failed > 0


def test_a_stop_at_any_step_of_an_attempt_s_end_leaves_its_slot_alive(lite: Jobs, body: Body) -> None:
    running = worker(lite, threads=1)
    stopped: list[int] = []

    def stopped_after(steps: int) -> None:
        """Let the stop come at so many calls after this has returned: there CPython looks for one."""
        assert running.loop is not None
        slot, left = running.loop.slots.threads[0], steps

        def look(frame: Any, event: str, arg: Any) -> None:
            nonlocal left
            run = slot.run
            if run is None:
                sys.setprofile(None)
            elif event in ("call", "c_return"):
                left -= 1
                # Another thread's stop would wait for the lock.
                if left < 0 and not slot.lock.locked():
                    sys.setprofile(None)
                    run.stopping, run.reason = Outcome.TIMED_OUT, "at its end"
                    stopped.append(steps)
                    raise AttemptStopped

        sys.setprofile(look)

    name = body(stopped_after)
    enqueue_many(act.using(max_attempts=1).draft(name, steps) for steps in range(60))

    with running:
        eventually(lambda: not lite.counts().live)

    ends = lite.counts().ended
    assert ends[State.SUCCEEDED] + ends[State.FAILED] == 60
    assert len(stopped) >= ends[State.FAILED] >= 1
    assert max(stopped) < 59, "the end has more steps than were tried"


def test_a_program_whose_jobs_were_stopped_can_be_traced(lite: Jobs) -> None:
    # PyThreadState_SetAsyncExc(…, NULL) makes tracing (coverage, a debugger) hang in Python 3.11.
    text = """
import faulthandler, sys
from tests.worker.tasks import double, too_long
faulthandler.dump_traceback_later(10, exit=True)
double.enqueue(1)
too_long.enqueue()
print(belayed.Worker(jobs, threads=1).run(until_empty=True), file=sys.stderr)
sys.settrace(lambda *event: None)
double(1)
sys.settrace(None)
"""
    with program(lite, text) as other:
        assert other.ended() == 0, other.errors


def test_coroutines_at_their_limit_do_not_hurt_each_other(lite: Jobs, body: Body) -> None:
    async def about_the_limit(number: int) -> None:
        await asyncio.sleep(0.008 + number % 5 * 0.001)

    async def unlimited() -> None:
        await asyncio.sleep(0.005)

    short, other = body(about_the_limit), body(unlimited)
    brief = aact.using(max_run_time=timedelta(milliseconds=10), max_attempts=1)
    enqueue_many(brief.draft(short, number) if number % 2 else aact.draft(other) for number in range(1000))

    summary = worked(lite)

    assert summary.succeeded + summary.failed == 1000
    assert summary.succeeded >= 500


@ENDLESS
def test_cancelling_a_running_job_stops_it_within_a_beat(task: Any, endless: Any, lite: Jobs, body: Body) -> None:
    job = task.enqueue(body(endless))
    with worker(lite):
        eventually(lambda: states(job) == [State.RUNNING])

        assert job.cancel()

        eventually(lambda: job.refresh().ended)
    assert (job.state, job.failures) == (State.CANCELLED, 0)
    assert job.error == "stopped: cancelled while it ran"


def test_cancelling_on_every_store(jobs: Jobs, body: Body) -> None:
    saved = [act.enqueue(body(spin)), aact.enqueue(body(await_for_ever))]
    with worker(jobs):
        eventually(lambda: states(*saved) == [State.RUNNING] * 2)

        jobs.cancel(*(job.id for job in saved))

        eventually(lambda: states(*saved) == [State.CANCELLED] * 2)


@TASKS
def test_a_job_that_ignores_its_cancelling_succeeds(task: Any, lite: Jobs, body: Body) -> None:
    def stubborn() -> str:
        try:
            spin()
        except BaseException:
            pass
        return "done all the same"

    async def astubborn() -> str:
        try:
            await asyncio.sleep(60)
        except BaseException:
            pass
        return "done all the same"

    job = task.enqueue(body(astubborn if task is aact else stubborn))
    with worker(lite):
        eventually(lambda: states(job) == [State.RUNNING])

        job.cancel()

        job.wait(patient(10))
    assert job.result == "done all the same"


def test_cancelling_takes_no_neighbour_along(lite: Jobs, body: Body) -> None:
    gate = threading.Event()

    async def wait() -> str:
        while not gate.is_set():  # noqa: ASYNC110 (the gate is for threads)
            await asyncio.sleep(0.005)
        return "done"

    name = body(wait)
    first, second = aact.enqueue(name), aact.enqueue(name)
    with worker(lite):
        eventually(lambda: states(first, second) == [State.RUNNING] * 2)

        first.cancel()

        eventually(lambda: states(first) == [State.CANCELLED])
        gate.set()
        second.wait(patient(10))
    assert second.result == "done"


def test_a_stopped_slot_runs_on(lite: Jobs, body: Body) -> None:
    stopped = act.using(max_run_time=BRIEF, max_attempts=1).enqueue(body(spin))
    after = [double.enqueue(number) for number in range(5)]

    worked(lite, threads=1)

    assert states(stopped, *after) == [State.FAILED, *[State.SUCCEEDED] * 5]
