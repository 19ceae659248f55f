"""What a job raises inside a TaskGroup comes out as a group: the errors in it are what it is judged by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from belayed import Cancel, Fail, Outcome, Retry, State, current_job, task
from belayed.errors import PayloadError
from belayed.jobs import Jobs
from belayed.testing import drain
from belayed.worker.verdict import grave_of
from tests.worker import tasks
from tests.worker.helpers import states, wait_left, worked
from tests.worker.tasks import aact, act

Body = Callable[[Callable[..., Any]], str]


def grouped(*errors: BaseException) -> Callable[[], Any]:
    """A coroutine function whose TaskGroup ends with these errors."""

    async def one(error: BaseException) -> None:
        raise error

    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            for error in errors:
                group.create_task(one(error))

    return body


ruled: list[BaseException] = []


@task(retry_on=(OSError, PayloadError), discard_on=tasks.Gone)
async def with_rules() -> None:
    await grouped(*ruled)()


@task(discard_on=ExceptionGroup)
async def discards_groups() -> None:
    await grouped(*ruled)()


@pytest.mark.parametrize(
    ("errors", "state"),
    [
        ([ConnectionResetError()], State.SCHEDULED),
        ([OSError(), TimeoutError()], State.SCHEDULED),
        ([OSError(), ValueError()], State.FAILED),
        ([ExceptionGroup("inner", [ValueError(), OSError()])], State.FAILED),
        ([tasks.Gone()], State.CANCELLED),
        ([tasks.Gone(), Cancel("no")], State.CANCELLED),
        ([ExceptionGroup("inner", [tasks.Gone()]), tasks.Gone()], State.CANCELLED),
        ([tasks.Gone(), OSError()], State.SCHEDULED),
        ([tasks.Gone(), ValueError()], State.FAILED),
        ([Retry("later", after=timedelta(minutes=1))], State.SCHEDULED),
        ([Retry(), ValueError()], State.FAILED),
        ([Fail("hopeless"), OSError()], State.FAILED),
    ],
    ids=str,
)
def test_rules_judge_the_errors_in_a_group(errors: list[BaseException], state: State, lite: Jobs) -> None:
    ruled[:] = errors
    job = with_rules.enqueue()

    worked(lite)

    assert states(job) == [state]


def test_a_rule_may_name_groups_themselves(lite: Jobs) -> None:
    ruled[:] = [ValueError()]
    job = discards_groups.enqueue()

    worked(lite)

    assert states(job) == [State.CANCELLED]


@pytest.mark.parametrize("called", ["def", "async def"])
@pytest.mark.parametrize(
    ("errors", "state", "outcome"),
    [
        ([Cancel("not needed")], State.CANCELLED, Outcome.CANCELLED),
        ([Fail("hopeless")], State.FAILED, Outcome.FAILED),
        ([Fail("hopeless"), Cancel("not needed")], State.FAILED, Outcome.FAILED),
    ],
    ids=str,
)
def test_answers_raised_in_a_task_group_count(
    called: str, errors: list[BaseException], state: State, outcome: Outcome, jobs: Jobs, body: Body
) -> None:
    run = grouped(*errors)
    job = aact.enqueue(body(run)) if called == "async def" else act.enqueue(body(lambda: asyncio.run(run())))

    worked(jobs)

    assert (job.refresh().state, job.attempts[0].outcome, job.attempts[0].traceback) == (state, outcome, None)


def test_the_longest_retry_of_a_group_is_waited_for(lite: Jobs, body: Body) -> None:
    at = datetime.now(UTC) + timedelta(seconds=50)
    job = aact.enqueue(body(grouped(Retry(after=timedelta(seconds=20)), Retry(after=at), Retry())))

    worked(lite)

    assert 40 <= wait_left(job) <= 50
    assert job.refresh().failures == 1


def test_a_group_of_free_retries_costs_no_failure_and_one_other_error_does(lite: Jobs, body: Body) -> None:
    free = Retry(after=timedelta(seconds=30), free=True)
    costless = aact.enqueue(body(grouped(free, Retry(free=True))))
    costly = aact.enqueue(body(grouped(free, OSError("down"))))

    worked(lite)

    assert (costless.refresh().failures, costless.free_retries, costly.refresh().failures) == (0, 1, 1)
    assert 25 <= wait_left(costless) <= 30
    assert 25 <= wait_left(costly) <= 30


def test_the_record_names_the_errors_in_a_group(jobs: Jobs, body: Body) -> None:
    job = aact.enqueue(body(grouped(ValueError("odd"), tasks.Declined("no"), ValueError("even"))))

    worked(jobs)

    (attempt,) = job.refresh().attempts
    assert attempt.error_type == "ExceptionGroup[ValueError, tests.worker.tasks.Declined]"
    assert attempt.message == (
        "unhandled errors in a TaskGroup (3 sub-exceptions): "
        "ValueError: odd; tests.worker.tasks.Declined: no; ValueError: even"
    )
    assert attempt.traceback is not None
    assert "ValueError: even" in attempt.traceback


class Shadowing(ExceptionGroup[Exception]):
    """A group whose own word on what is in it is not to be relied on."""

    @property
    def exceptions(self) -> Any:
        raise RuntimeError("asked")


def test_groups_of_any_shape_are_judged(lite: Jobs, body: Body) -> None:
    deep: Exception = ValueError("deep")
    for _ in range(5000):
        deep = ExceptionGroup("", [deep])
    wide = ExceptionGroup("", [ValueError(str(number)) for number in range(20_000)])
    found = [aact.enqueue(body(grouped(error))) for error in (deep, wide, Shadowing("", [Cancel("no")]))]
    neighbour = tasks.double.enqueue(1)

    worked(lite)

    assert states(*found) == [State.SCHEDULED, State.SCHEDULED, State.CANCELLED]
    assert neighbour.refresh().result == 2


def test_a_time_limit_that_a_task_group_wraps_is_still_a_time_limit(lite: Jobs, body: Body) -> None:
    async def spins() -> None:
        while True:
            time.sleep(0.001)  # noqa: ASYNC251 (it is to block)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(spins())

    job = act.using(max_run_time=timedelta(seconds=0.2)).enqueue(body(lambda: asyncio.run(main())))

    worked(lite)

    assert [one.outcome for one in job.refresh().attempts] == [Outcome.TIMED_OUT]


def test_a_cancellation_that_a_task_group_wraps_cancels(lite: Jobs, body: Body) -> None:
    async def main() -> None:
        async def spins() -> None:
            while True:
                time.sleep(0.001)  # noqa: ASYNC251 (it is to block)

        current_job().cancel()
        async with asyncio.TaskGroup() as group:
            group.create_task(spins())

    job = act.enqueue(body(lambda: asyncio.run(main())))

    worked(lite)

    assert states(job) == [State.CANCELLED]


def test_drain_takes_answers_in_a_group_for_what_they_are(lite: Jobs, body: Body) -> None:
    aact.enqueue(body(grouped(Retry(after=timedelta(hours=1)))))
    aact.enqueue(body(grouped(Cancel("no"))))
    drain()
    aact.enqueue(body(grouped(ValueError("odd"))))

    with pytest.raises(ExceptionGroup):
        drain()


def test_what_is_no_group_is_judged_as_it_is() -> None:
    error = ValueError()

    assert grave_of(error, with_rules.rules) == [error]
    assert grave_of(tasks.Gone(), with_rules.rules) == []
