"""A job's own transaction commits what the job has done together with its completion, or neither."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from belayed import State, current_job
from belayed.errors import ClaimLost, ResultUnavailable, StoreError, StoreUnavailable
from belayed.jobs import Jobs
from belayed.store.answers import PASSED_OVER
from tests.patience import patient
from tests.worker.callers import AIOSQLITE, ALL, ASYNC_PSYCOPG, ASYNCPG, EACH, PSYCOPG, SQLITE3, Caller, Shop
from tests.worker.cut import cut_at_commit
from tests.worker.helpers import due, ended, eventually, execute, logged, states, worked, worker
from tests.worker.refusing import allow, hush
from tests.worker.tasks import Declined, bodies, double

ON_POSTGRES = [PSYCOPG, ASYNC_PSYCOPG, ASYNCPG]
GIVEN_BACK = (
    "UPDATE belayed_jobs SET state = 'ready', queue = '{queue}', worker = NULL, token = NULL, claimed_at = NULL"
)
"""What a rescue does to a job; in another queue, so that it is another worker that takes it."""
ENDS_SESSION = """
    CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER ends AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION ends()
"""


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


each_mode = pytest.mark.parametrize("caller", ALL, ids=lambda caller: caller.name)
on_postgres = pytest.mark.parametrize("caller", ON_POSTGRES, ids=lambda caller: caller.name)
on_one_of_each = pytest.mark.parametrize("caller", [SQLITE3, ASYNCPG], ids=lambda caller: caller.name)


@each_mode
def test_what_a_job_did_and_its_completion_appear_together(
    shop: Shop, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[int, State]] = []

    def look(_: Any) -> None:
        seen.append((shop.effects, jobs.get(job.id).state))

    job = shop.job(within=look, after=look)

    summary = worked(jobs)

    assert seen == [(0, State.RUNNING), (1, State.SUCCEEDED)]
    assert states(job) == [State.SUCCEEDED]
    assert (summary.succeeded, job.attempt, job.failures, job.attempts) == (1, 1, 0, ())
    assert job.run_time is not None
    assert logged(caplog, "refused") == []


@each_mode
def test_a_block_that_raises_leaves_nothing_and_the_job_is_tried_again(shop: Shop, jobs: Jobs) -> None:
    def fail_once(_: Any) -> None:
        if current_job().attempt == 1:
            raise Declined("no")

    job = shop.job(within=fail_once)
    worked(jobs)
    first = states(job), job.failures, shop.effects
    due(job)

    worked(jobs)

    assert first == ([State.SCHEDULED], 1, 0)
    assert isinstance(shop.errors[0], Declined)
    assert (states(job), shop.effects, job.attempt) == ([State.SUCCEEDED], 1, 2)


def test_a_completion_that_is_passed_over_leaves_nothing_and_is_no_lost_claim(shop: Shop, jobs: Jobs) -> None:
    hush(jobs, "jobs", "DELETE")
    job = shop.job()
    worked(jobs)
    first = states(job), job.failures, shop.effects
    allow(jobs, "jobs", "DELETE")
    due(job)

    worked(jobs)

    assert first == ([State.SCHEDULED], 1, 0)
    assert PASSED_OVER in str(shop.errors[0])
    assert isinstance(shop.errors[0], StoreError)
    assert (states(job), shop.effects) == ([State.SUCCEEDED], 1)


@each_mode
def test_after_the_block_the_connection_commits_as_it_did_before(shop: Shop, jobs: Jobs, caller: Caller) -> None:
    job = shop.job(after=lambda _: "INSERT INTO effects VALUES (2)")

    worked(jobs)

    # The job commits nothing itself.
    assert (states(job), shop.effects) == ([State.SUCCEEDED], 1 if caller.implicit else 2)


def test_a_job_that_was_given_back_before_its_block_loses_to_the_other_run(shop: Shop, jobs: Jobs) -> None:
    begun = threading.Event()

    def wait_for_the_other(_: Any) -> None:
        if not begun.is_set():
            begun.set()
            eventually(lambda: jobs.get(job.id).ended)

    def say_which(completion: Any) -> None:
        completion.result = jobs.get(job.id).queue

    job = shop.job(before=wait_for_the_other, within=say_which, queue="first")
    often = timedelta(seconds=0.2)
    with worker(jobs, queues=("first",)), worker(jobs, queues=("second",), poll_interval=often):
        begun.wait(patient(10))
        execute(jobs, GIVEN_BACK.format(queue="second"))

        eventually(lambda: shop.errors)

    assert [type(error) for error in shop.errors] == [ClaimLost]
    assert (states(job), job.result, job.attempt, shop.effects) == ([State.SUCCEEDED], "second", 1, 1)


@on_postgres
def test_a_job_that_is_given_back_within_its_block_is_rolled_back(shop: Shop, jobs: Jobs) -> None:
    job = shop.job(within=lambda _: execute(jobs, GIVEN_BACK.format(queue="nobodys")) and None)

    worked(jobs, queues=("default",))

    assert [type(error) for error in shop.errors] == [ClaimLost]
    assert f"<Job {job.id} tests.worker.tasks." in str(shop.errors[0])
    assert (states(job), job.attempt, shop.effects) == ([State.READY], 0, 0)


@on_postgres
def test_a_job_that_is_cancelled_within_its_block_is_rolled_back(shop: Shop, jobs: Jobs) -> None:
    begun = threading.Event()

    def wait(_: Any) -> Any:
        begun.set()
        return asyncio.sleep(30) if shop.caller.is_async else eventually(lambda: False, within=30)

    job = shop.job(within=wait)
    with worker(jobs):
        begun.wait(patient(10))
        job.cancel()

        eventually(lambda: ended(job))

    assert (states(job), shop.effects) == ([State.CANCELLED], 0)


def test_a_cancel_that_nobody_has_seen_yet_comes_too_late(shop: Shop, jobs: Jobs) -> None:
    def cancel(_: Any) -> None:
        # After the first beat; the next one is far off.
        eventually(jobs.workers)
        assert job.cancel()

    job = shop.job(before=cancel)

    worked(jobs, beat=timedelta(seconds=10), lapse=timedelta(seconds=60))

    assert (states(job), shop.effects) == ([State.SUCCEEDED], 1)


def test_the_result_is_what_the_block_sets(shop: Shop, jobs: Jobs) -> None:
    def set_result(completion: Any) -> None:
        completion.result = {"orders": (1, 2)}

    job = shop.job(within=set_result)

    worked(jobs)

    assert job.refresh().result == {"orders": (1, 2)}


@on_one_of_each
def test_what_the_job_returns_is_no_result(shop: Shop, jobs: Jobs) -> None:
    job = shop.job()

    worked(jobs)

    assert job.refresh().result is None


@on_one_of_each
def test_a_result_that_cannot_be_stored_fails_nothing(shop: Shop, jobs: Jobs) -> None:
    def set_result(completion: Any) -> None:
        completion.result = object()

    job = shop.job(within=set_result)

    worked(jobs)

    assert (states(job), shop.effects) == ([State.SUCCEEDED], 1)
    with pytest.raises(ResultUnavailable, match=r"builtins\.object"):
        _ = job.result


def test_a_job_that_is_not_kept_leaves_its_effects_only(url: str, opened: Callable[..., Jobs], caller: Caller) -> None:
    jobs = opened(url, keep_succeeded=False)
    shop = Shop(jobs, caller)
    shop.job(within=lambda _: execute(jobs, "SELECT 1") and None)

    summary = worked(jobs)

    assert (summary.succeeded, shop.effects, jobs.find()) == (1, 1, [])


def test_a_job_enqueued_within_the_block_joins_it(shop: Shop, jobs: Jobs, caller: Caller) -> None:
    def work() -> None:
        with closing(connect()) as raw, current_job().transaction(raw) as completion:
            completion.result = double.using(connection=raw).enqueue(21).id
            unseen.append(len(jobs.find()))

    async def awork() -> None:
        async with connect() as raw, current_job().transaction(raw) as completion:
            completion.result = (await double.using(connection=raw).aenqueue(21)).id
            unseen.append(len(jobs.find()))

    unseen: list[int] = []
    connect = shop.connect
    job = shop.enqueued(work, awork)

    worked(jobs)

    assert unseen == [1]
    assert jobs.get(job.refresh().result).result == 42


@on_one_of_each
def test_the_worker_is_told_of_the_completion_at_once_in_the_jobs_thread(shop: Shop, jobs: Jobs) -> None:
    told: list[Any] = []

    def tell(run: Any) -> None:
        told.append((run.completed.written, run.completed.id, jobs.get(job.id).state, threading.get_ident()))

    def ask(_: Any) -> None:
        current_job().running.on_completed = tell
        told.append(threading.get_ident())

    job = shop.job(before=ask)

    worked(jobs)

    assert told[1:] == [(True, job.id, State.SUCCEEDED, told[0])]


@on_postgres
def test_a_commit_that_gets_no_answer_and_took_no_place_is_tried_again(shop: Shop, jobs: Jobs) -> None:
    execute(jobs, ENDS_SESSION)
    job = shop.job()

    worked(jobs)

    (error,) = shop.errors
    assert isinstance(error, StoreUnavailable)
    assert error.uncertain
    assert (states(job), job.failures, shop.effects) == ([State.SCHEDULED], 1, 0)


@on_postgres
def test_a_commit_whose_answer_is_lost_counts(shop: Shop, jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    with cut_at_commit(jobs.url) as url:
        job = shop.job(url=url)

        worked(jobs)

    (error,) = shop.errors
    assert isinstance(error, StoreUnavailable)
    assert error.uncertain
    assert (states(job), job.failures, shop.effects) == ([State.SUCCEEDED], 0, 1)
    assert logged(caplog, f"#{job.id} had succeeded, in its own transaction")


@on_postgres
def test_a_commit_that_the_database_refuses_leaves_nothing(shop: Shop, jobs: Jobs) -> None:
    execute(jobs, "ALTER TABLE effects ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED")
    job = shop.job(within=lambda _: "INSERT INTO effects VALUES (1)")

    worked(jobs)

    (error,) = shop.errors
    assert type(error) is StoreError
    assert "duplicate key" in str(error.__cause__)
    assert (states(job), shop.effects) == ([State.SCHEDULED], 0)


@pytest.mark.parametrize("caller", [SQLITE3, AIOSQLITE], ids=lambda caller: caller.name)
def test_a_commit_that_sqlite_refuses_leaves_nothing(shop: Shop, jobs: Jobs) -> None:
    execute(jobs, "CREATE TABLE orders (id integer PRIMARY KEY)")
    execute(jobs, "CREATE TABLE lines (o integer REFERENCES orders DEFERRABLE INITIALLY DEFERRED)")
    job = shop.job(before=lambda _: "PRAGMA foreign_keys = ON", within=lambda _: "INSERT INTO lines VALUES (7)")

    worked(jobs)

    (error,) = shop.errors
    assert "FOREIGN KEY constraint failed" in str(error)
    assert (states(job), shop.effects) == ([State.SCHEDULED], 0)
