"""`Job`: what is known of a job, and changing it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from belayed import Cancel, Job, Outcome, State, Worker, current_job, register_reference, task
from belayed.errors import (
    BelayedError,
    JobCancelled,
    JobFailed,
    OptionError,
    ResultUnavailable,
)
from tests.patience import patient

TIME = patient(30)
"""Seconds after which a wait that should end has not."""


@task
def double(number: int) -> int:
    return number * 2


@task(max_attempts=1)
def fail(text: str) -> None:
    raise ValueError(text)


@task
def call_off() -> None:
    raise Cancel("not needed")


@task
def odd_result() -> Any:
    return threading.Lock()


@task
def nothing() -> None: ...


class Card:
    """A row of the application's; `loaded` has the keys of those that were read."""

    def __init__(self, key: int) -> None:
        self.key = key


loaded: list[int] = []
register_reference(Card, name="tests.card", key=lambda card: card.key, load=lambda key: loaded.append(key) or Card(key))


@task
def show(card: Card) -> int:
    return card.key


started, go_on = threading.Event(), threading.Event()


@task
def hold() -> str:
    started.set()
    assert go_on.wait(TIME)
    return "held"


@pytest.fixture
def holding():
    """Lets `hold` go on in the end."""
    started.clear()
    go_on.clear()
    yield
    go_on.set()


def ended(jobs, job: Job, work_off) -> Job:
    work_off(jobs)
    return job.refresh()


@pytest.mark.dj(113)
def test_refresh_shows_what_became_of_the_job(each_jobs, do, work_off):
    job = double.enqueue(4)
    work_off(each_jobs)
    before = job.state

    same = do(job, "refresh")

    assert same is job
    assert (before, job.state, job.ended, job.attempt) == (State.READY, State.SUCCEEDED, True, 1)
    assert job.created_at <= job.started_at <= job.finished_at <= datetime.now(UTC) + timedelta(seconds=5)
    assert timedelta(0) <= job.run_time < timedelta(seconds=5)


@pytest.mark.dj(4)
def test_the_result_is_what_the_function_returned(jobs, work_off):
    one, none = double.enqueue(4), nothing.enqueue()

    work_off(jobs)

    assert one.refresh().result == 8
    assert none.refresh().result is None


@pytest.mark.parametrize("run_at", [None, timedelta(hours=1)], ids=["ready", "scheduled"])
def test_a_job_that_has_not_ended_has_no_result(jobs, run_at):
    job = double.using(run_at=run_at).enqueue(1)

    with pytest.raises(
        ResultUnavailable, match=rf"job {job.id} \(.*double\) is {job.state.value}: call wait\(\) first"
    ):
        _ = job.result


def test_a_running_job_has_no_result(jobs, holding):
    job = hold.enqueue()
    with Worker(jobs):
        assert started.wait(TIME)
        job.refresh()

        with pytest.raises(ResultUnavailable, match="is running"):
            _ = job.result

        go_on.set()
        assert job.wait(TIME).result == "held"


@pytest.mark.dj(80)
def test_the_result_of_a_failed_job_raises_its_error(jobs, work_off):
    job = ended(jobs, fail.enqueue("no: never"), work_off)

    with pytest.raises(JobFailed, match=rf"job {job.id} \(.*\.fail\) failed: ValueError: no: never") as caught:
        _ = job.result

    assert (caught.value.error_type, caught.value.message) == ("ValueError", "no: never")


def test_the_result_of_a_cancelled_job_says_why_it_was(jobs, work_off):
    by_itself, by_us = ended(jobs, call_off.enqueue(), work_off), double.enqueue(1)
    by_us.cancel()

    with pytest.raises(JobCancelled, match=r"was cancelled: .*not needed"):
        _ = by_itself.result
    with pytest.raises(JobCancelled, match=r"was cancelled"):
        _ = by_us.refresh().result


def test_a_result_that_cannot_be_stored_never_fails_the_job_and_names_its_type(each_jobs, work_off):
    job = ended(each_jobs, odd_result.enqueue(), work_off)

    with pytest.raises(ResultUnavailable, match=r"returned a _thread\.lock, which cannot be stored: result: "):
        _ = job.result

    assert job.state is State.SUCCEEDED


@pytest.mark.dj(79)
def test_a_failed_attempt_is_told_with_its_error_and_traceback(each_jobs, do, work_off):
    job = fail.enqueue("no")
    work_off(each_jobs)

    [attempt] = do(job, "refresh").attempts

    assert (attempt.number, attempt.outcome) == (1, Outcome.FAILED)
    assert (attempt.error_type, attempt.message) == ("ValueError", "no")
    assert "raise ValueError(text)" in attempt.traceback
    assert "belayed/worker" not in attempt.traceback
    assert attempt.started_at <= attempt.ended_at
    assert each_jobs.attempts(job.id) == [attempt]


