"""What becomes of a job that fails: by its row, its task's rules, and what it raises."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from belayed import Cancel, Fail, Job, Outcome, Retry, State, enqueue, enqueue_many, task
from belayed.errors import ConfigError, JobNotFound
from belayed.jobs import Jobs
from belayed.retry import Rules, default_wait
from tests.worker import tasks
from tests.worker.helpers import due, execute, logged, states, wait_left, worked
from tests.worker.tasks import aact, act, double, fails

Body = Callable[[Callable[..., Any]], str]


def raising(error: BaseException) -> Callable[[], None]:
    def raises() -> None:
        raise error

    return raises


@pytest.mark.dj(163, 164, 270)
@pytest.mark.parametrize("before", [0, 1, 2, 9, 23])
def test_the_nth_failure_waits_5_seconds_and_n_to_the_4th_and_up_to_a_tenth_more(before: int, lite: Jobs) -> None:
    job = fails.enqueue()
    execute(lite, f"UPDATE belayed_jobs SET failures = {before}, attempt = {before}")
    at_least = 5 + (before + 1) ** 4

    worked(lite)

    assert at_least - 5 <= wait_left(job) <= at_least * 1.1
    assert (job.state, job.failures, job.attempt) == (State.SCHEDULED, before + 1, before + 1)


@pytest.mark.dj(165)
def test_all_waits_of_25_attempts_together_are_20_days_and_up_to_a_tenth_more() -> None:
    seconds = sum(default_wait(failures) for failures in range(1, 25))

    assert 1_763_140 <= seconds <= 1_763_140 * 1.1


@pytest.mark.dj(118, 163)
def test_by_default_the_25th_failure_is_the_last(lite: Jobs) -> None:
    job = fails.enqueue()
    execute(lite, "UPDATE belayed_jobs SET failures = 24, attempt = 24")

    worked(lite)

    assert (job.refresh().state, job.failures) == (State.FAILED, 25)


@pytest.mark.dj(166)
def test_jobs_that_failed_together_are_not_all_tried_again_at_once(lite: Jobs) -> None:
    saved = enqueue_many(fails.draft() for _ in range(20))
    execute(lite, "UPDATE belayed_jobs SET failures = 9, attempt = 9")

    worked(lite)

    # A thousand seconds, between 10,005 and 11,006, for 20 jobs.
    waits = [wait_left(job) for job in saved]
    assert max(waits) - min(waits) > 100


@pytest.mark.dj(79, 162)
def test_a_failed_attempt_is_recorded_with_its_traceback(jobs: Jobs) -> None:
    job = fails.enqueue()

    worked(jobs)

    (attempt,) = job.refresh().attempts
    assert (attempt.number, attempt.outcome) == (1, Outcome.RETRY)
    assert (attempt.error_type, attempt.message) == ("tests.worker.tasks.Declined", "no")
    assert attempt.traceback is not None
    assert attempt.traceback.startswith("Traceback")
    assert 'raise Declined("no")' in attempt.traceback
    assert "belayed/worker" not in attempt.traceback
    assert job.error == "tests.worker.tasks.Declined: no"


@pytest.mark.dj(270)
@pytest.mark.parametrize(
    ("task", "waits"),
    [
        (tasks.fails_with_one_wait, [40, 40, 40]),
        (tasks.fails_with_waits, [10, 20, 20]),
        (tasks.fails_with_function, [60, 120, 180]),
    ],
    ids=["one time", "a list", "a function"],
)
def test_a_task_s_own_backoff_is_used(task: Any, waits: list[int], lite: Jobs) -> None:
    job = task.enqueue()

    found = []
    for _ in waits:
        worked(lite)
        found.append(wait_left(job))
        due(job)

    assert all(wait - 5 <= left <= wait for wait, left in zip(waits, found, strict=True)), found


def test_a_backoff_that_raises_is_logged_and_the_formula_used(lite: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    job = tasks.fails_with_broken_function.enqueue()

    worked(lite)

    assert 4 <= wait_left(job) <= 6.6
    assert job.error == "tests.worker.tasks.Declined: no"
    assert logged(caplog, "the backoff of")


def test_a_wait_beyond_the_calendar_is_cut_to_a_hundred_years(jobs: Jobs, body: Body) -> None:
    endless = [tasks.fails_for_ever.enqueue()]
    for free in (False, True):
        endless.append(act.enqueue(body(raising(Retry(after=timedelta.max, free=free)))))
        endless.append(act.enqueue(body(raising(Retry(after=datetime.max.replace(tzinfo=UTC), free=free)))))
    many = fails.using(max_attempts=2**31 - 1).enqueue()
    execute(jobs, f"UPDATE belayed_jobs SET failures = 1000000 WHERE id = {many.id}")
    neighbour = double.enqueue(1)

    worked(jobs)

    assert neighbour.refresh().result == 2
    assert {job.refresh().run_at.year - datetime.now(UTC).year for job in [*endless, many]} <= {99, 100}


@pytest.mark.dj(168, 274)
@pytest.mark.parametrize("task", [act, aact], ids=["def", "async def"])
def test_retry_after_a_time_counts_as_a_failure(task: Any, lite: Jobs, body: Body) -> None:
    async def araises() -> None:
        raise Retry("later", after=timedelta(seconds=30))

    retry = raising(Retry("later", after=timedelta(seconds=30)))
    job = task.enqueue(body(araises if task is aact else retry))

    worked(lite)

    assert 25 <= wait_left(job) <= 30
    assert (job.failures, job.attempt, job.attempts[0].message) == (1, 1, "later")
    assert job.attempts[0].traceback is None


@pytest.mark.dj(168, 274)
def test_retry_at_a_time(lite: Jobs, body: Body) -> None:
    at = datetime.now(UTC) + timedelta(minutes=3)
    job = act.enqueue(body(raising(Retry(after=at))))

    worked(lite)

    assert abs((job.refresh().run_at - at).total_seconds()) < 2


def test_retry_without_a_time_waits_as_after_an_error(lite: Jobs, body: Body) -> None:
    job = act.enqueue(body(raising(Retry())))

    worked(lite)

    assert 4 <= wait_left(job) <= 6.6


class Throttled(Retry):
    """An answer of the application's, whose own `__init__` does not call that of its base."""

    def __init__(self, service: str) -> None:
        self.service = service


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"after": 60}, r"Retry\(after=60\): it takes a timedelta, such as timedelta\(seconds=60\), or"),
        ({"after": 1.5}, r"such as timedelta\(seconds=1\.5\)"),
        ({"after": "60"}, r"Retry\(after='60'\): it takes a timedelta, or an aware datetime$"),
        ({"after": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001
        ({"reason": timedelta(minutes=1)}, r"Retry\(.*\): the time goes in after=: write Retry\(after=…\)"),
        ({"reason": 60}, r"Retry\(60\): the time goes in after="),
        ({"reason": datetime.now(UTC)}, "the time goes in after="),
    ],
)
def test_a_retry_with_what_is_no_time_is_refused_where_it_is_raised(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Retry(**given)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"backoff": 60}, r"backoff=60: it takes a timedelta, such as timedelta\(seconds=60\), a list of them"),
        ({"backoff": [1, 2]}, r"it takes a timedelta, such as timedelta\(seconds=1\), a list of them"),
        ({"backoff": []}, r"backoff=\[\]: it takes a timedelta, a list of them"),
        ({"retry_on": [ValueError]}, r"go in a tuple: retry_on=\(ValueError,\)"),
        ({"discard_on": [ValueError, "KeyError"]}, r"go in a tuple: discard_on=\(ValueError, 'KeyError',\)"),
        ({"retry_on": "ValueError"}, r"retry_on: 'ValueError' is no exception class"),
    ],
)
def test_rules_that_are_written_as_elsewhere_are_answered_with_how_to(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Rules(**given)


def test_a_kind_of_retry_that_does_not_call_its_base_waits_as_after_an_error(lite: Jobs, body: Body) -> None:
    job = act.enqueue(body(raising(Throttled("mail"))))

    worked(lite)

    assert 4 <= wait_left(job) <= 6.6
    assert str(job.attempts[0].message) == "mail"


@pytest.mark.parametrize(
    "answer", [Retry(after=timedelta(hours=1)), Fail("no"), Cancel("no"), Retry, Throttled("mail")]
)
@pytest.mark.parametrize("task", [act, aact], ids=["def", "async def"])
def test_an_answer_that_is_returned_and_not_raised_is_an_error(task: Any, answer: Any, lite: Jobs, body: Body) -> None:
    async def areturns() -> Any:
        return answer

    job = task.enqueue(body(areturns if task is aact else lambda: answer))

    worked(lite)

    assert (job.refresh().state, job.failures) == (State.SCHEDULED, 1)
    assert "which does nothing: write raise in the place of return" in str(job.error)


def test_the_last_retry_fails_the_job(lite: Jobs, body: Body) -> None:
    job = act.using(max_attempts=1).enqueue(body(raising(Retry(after=timedelta()))))

    worked(lite)

    assert states(job) == [State.FAILED]


def test_a_free_retry_costs_no_failure(lite: Jobs, body: Body) -> None:
    job = act.using(max_attempts=1).enqueue(body(raising(Retry(after=timedelta(seconds=30), free=True))))

    worked(lite)

    assert (job.refresh().state, job.failures, job.free_retries) == (State.SCHEDULED, 0, 1)
    assert 25 <= wait_left(job) <= 30


def test_the_thousandth_free_retry_is_the_last(lite: Jobs, body: Body) -> None:
    job = act.enqueue(body(raising(Retry(after=timedelta(seconds=30), free=True))))
    execute(lite, "UPDATE belayed_jobs SET free_retries = 999")

    worked(lite)
    put_off, count = job.refresh().state, job.free_retries
    due(job)
    worked(lite)

    assert (put_off, count) == (State.SCHEDULED, 1000)
    assert states(job) == [State.FAILED]


@pytest.mark.dj(159)
def test_fail_fails_now(lite: Jobs, body: Body) -> None:
    job = act.enqueue(body(raising(Fail("hopeless"))))

    worked(lite)

    assert (job.refresh().state, job.error) == (State.FAILED, "belayed.retry.Fail: hopeless")


def test_cancel_cancels(jobs: Jobs, body: Body) -> None:
    job = act.enqueue(body(raising(Cancel("not needed"))))

    summary = worked(jobs)

    assert (job.refresh().state, job.error) == (State.CANCELLED, "belayed.retry.Cancel: not needed")
    assert summary.cancelled == 1


@pytest.mark.dj(270, 273)
@pytest.mark.parametrize(
    ("kind", "state"), [("OSError", State.SCHEDULED), ("Gone", State.CANCELLED), ("Declined", State.FAILED)]
)
def test_a_task_says_which_errors_are_tried_again_and_which_cancel(kind: str, state: State, lite: Jobs) -> None:
    job = tasks.raises.enqueue(kind)

    worked(lite)

    assert states(job) == [state]


class NotFound(tasks.Gone):
    pass


@task(retry_on=OSError, discard_on=tasks.Gone)
def raises_a_subclass(kind: str) -> None:
    raise {"ConnectionResetError": ConnectionResetError, "NotFound": NotFound}[kind]


@pytest.mark.dj(273)
@pytest.mark.parametrize(("kind", "state"), [("ConnectionResetError", State.SCHEDULED), ("NotFound", State.CANCELLED)])
def test_a_task_s_rules_hold_for_subclasses_too(kind: str, state: State, lite: Jobs) -> None:
    job = raises_a_subclass.enqueue(kind)

    worked(lite)

    assert states(job) == [state]


@pytest.mark.dj(271, 272)
def test_failures_of_every_kind_count_together_on_the_same_row(lite: Jobs, body: Body) -> None:
    errors = iter([OSError("first"), ValueError("second"), Retry("third", after=timedelta())])

    def raises() -> None:
        raise next(errors)

    job = act.using(max_attempts=3).enqueue(body(raises))
    found = []
    for _ in range(3):
        worked(lite)
        found.append((job.refresh().state, job.failures))
        job.change(run_at=timedelta())

    assert found == [(State.SCHEDULED, 1), (State.SCHEDULED, 2), (State.FAILED, 3)]
    assert [saved.id for saved in lite.find()] == [job.id]


@pytest.mark.parametrize("task", [tasks.too_long, tasks.atoo_long], ids=["def", "async def"])
def test_what_took_too_long_is_tried_again_whatever_retry_on_says(task: Any, lite: Jobs) -> None:
    job = task.enqueue()

    worked(lite)

    assert (job.refresh().state, job.attempts[0].outcome) == (State.SCHEDULED, Outcome.TIMED_OUT)


@pytest.mark.dj(35, 163, 270)
@pytest.mark.parametrize(
    ("draft", "most"),
    [
        (lambda: fails.using(max_attempts=3).draft(), 3),
        (tasks.seven.draft, 7),
        (lambda: tasks.seven.using(max_attempts=2).draft(), 2),
        (fails.draft, 4),
    ],
    ids=["the row", "the task", "the row before the task", "the settings"],
)
def test_the_last_attempt_is_the_row_s_the_task_s_or_the_settings(
    draft: Any, most: int, sqlite_path: Any, opened: Any
) -> None:
    jobs = opened(f"sqlite:///{sqlite_path}", max_attempts=4)
    job = jobs.enqueue(draft())
    execute(jobs, f"UPDATE belayed_jobs SET failures = {most - 2}")

    worked(jobs)
    left = job.refresh().state
    due(job)
    worked(jobs)

    assert (left, job.refresh().state) == (State.SCHEDULED, State.FAILED)


@pytest.mark.dj(37, 115, 126, 169)
def test_what_is_not_kept_is_gone_when_it_ends(url: str, opened: Any) -> None:
    jobs = opened(url, keep_succeeded=False, keep_failed=False, keep_cancelled=False)
    saved = [
        double.enqueue(1),
        fails.using(max_attempts=1).enqueue(),
        tasks.raises.enqueue("Gone"),
        fails.using(max_attempts=1, keep_failed=True).enqueue(),
    ]

    summary = worked(jobs)

    assert (summary.succeeded, summary.failed, summary.cancelled) == (1, 2, 1)
    assert [job.id for job in jobs.find()] == [saved[3].id]
    assert execute(jobs, "SELECT DISTINCT job_id FROM belayed_attempts") == [(saved[3].id,)]
    with pytest.raises(JobNotFound):
        saved[0].refresh()


@pytest.mark.dj(37, 126)
def test_a_failed_job_that_its_row_does_not_keep_is_gone(lite: Jobs) -> None:
    fails.using(max_attempts=1, keep_failed=False).enqueue()

    worked(lite)

    assert lite.find() == []


def test_the_policy_is_frozen_when_the_job_is_saved(sqlite_path: Any, opened: Any, monkeypatch: Any) -> None:
    first = opened(f"sqlite:///{sqlite_path}")
    job = first.enqueue(tasks.seven.using(max_run_time=timedelta(hours=1), keep_failed=True).draft())
    monkeypatch.setitem(tasks.seven.options, "max_attempts", 1)
    later = opened(f"sqlite:///{sqlite_path}", max_attempts=1, keep_failed=False, max_run_time=timedelta(seconds=1))

    worked(later)

    job = later.get(job.id)
    assert (job.state, job.max_attempts, job.keep_failed) == (State.SCHEDULED, 7, True)
    assert job.max_run_time == timedelta(hours=1)


@pytest.mark.dj(39)
def test_a_custom_job_says_itself_when_it_is_tried_again(lite: Jobs, calls: list[Any]) -> None:
    job = enqueue(tasks.Custom(fail=True))

    worked(lite)

    assert ("reschedule_at", 1) in calls
    assert 95 <= wait_left(job) <= 100


@pytest.mark.dj(39)
def test_a_reschedule_at_that_raises_is_logged_and_the_formula_used(
    lite: Jobs, calls: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    job = enqueue(tasks.Custom(fail=True, broken=("reschedule_at",)))

    worked(lite)

    assert 4 <= wait_left(job) <= 6.6
    assert logged(caplog, "the backoff of")


def test_attempts_are_kept_first_and_last(lite: Jobs) -> None:
    job = tasks.fails_at_once.using(max_attempts=40).enqueue()

    worked(lite)

    assert states(job) == [State.FAILED]
    assert [attempt.number for attempt in job.attempts] == [*range(1, 6), *range(21, 41)]


@pytest.mark.dj(170)
def test_a_retried_job_starts_anew(lite: Jobs) -> None:
    job: Job = fails.using(max_attempts=1).enqueue()
    worked(lite)

    job.retry()
    worked(lite)

    assert (job.refresh().state, job.attempt, job.failures) == (State.FAILED, 2, 1)
