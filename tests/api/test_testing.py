"""belayed.testing: what applications' tests do with jobs."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import unittest
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import belayed.testing
from belayed import Cancel, Retry, State, current_job, delay, handle_asynchronously, task
from belayed.errors import BelayedError, JobCancelled, OptionError, StoreError, UnknownTask
from belayed.store.answers import PASSED_OVER
from belayed.testing import (
    aassert_enqueued,
    adrain,
    aperform,
    arefute_enqueued,
    assert_enqueued,
    drain,
    held,
    inline,
    isolated,
    perform,
    refute_enqueued,
    travel,
)
from tests.worker.refusing import hushed

ran: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


@task(queue="mail", aliases=["old.send"])
def send(address: str, *, urgent: bool = False) -> str:
    ran.append(address)
    return f"sent to {address}"


@task
async def deliver(address: str) -> str:
    ran.append(address)
    return f"sent to {address}"


@task(backoff=timedelta(minutes=5))
def flaky(fails: int = 1) -> str:
    ran.append(current_job().attempt)
    if current_job().attempt <= fails:
        raise ConnectionError("no answer")
    return "answered"


@task
def waits() -> None:
    raise Retry("not yet", after=timedelta(hours=1), free=True)


@task
def unwanted() -> None:
    raise Cancel("not needed")


@task
def spreads(count: int) -> None:
    if count:
        spreads.enqueue(count - 1)


@task
def endless() -> None:
    endless.enqueue()


def plain(number: int) -> int:
    return number


@dataclass
class Order:
    number: int

    def invoice(self, to: str = "me") -> str:
        return f"{self.number} to {to}"

    @handle_asynchronously(queue="stock")
    def reserve(self, pieces: int = 1) -> int:
        ran.append((self.number, pieces))
        return pieces


class Newsletter:
    def __init__(self, issue: int) -> None:
        self.issue = issue

    def before(self) -> None:
        ran.append("before")

    def perform(self) -> int:
        return self.issue


class Titled(Newsletter):
    @property
    def display_name(self) -> str:
        return f"Issue {self.issue}"


@pytest.fixture
def testing(do):
    """Each call of belayed.testing, in its sync and its async form."""

    class Testing:
        def __getattr__(self, name: str) -> Any:
            return functools.partial(do, belayed.testing, name)

    return Testing()


def test_inline_lasts_as_long_as_its_block(jobs):
    with inline():
        now = send.enqueue("ada@example.org")
    later = send.enqueue("bob@example.org")

    assert (now.result, later.saved) == ("sent to ada@example.org", True)


def test_inline_is_a_decorator_too(jobs):
    @inline()
    def request() -> str:
        return send.enqueue("ada@example.org").result

    assert request() == "sent to ada@example.org"


@pytest.mark.parametrize(("mode", "state"), [(inline, State.SUCCEEDED), (held, State.READY)])
def test_modes_decorate_coroutines_as_well(jobs, mode, state):
    @mode()
    async def request() -> Any:
        await asyncio.sleep(0)
        return (await send.aenqueue("ada@example.org")).state

    assert [asyncio.run(request()), asyncio.run(request())] == [state, state]
    assert jobs.find() == []
    assert send.enqueue("bob@example.org").saved


def test_what_is_held_back_cannot_be_drained(jobs, testing):
    send.enqueue("ada@example.org")

    with held(), pytest.raises(BelayedError, match=r"held\(\) saves none: perform\(job\) each"):
        testing.drain()

    assert ran == []


@pytest.mark.dj(249)
def test_held_saves_nothing_and_shows_what_would_be(each_jobs, do):
    with held() as found:
        job = do(send.using(run_at=timedelta(hours=1)), "enqueue", "ada@example.org")
        do(belayed, "enqueue_many", [Order(1).reserve.draft(), Newsletter(2)])

    assert [(one.task.rpartition(".")[2], one.queue, one.state) for one in found] == [
        ("send", "mail", State.SCHEDULED),
        ("reserve", "stock", State.READY),
        ("Newsletter", "default", State.READY),
    ]
    assert do(each_jobs, "find") == []
    assert (found[0] is job, ran) == (True, [])


def test_a_job_that_is_held_back_says_so_when_it_is_waited_for(jobs):
    with held():
        job = send.enqueue("ada@example.org")

    for call in (job.wait, job.refresh):
        with pytest.raises(BelayedError, match="is held back: it was never saved, or not yet, so no worker can run it"):
            call()


def test_isolated_has_a_store_of_its_own(jobs):
    send.enqueue("ada@example.org")

    with isolated() as own:
        assert own.find() == []
        send.enqueue("bob@example.org")
        assert_enqueued(send, args=["bob@example.org"])

    assert [job.payload for job in jobs.find()] == [jobs.find()[0].payload]
    assert_enqueued(send, args=["ada@example.org"], count=1)


@pytest.mark.dj(249, 262)
def test_drain_runs_what_is_due(each_jobs, testing):
    due, coroutine = send.enqueue("ada@example.org"), deliver.enqueue("bob@example.org")
    later = send.using(run_at=timedelta(hours=1)).enqueue("eve@example.org")

    summary = testing.drain()

    assert (summary.succeeded, summary.failed) == (2, 0)
    assert [job.refresh().state for job in (due, coroutine, later)] == [
        State.SUCCEEDED,
        State.SUCCEEDED,
        State.SCHEDULED,
    ]
    assert (coroutine.result, due.attempt, due.worker) == ("sent to bob@example.org", 1, "belayed.testing")


def test_drain_runs_the_queues_that_it_is_told(each_jobs, testing):
    send.enqueue("ada@example.org")
    deliver.enqueue("bob@example.org")

    testing.drain("mail")

    assert ran == ["ada@example.org"]


def test_drain_runs_what_jobs_enqueue(each_jobs, testing):
    spreads.enqueue(3)

    assert testing.drain().succeeded == 4


def test_drain_gives_up_on_a_job_without_end(jobs, testing):
    endless.enqueue()

    with pytest.raises(BelayedError, match="has run 7 jobs, and there are more"):
        testing.drain(most=7)

    assert [job.state for job in jobs.find(states=[State.READY])] == [State.READY]


def test_drain_raises_the_first_error_once_it_is_on_record(each_jobs, testing):
    job, other = flaky.enqueue(), send.enqueue("ada@example.org")

    with pytest.raises(ConnectionError, match="no answer"):
        testing.drain()

    assert (job.refresh().state, job.error) == (State.SCHEDULED, "ConnectionError: no answer")
    assert other.refresh().state is State.READY


def test_drain_says_that_the_database_has_passed_over_an_outcome(each_jobs, testing):
    job = send.enqueue("ada@example.org")

    with hushed(each_jobs.url, "jobs", "DELETE"), pytest.raises(StoreError) as caught:
        testing.drain()

    assert PASSED_OVER in str(caught.value)
    assert job.refresh().state is State.RUNNING


def test_drain_can_leave_errors_to_their_retries(each_jobs, testing):
    job = flaky.enqueue()

    summary = testing.drain(raises=False)

    assert (summary.retried, job.refresh().failures) == (1, 1)


@pytest.mark.parametrize(("target", "state"), [(waits, State.SCHEDULED), (unwanted, State.CANCELLED)])
def test_what_a_job_raises_on_purpose_is_no_error(each_jobs, testing, target, state):
    job = target.enqueue()

    testing.drain()

    assert job.refresh().state is state


@pytest.mark.dj(262)
def test_time_travel_reaches_retries(each_jobs, testing):
    job = flaky.enqueue(2)

    testing.drain(raises=False)
    testing.drain(raises=False)
    first = list(ran)
    with travel(timedelta(minutes=5, seconds=1)):
        testing.drain(raises=False)
        with travel(timedelta(minutes=5)):
            testing.drain(raises=False)

    assert (first, ran) == ([1], [1, 2, 3])
    assert job.refresh().result == "answered"


def test_time_travel_takes_a_moment(each_jobs, testing):
    job = send.using(run_at=datetime.now(UTC) + timedelta(days=9)).enqueue("ada@example.org")

    with travel(datetime.now(UTC) + timedelta(days=10)):
        testing.drain()
        made = send.enqueue("bob@example.org")

    assert job.refresh().state is State.SUCCEEDED
    assert made.created_at > datetime.now(UTC) + timedelta(days=9)


def test_time_travel_refuses_a_time_without_zone(jobs):
    with pytest.raises(BelayedError, match="the time has no zone"), travel(datetime(2030, 1, 1)):  # noqa: DTZ001
        pass


def test_drain_within_a_transaction_of_the_test_leaves_nothing_behind(each_jobs, connect):
    connection = connect(each_jobs.url)

    job = send.using(connection=connection).enqueue("ada@example.org")
    assert_enqueued(send, connection=connection)
    summary = drain(connection=connection)
    connection.rollback()

    assert (summary.succeeded, ran) == (1, ["ada@example.org"])
    assert each_jobs.find(ids=[job.id]) == []


@pytest.fixture
def connect():
    opened: list[Any] = []

    def connect(url: str) -> Any:
        connection: Any
        if url.startswith("sqlite"):
            connection = sqlite3.connect(url.removeprefix("sqlite:///"))
            connection.execute("BEGIN IMMEDIATE")
        else:
            connection = psycopg.connect(url)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


def test_a_job_whose_code_is_missing_is_an_error_of_the_test(jobs, testing, monkeypatch):
    job = delay(plain)(1)
    monkeypatch.delattr(f"{__name__}.plain")

    with pytest.raises(UnknownTask):
        testing.drain()

    assert job.refresh().state is State.SCHEDULED


def test_perform_runs_a_saved_job_that_is_not_due_and_no_other(each_jobs, testing):
    others = [send.enqueue("bob@example.org"), send.using(priority=-9).enqueue("eve@example.org")]
    job = send.using(run_at=timedelta(days=1)).enqueue("ada@example.org")

    value = testing.perform(job)

    assert (value, job.refresh().state) == ("sent to ada@example.org", State.SUCCEEDED)
    assert [(one.refresh().state, one.attempt) for one in others] == [(State.READY, 0)] * 2


def test_perform_raises_what_the_job_raises(each_jobs, testing):
    job = flaky.enqueue()

    with pytest.raises(ConnectionError):
        testing.perform(job)

    assert job.refresh().failures == 1


@pytest.mark.parametrize(
    "make", [lambda: send.draft("ada@example.org"), lambda: deliver.draft("ada@example.org")], ids=["def", "async def"]
)
def test_perform_runs_a_draft_without_saving_it(jobs, testing, make):
    assert testing.perform(make()) == "sent to ada@example.org"
    assert jobs.find() == []


def test_perform_runs_a_custom_job_with_its_hooks(jobs, testing):
    assert testing.perform(Newsletter(4)) == 4
    assert ran == ["before"]


def test_perform_runs_what_is_held_back(jobs, testing):
    with held() as found:
        deliver.enqueue("ada@example.org")
        value = testing.perform(found[0])

    assert (value, len(found)) == ("sent to ada@example.org", 1)


def test_perform_of_a_job_that_has_ended_says_so(jobs, testing):
    job = send.enqueue("ada@example.org")
    testing.perform(job)

    with pytest.raises(BelayedError, match="does not wait"):
        testing.perform(job)


def test_perform_of_a_draft_that_is_cancelled_says_so(jobs, testing):
    with pytest.raises(JobCancelled):
        testing.perform(unwanted.draft())


@pytest.mark.dj(262)
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (send, {}),
        (send, {"args": ["ada@example.org"]}),
        (send, {"kwargs": {"address": "ada@example.org", "urgent": False}}),
        (send, {"queue": "mail", "priority": 3, "run_at": timedelta(hours=1)}),
        (f"{__name__}.send", {"queue": "mail"}),
        (Order(1).invoice, {}),
        (Order(1).invoice, {"args": ["me"]}),
        (Order.reserve, {"args": [2]}),
        (Order(1).reserve, {"kwargs": {"pieces": 2}, "queue": "stock"}),
        (Newsletter, {}),
        (Newsletter(5), {}),
        (Titled, {}),
        (Titled(6), {}),
        (plain, {"args": [7]}),
    ],
)
def test_what_is_enqueued_is_found(each_jobs, testing, what, expected):
    for where in (held(), None):
        found = where.__enter__() if where else None
        send.using(priority=3, run_at=timedelta(hours=1)).enqueue("ada@example.org")
        delay(Order(1)).invoice()
        Order(1).reserve(2)
        belayed.enqueue_many([Newsletter(5), Titled(6)])
        delay(plain)(7)

        job = testing.assert_enqueued(what, count=1, **expected)
        with pytest.raises(AssertionError, match="1 job like"):
            testing.refute_enqueued(what, **expected)

        assert job.saved is (found is None)
        if where:
            where.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (deliver, {}),
        (send, {"args": ["bob@example.org"]}),
        (send, {"args": ["ada@example.org"], "kwargs": {"urgent": True}}),
        (send, {"queue": "default"}),
        (send, {"priority": 4}),
        (send, {"run_at": timedelta(hours=2)}),
        (Order(2).reserve, {}),
        (Order(1).reserve, {"args": [3]}),
        (Newsletter(4), {}),
        (Titled, {}),
        ("nobody", {}),
    ],
)
def test_what_is_not_enqueued_is_refuted(each_jobs, testing, what, expected):
    send.using(priority=3, run_at=timedelta(hours=1)).enqueue("ada@example.org")
    Order(1).reserve(2)
    belayed.enqueue(Newsletter(5))

    testing.refute_enqueued(what, **expected)
    with pytest.raises(AssertionError, match="no job like"):
        testing.assert_enqueued(what, **expected)


def test_what_has_run_is_not_enqueued_any_more(each_jobs, testing):
    send.enqueue("ada@example.org")

    testing.drain()

    testing.refute_enqueued()


def test_a_missing_job_is_told_with_those_that_are_there(jobs):
    send.enqueue("ada@example.org")

    with pytest.raises(AssertionError) as found:
        assert_enqueued(send, args=["bob@example.org"])

    assert str(found.value).startswith(
        f"no job like {__name__}.send('bob@example.org') enqueued; there are:\n"
        f"  {__name__}.send on mail, priority 0, due "
    )
    assert '"ada@example.org"' in str(found.value)


def test_a_wrong_count_is_told(jobs):
    send.enqueue("ada@example.org")

    with pytest.raises(AssertionError, match="1 job, not 2, like"):
        assert_enqueued(send, count=2)


def test_an_expectation_that_no_call_could_meet_is_refused(jobs):
    with pytest.raises(TypeError, match="missing a required argument: 'address'"):
        refute_enqueued(send, args=[])
    with pytest.raises(OptionError, match="has no method perform"):
        assert_enqueued(3)


@pytest.mark.dj(249)
def test_the_fixtures_of_the_plugin_isolate_and_hold(belayed_jobs, belayed_held):
    send.enqueue("ada@example.org")

    assert [job.task for job in belayed_held] == [f"{__name__}.send"]
    assert belayed_jobs.find() == []


def test_the_inline_fixture_of_the_plugin_runs_jobs(belayed_jobs, belayed_inline):
    assert send.enqueue("ada@example.org").result == "sent to ada@example.org"


class OfUnittest(unittest.TestCase):
    def setUp(self) -> None:
        self.jobs = self.enterContext(isolated())

    def test_it_serves_unittest(self) -> None:
        send.enqueue("ada@example.org")

        assert_enqueued(send)
        drain()

        refute_enqueued(send)


class OfAsyncUnittest(unittest.IsolatedAsyncioTestCase):
    async def test_it_serves_unittest(self) -> None:
        with isolated():
            await deliver.aenqueue("ada@example.org")
            await aassert_enqueued(deliver)
            await adrain()
            await arefute_enqueued(deliver)

            assert await aperform(deliver.draft("bob@example.org")) == "sent to bob@example.org"


def test_a_sqlite_file_is_gone_after_isolation(jobs):
    with isolated() as own:
        send.enqueue("ada@example.org")
        path = own.address.target
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM belayed_jobs").fetchone() == (1,)

    with pytest.raises(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as gone:
        gone.execute("SELECT 1 FROM belayed_jobs")


def test_perform_takes_a_connection(each_jobs, connect):
    connection = connect(each_jobs.url)
    job = send.using(connection=connection).enqueue("ada@example.org")

    value = perform(job, connection=connection)
    connection.rollback()

    assert value == "sent to ada@example.org"
    assert each_jobs.find() == []
