"""Where a job cannot be completed in a transaction it is told why, and after it has been nothing undoes it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from belayed import State, current_job, enqueue
from belayed.config import address
from belayed.errors import BelayedError
from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.callers import AIOSQLITE, ALL, ASYNCPG, EACH, PSYCOPG, SQLITE3, Caller, Shop
from tests.worker.helpers import eventually, logged, states, worked
from tests.worker.tasks import Custom, Declined, aact, act, bodies

ALREADY = "one is open on this connection already"
Body = Callable[[Callable[..., Any]], str]


@pytest.fixture(params=EACH, ids=lambda caller: caller.name)
def caller(request: pytest.FixtureRequest) -> Caller:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def url(caller: Caller, request: pytest.FixtureRequest) -> str:
    if caller.dialect == "sqlite":
        return f"sqlite:///{request.getfixturevalue('sqlite_path')}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def shop(jobs: Jobs, caller: Caller) -> Iterator[Shop]:
    yield Shop(jobs, caller)
    bodies.clear()


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was raised, of the log records that carry an error."""
    return [str(record.exc_info[1]) for record in caplog.records if record.exc_info]


def on(*callers: Caller) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("caller", callers, ids=lambda caller: caller.name)


@on(*ALL)
def test_an_open_transaction_is_refused_and_left_alone(shop: Shop, jobs: Jobs, caller: Caller) -> None:
    def work() -> None:
        with closing(shop.connect()) as raw:
            raw.execute(caller.opens)
            raw.execute("INSERT INTO effects VALUES (2)")
            with pytest.raises(BelayedError, match=ALREADY), current_job().transaction(raw):
                raise AssertionError
            raw.execute("COMMIT")

    async def awork() -> None:
        async with shop.connect() as raw:
            await raw.execute(caller.opens)
            await raw.execute("INSERT INTO effects VALUES (2)")
            with pytest.raises(BelayedError, match=ALREADY):
                async with current_job().transaction(raw):
                    raise AssertionError
            await raw.execute("COMMIT")

    job = shop.enqueued(work, awork)

    worked(jobs)

    assert job.refresh().error is None
    assert shop.effects == 1


@on(*[caller for caller in ALL if "no autocommit" in caller.name])
def test_a_transaction_that_python_keeps_open_is_refused_once_it_has_read(shop: Shop, jobs: Jobs) -> None:
    job = shop.job(before=lambda _: "SELECT * FROM effects")

    worked(jobs)

    assert ALREADY in str(shop.errors[0])
    assert states(job) == [State.SCHEDULED]


def test_the_wrong_form_is_refused(shop: Shop, jobs: Jobs, caller: Caller, body: Body) -> None:
    async def work() -> None:
        with closing(shop.connect()) as raw:
            async with current_job().transaction(raw):
                raise AssertionError

    async def awork() -> None:
        async with shop.connect() as raw:
            with current_job().transaction(raw):
                raise AssertionError

    job = aact.enqueue(body(awork if caller.is_async else work))

    worked(jobs)

    right = "async with" if caller.is_async else "with"
    assert f"write `{right} current_job().transaction(connection):`" in str(job.refresh().error)


@on(SQLITE3, ASYNCPG)
def test_what_is_no_connection_is_refused(shop: Shop, jobs: Jobs, body: Body) -> None:
    job = act.enqueue(body(lambda: current_job().transaction(jobs)))

    worked(jobs)

    assert "it takes a connection of sqlite3, aiosqlite, psycopg or asyncpg, not Jobs" in str(job.refresh().error)


@on(SQLITE3)
def test_a_connection_of_another_kind_of_database_is_refused(
    shop: Shop, jobs: Jobs, body: Body, postgres_url: str
) -> None:
    def work() -> None:
        with psycopg.connect(postgres_url) as raw, current_job().transaction(raw):
            raise AssertionError

    job = act.enqueue(body(work))

    worked(jobs)

    assert "is of postgresql, but the jobs are kept in <Jobs in sqlite:///" in str(job.refresh().error)