def test_attempts_of_a_found_job_are_read_when_asked_for(jobs, work_off):
    fail.enqueue("no")
    work_off(jobs)

    [found] = jobs.find()

    assert [attempt.error_type for attempt in found.attempts] == ["ValueError"]


@pytest.mark.dj(113)
def test_refresh_reads_the_attempts_anew(jobs, work_off):
    job = fail.enqueue("no")
    before = job.attempts
    work_off(jobs)
    remembered = job.attempts

    job.refresh()

    assert (before, remembered) == ((), ())
    assert [attempt.message for attempt in job.attempts] == ["no"]


@pytest.mark.dj(76)
def test_the_payload_is_loaded_by_the_attempt_and_by_no_look_at_the_job(jobs, work_off):
    loaded.clear()
    job = show.enqueue(Card(7))
    looks = [jobs.get(job.id), job.refresh(), *jobs.find()]
    before = list(loaded)

    work_off(jobs)

    assert looks == [job] * 3
    assert (before, loaded) == ([], [7])


def test_cancel_ends_a_waiting_job(each_jobs, do):
    job = double.enqueue(1)

    cancelled = [do(job, "cancel"), do(job, "cancel")]

    assert cancelled == [True, False]
    assert do(job, "refresh").state is State.CANCELLED


@pytest.mark.dj(73)
def test_cancel_asks_a_running_job_to_stop(jobs, do, holding):
    job = hold.enqueue()
    with Worker(jobs):
        assert started.wait(TIME)

        cancelled = do(job, "cancel")

        asked = do(job, "refresh").cancel_requested
        go_on.set()
        job.wait(TIME)
    assert (cancelled, asked) == (True, True)


@pytest.mark.dj(170)
def test_retry_runs_a_failed_job_again_with_no_failures_counted(each_jobs, do, work_off):
    job = ended(each_jobs, fail.enqueue("no"), work_off)

    retried = do(job, "retry")

    assert retried
    assert (do(job, "refresh").state, job.attempt, job.failures) == (State.READY, 1, 0)
    assert ended(each_jobs, job, work_off).state is State.FAILED


def test_retry_does_not_run_what_has_succeeded_again(jobs, do, work_off):
    job = ended(jobs, double.enqueue(1), work_off)

    assert not do(job, "retry")


def test_retry_runs_a_scheduled_job_now(each_jobs, do):
    job = double.using(run_at=timedelta(hours=1)).enqueue(1)

    retried = do(job, "retry")

    assert retried
    assert do(job, "refresh").state is State.READY


def test_change_moves_a_waiting_job(each_jobs, do):
    job = double.enqueue(1)

    changed = do(job, "change", queue="other", priority=-7)

    assert changed
    assert (do(job, "refresh").queue, job.priority, job.state) == ("other", -7, State.READY)


@pytest.mark.parametrize("way", ["timedelta", "datetime"])
def test_change_puts_a_job_off_and_brings_it_back(each_jobs, do, way):
    job = double.enqueue(1)

    def moment(hours: int) -> Any:
        return timedelta(hours=hours) if way == "timedelta" else datetime.now(UTC) + timedelta(hours=hours)

    do(job, "change", run_at=moment(1))
    put_off = (do(job, "refresh").state, job.run_at - datetime.now(UTC) > timedelta(minutes=59))
    do(job, "change", run_at=moment(-1))

    assert put_off == (State.SCHEDULED, True)
    assert do(job, "refresh").state is State.READY
    assert job.run_at < datetime.now(UTC)


def test_change_leaves_an_ended_job_alone(jobs, do, work_off):
    job = ended(jobs, double.enqueue(1), work_off)

    assert not do(job, "change", priority=3)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"queue": "*"}, r"queue='\*'"),
        ({"priority": "high"}, "priority='high'"),
        ({"run_at": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001
        ({"run_at": 5}, "run_at=5"),
        ({"quue": "mail"}, "'quue'"),
    ],
)
def test_a_wrong_change_is_refused(jobs, do, changes, complaint):
    job = double.enqueue(1)

    with pytest.raises(OptionError, match=complaint):
        do(job, "change", **changes)


def test_a_job_equals_another_reading_of_it(jobs):
    job, other = double.enqueue(1), double.enqueue(1)

    again = jobs.get(job.id)

    assert job == again
    assert job is not again
    assert job != other
    assert job != job.id
    assert len({job, again, other}) == 2


def test_a_job_shows_its_number_task_and_state(jobs):
    job = double.enqueue(1)

    assert repr(job) == f"<Job {job.id} {__name__}.double ready>"


def test_there_is_no_current_job_outside_of_one(jobs):
    with pytest.raises(BelayedError, match=r"no job runs here: current_job\(\) is for code that a worker runs"):
        current_job()
