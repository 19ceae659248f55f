"""Waiting for a job: it ends with the job, at its timeout, or at once where there is no job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from belayed import Cancel, Job, State, Worker, task
from belayed.errors import (
    JobNotFound,
    WaitTimeout,
)
from tests.api.test_enqueue import connected
from tests.patience import patient
from tests.worker.helpers import eventually

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


def in_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Begin *call* in a thread; what is returned waits for its end, and answers or raises as it did."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()

    def join() -> Any:
        thread.join(TIME)
        assert outcome, "it hangs"
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    return join


@pytest.mark.parametrize(
    ("draft", "state"),
    [
        (double.draft(4), State.SUCCEEDED),
        (fail.draft("no"), State.FAILED),
        (call_off.draft(), State.CANCELLED),
    ],
    ids=lambda value: getattr(value, "value", ""),
)
def test_wait_returns_the_job_in_whatever_state_it_ended(each_jobs, do, draft, state):
    job = each_jobs.enqueue(draft)

    with Worker(each_jobs):
        same = do(job, "wait", TIME)

    assert same is job
    assert job.state is state


def test_wait_returns_at_once_what_has_ended(jobs, do, work_off):
    job = ended(jobs, double.enqueue(4), work_off)

    assert do(job, "wait", 0) is job


@pytest.mark.parametrize("timeout", [0, 0.02, timedelta(milliseconds=20), -1])
def test_wait_ends_after_its_timeout(jobs, do, timeout):
    job = double.enqueue(4)

    with pytest.raises(
        WaitTimeout, match=rf"job {job.id} \({__name__}\.double\) has not ended within .* s: it is ready"
    ):
        do(job, "wait", timeout)


def test_wait_sees_a_cancel(jobs, do):
    job = double.enqueue(4)
    waiting = in_thread(lambda: do(job, "wait", TIME))

    jobs.cancel(job.id)

    assert waiting().state is State.CANCELLED


def test_a_wait_that_ends_too_early_says_that_no_worker_is_there(each_jobs, do):
    ready = double.using(queue="mail").enqueue(1)
    scheduled = double.using(run_at=timedelta(hours=1)).enqueue(1)

    with pytest.raises(WaitTimeout) as of_ready:
        do(ready, "wait", 0)
    with pytest.raises(WaitTimeout) as of_scheduled:
        do(scheduled, "wait", 0)

    nobody = "and no living worker serves its queue {}: start one with `belayed work`"
    assert str(of_ready.value).endswith("within 0 s: it is ready, " + nobody.format("'mail'"))
    assert str(of_scheduled.value).endswith("within 0 s: it is scheduled, " + nobody.format("'default'"))


def test_a_wait_that_ends_too_early_says_that_the_workers_serve_other_queues(each_jobs, do):
    job = double.using(queue="mail").enqueue(1)

    with Worker(each_jobs, queues=["default"]):
        double.enqueue(1).wait(TIME)
        with pytest.raises(WaitTimeout, match="it is ready, and no living worker serves its queue 'mail'"):
            do(job, "wait", 0)


def test_a_wait_that_ends_too_early_says_that_the_queue_is_paused(each_jobs, do):
    each_jobs.pause("mail's")
    job = double.using(queue="mail's").enqueue(1)

    with pytest.raises(WaitTimeout, match="is paused: `belayed resume 'mail'\"'\"'s'` lets it go on"):
        do(job, "wait", 0)


def test_a_wait_that_ends_too_early_says_what_the_last_attempt_has_failed_with(each_jobs, do):
    job = fail.using(max_attempts=3).enqueue("no\nway" + "!" * 500)

    with Worker(each_jobs):
        eventually(lambda: job.refresh().error is not None)
        with pytest.raises(WaitTimeout) as caught:
            do(job, "wait", 0)

    assert "it is scheduled, to be tried again after ValueError: no way!!!" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_wait_that_ends_too_early_says_only_the_state_of_a_job_that_runs(each_jobs, do, holding):
    job = hold.enqueue()

    with Worker(each_jobs):
        assert started.wait(TIME)
        with pytest.raises(WaitTimeout, match=r"it is running$"):
            do(job, "wait", 0)
        go_on.set()


def test_a_wait_that_takes_long_logs_once_why(jobs, do, monkeypatch, caplog):
    monkeypatch.setattr("belayed.waiting.PATIENCE", 0.0)
    monkeypatch.setattr("belayed.waiting.AGAIN", 0.0)
    job = double.enqueue(1)

    with pytest.raises(WaitTimeout):
        do(job, "wait", 0.1)

    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        f"job {job.id} ({__name__}.double) has not ended after 0 s of waiting: it is ready, and no living worker "
        "serves its queue 'default': start one with `belayed work`"
    )


def test_a_wait_that_takes_long_logs_nothing_while_a_worker_runs_the_job(jobs, do, monkeypatch, caplog, holding):
    monkeypatch.setattr("belayed.waiting.PATIENCE", 0.0)
    monkeypatch.setattr("belayed.waiting.AGAIN", 0.0)
    job = hold.enqueue()

    with Worker(jobs):
        assert started.wait(TIME)
        with pytest.raises(WaitTimeout):
            do(job, "wait", 0.1)
        go_on.set()

    assert not [record for record in caplog.records if "of waiting" in record.getMessage()]


@pytest.mark.parametrize("method", ["refresh", "wait"])
def test_a_job_whose_transaction_is_open_is_not_found_yet(each_jobs, url, do, method):
    raw = connected(url)
    job = double.using(connection=raw).enqueue(1)

    with pytest.raises(JobNotFound, match=f"there is no job {job.id}: the transaction that enqueued it is still open"):
        do(job, method)

    raw.commit()
    raw.close()
    assert do(job, "refresh").state is State.READY


@pytest.mark.parametrize("method", ["refresh", "wait"])
def test_a_job_that_was_rolled_back_is_not_found(each_jobs, url, do, method):
    raw = connected(url)
    job = double.using(connection=raw).enqueue(1)
    raw.rollback()
    raw.close()

    with pytest.raises(JobNotFound, match="or was rolled back"):
        do(job, method)


@pytest.mark.parametrize("method", ["refresh", "wait"])
def test_a_job_that_is_not_kept_is_not_found_once_it_has_ended(make_jobs, url, do, work_off, method):
    jobs = make_jobs(url, keep_succeeded=False)
    job = double.enqueue(1)
    work_off(jobs)

    with pytest.raises(JobNotFound, match="or ended and is not kept"):
        do(job, method)


def test_a_wait_ends_when_the_job_ends_and_is_not_kept(make_jobs, sqlite_url, do, work_off, holding):
    jobs = make_jobs(sqlite_url, keep_succeeded=False)
    job = hold.enqueue()
    with Worker(jobs):
        assert started.wait(TIME)
        waiting = in_thread(lambda: do(job, "wait", TIME))
        go_on.set()

        with pytest.raises(JobNotFound, match="or ended and is not kept"):
            waiting()


def test_a_pruned_job_is_not_found(each_jobs, do, work_off):
    job = ended(each_jobs, double.enqueue(1), work_off)
    later = datetime.now(UTC) + timedelta(days=2)
    pruned = each_jobs.do(lambda: each_jobs.store.prune(State.SUCCEEDED, 86400.0, now=later))

    with pytest.raises(JobNotFound, match="has been pruned"):
        do(job, "wait")

    assert pruned == 1


def test_a_deleted_job_is_not_found(jobs, do):
    job = double.enqueue(1)

    deleted = do(job, "delete")

    assert deleted
    with pytest.raises(JobNotFound):
        do(job, "refresh")
    assert not do(job, "delete")


def test_an_event_loop_goes_on_while_a_job_is_awaited(jobs):
    job = double.enqueue(1)

    async def both() -> bool:
        waiting = asyncio.create_task(job.await_(TIME))
        await asyncio.sleep(0)
        await jobs.acancel(job.id)
        return (await waiting).state is State.CANCELLED

    assert asyncio.run(both())