def test_a_job_is_completed_once(shop: Shop, jobs: Jobs, caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    def again(raw: Any) -> Any:
        async def again_async() -> None:
            async with current_job().transaction(raw):
                raise AssertionError

        if caller.is_async:
            return again_async()
        with current_job().transaction(raw):
            raise AssertionError

    job = shop.job(after=again)

    worked(jobs)

    assert (states(job), shop.effects) == ([State.SUCCEEDED], 1)
    (error,) = errors(caplog)
    assert "has been completed by an earlier current_job().transaction()" in error


def test_blocks_are_not_nested(shop: Shop, jobs: Jobs, caller: Caller) -> None:
    def within(_: Any) -> Any:
        async def within_async() -> None:
            async with shop.connect() as raw, current_job().transaction(raw):
                raise AssertionError

        if caller.is_async:
            return within_async()
        with closing(shop.connect()) as raw, current_job().transaction(raw):
            raise AssertionError

    job = shop.job(within=within)

    worked(jobs)

    assert "is in a block of current_job().transaction() already" in str(shop.errors[0])
    assert (states(job), shop.effects) == ([State.SCHEDULED], 0)


def test_a_block_that_was_rolled_back_may_be_tried_again_at_once(shop: Shop, jobs: Jobs, caller: Caller) -> None:
    def work() -> None:
        with closing(shop.connect()) as raw:
            for value in ("1 / zero", "1"):
                try:
                    with current_job().transaction(raw):
                        raw.execute("INSERT INTO effects VALUES (1)")
                        raw.execute(f"INSERT INTO effects VALUES ({value})")
                except Exception as error:
                    shop.errors.append(error)

    async def awork() -> None:
        async with shop.connect() as raw:
            for value in ("1 / zero", "1"):
                try:
                    async with current_job().transaction(raw):
                        await raw.execute("INSERT INTO effects VALUES (1)")
                        await raw.execute(f"INSERT INTO effects VALUES ({value})")
                except Exception as error:
                    shop.errors.append(error)

    job = shop.enqueued(work, awork)

    worked(jobs)

    assert len(shop.errors) == 1
    assert (states(job), shop.effects) == ([State.SUCCEEDED], 2)


@on(PSYCOPG)
def test_postgresql_completes_no_block_in_which_a_statement_has_failed(shop: Shop, jobs: Jobs, caller: Caller) -> None:
    def work() -> None:
        with closing(shop.connect()) as raw, current_job().transaction(raw):
            raw.execute("INSERT INTO effects VALUES (1)")
            with suppress(psycopg.Error):
                raw.execute("SELECT 1 / 0")

    job = shop.enqueued(work, work)

    worked(jobs)

    assert "current transaction is aborted" in str(job.refresh().error)
    assert (states(job), shop.effects) == ([State.SCHEDULED], 0)


@on(SQLITE3, AIOSQLITE, ASYNCPG)
@pytest.mark.parametrize("how", ["COMMIT", "ROLLBACK"])
def test_a_transaction_that_its_block_has_ended_is_not_completed(how: str, shop: Shop, jobs: Jobs) -> None:
    job = shop.job(within=lambda _: how)

    worked(jobs)

    assert "was ended before its block" in str(shop.errors[0])
    assert (states(job), shop.effects) == ([State.SCHEDULED], 1 if how == "COMMIT" else 0)


@on(*[caller for caller in ALL if caller.name.startswith("sqlite3")])
def test_nor_is_one_that_sqlite3_has_begun_anew(shop: Shop, jobs: Jobs, caller: Caller) -> None:
    def work() -> None:
        with closing(shop.connect()) as raw, current_job().transaction(raw):
            raw.execute("INSERT INTO effects VALUES (1)")
            raw.commit() if caller.implicit else raw.execute("COMMIT")
            raw.execute("INSERT INTO effects VALUES (2)")

    job = shop.enqueued(work, work)

    worked(jobs)

    assert "was ended before its block" in str(job.refresh().error)
    assert (states(job), shop.effects) == ([State.SCHEDULED], 1 if caller.implicit else 2)


@on(PSYCOPG)
def test_psycopg_itself_refuses_a_commit_in_the_block(shop: Shop, jobs: Jobs, caller: Caller) -> None:
    def work() -> None:
        with closing(shop.connect()) as raw, current_job().transaction(raw):
            raw.execute("INSERT INTO effects VALUES (1)")
            raw.commit()

    job = shop.enqueued(work, work)

    worked(jobs)

    assert "forbidden within a Transaction" in str(job.refresh().error)
    assert (states(job), shop.effects) == ([State.SCHEDULED], 0)


@on(PSYCOPG)
def test_a_pipeline_is_refused(shop: Shop, jobs: Jobs, caller: Caller) -> None:
    def work() -> None:
        with closing(shop.connect()) as raw, raw.pipeline(), current_job().transaction(raw):
            raise AssertionError

    job = shop.enqueued(work, work)

    worked(jobs)

    assert "cannot begin within a pipeline" in str(job.refresh().error)


def test_a_closed_connection_is_refused(shop: Shop, jobs: Jobs, caller: Caller) -> None:
    def work() -> None:
        raw = shop.connect()
        raw.close()
        with current_job().transaction(raw):
            raise AssertionError

    async def awork() -> None:
        async with shop.connect() as raw:
            await raw.close()
            with pytest.raises(Exception, match=r"closed|no active connection"):
                async with current_job().transaction(raw):
                    raise AssertionError
            raise Declined("closed")

    job = shop.enqueued(work, awork)

    worked(jobs)

    assert "closed" in str(job.refresh().error)


@on(SQLITE3, ASYNCPG)
def test_an_error_after_the_block_is_logged_and_the_job_has_succeeded(
    shop: Shop, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Any) -> None:
        raise Declined("too late")

    job = shop.job(after=fail, max_attempts=1)

    summary = worked(jobs)

    assert (summary.succeeded, summary.failed, summary.retried) == (1, 0, 0)
    assert (states(job), job.failures, job.attempts, shop.effects) == ([State.SUCCEEDED], 0, (), 1)
    assert len(logged(caplog, "it has succeeded all the same")) == 1
    assert errors(caplog) == ["too late"]
    assert logged(caplog, "was refused") == []


@on(SQLITE3, ASYNCPG)
def test_time_that_runs_out_after_the_block_ends_the_code_and_not_the_job(
    shop: Shop, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    def linger(_: Any) -> Any:
        return asyncio.sleep(30) if shop.caller.is_async else eventually(lambda: False, within=30)

    job = shop.job(after=linger, max_run_time=timedelta(seconds=0.5))
    begun = time.monotonic()

    summary = worked(jobs)

    assert time.monotonic() - begun < patient(10)
    assert (summary.succeeded, states(job), shop.effects) == (1, [State.SUCCEEDED], 1)
    assert logged(caplog, "it has succeeded all the same")


class Ordering(Custom):
    """A job that completes itself, and fails after that."""

    def perform(self) -> str:
        with closing(sqlite3.connect(self.broken[0])) as raw, current_job().transaction(raw):
            self.called("perform")
        raise Declined("too late")


@on(SQLITE3)
def test_hooks_are_told_of_the_success_alone(shop: Shop, jobs: Jobs, calls: list[Any]) -> None:
    job = enqueue(Ordering(broken=(address(jobs.url).target,)))

    worked(jobs)

    assert [name for name, *_ in calls] == ["before", "perform", "success", "after"]
    assert states(job) == [State.SUCCEEDED]
