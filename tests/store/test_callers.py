"""Operations work the same on each kind of connection that an application has, and end no transaction of its own."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import aiosqlite
import asyncpg
import psycopg
import pytest

from belayed.connections import is_async, wrap
from belayed.errors import ConfigError, SchemaMissing, StoreError, StoreUnavailable
from belayed.job import State
from belayed.store import open_store
from tests.store.factories import NOON, Driven, draft, drafts, ids_of
from tests.worker.refusing import hushed, miss

KINDS = {
    "sqlite3": sqlite3.connect,
    "aiosqlite": aiosqlite.connect,
    "psycopg": psycopg.connect,
    "async psycopg": psycopg.AsyncConnection.connect,
    "asyncpg": asyncpg.connect,
}


class Caller:
    """A connection of an application's, and a store driven through it."""

    def __init__(self, kind, target, runner):
        self.runner = runner
        self.asynchronous = kind in ("aiosqlite", "async psycopg", "asyncpg")
        self.raw = self.wait(KINDS[kind](target))
        # asyncpg opens no transaction by itself.
        self.transaction = self.raw.transaction() if kind == "asyncpg" else self.raw
        if kind == "asyncpg":
            self.wait(self.transaction.start())
        self.connection = wrap(self.raw)
        self.store = Driven(open_store(self.connection.dialect), self.perform)

    def wait(self, result):
        async def waited():
            return await result

        return self.runner.run(waited()) if self.asynchronous else result

    def perform(self, steps):
        return self.wait(self.connection.perform(steps))

    def commit(self):
        self.wait(self.transaction.commit())

    def roll_back(self):
        self.wait(self.transaction.rollback())

    def close(self):
        self.wait(self.raw.close())


@pytest.fixture(params=KINDS)
def caller(request, runner):
    if "sqlite" in request.param:
        url = request.getfixturevalue("sqlite_url")
        target = url.removeprefix("sqlite:///")
    else:
        shared = request.getfixturevalue("shared_postgres")
        shared.empty()
        url = target = shared.url
    caller = Caller(request.param, target, runner)
    caller.url = url
    yield caller
    caller.close()


@pytest.fixture
def url(caller):
    return caller.url


@pytest.fixture
def others(stores):
    """The store as another process sees it."""
    return stores()


@pytest.mark.parametrize("number", [1, 3, 60])
def test_what_is_passed_over_is_an_error_and_leaves_no_job_in_the_transaction(caller, others, number):
    several = [*drafts(number - 1), draft(queue="bad")]

    with hushed(caller.url, "jobs", "INSERT", "NEW.queue = 'bad'"):
        with pytest.raises(StoreError, match="not saved"):
            caller.store.insert(several[0]) if number == 1 else caller.store.insert_many(several)
        caller.store.insert(draft(queue="good"))
        caller.commit()

    assert [job.queue for job in others.find({})] == ["good"]


@pytest.mark.parametrize("number", [1, 60])
def test_a_table_that_a_trigger_misses_is_not_taken_for_one_of_belayed_s(caller, number):
    with hushed(caller.url, "jobs", "INSERT", "NEW.queue = 'bad'", by=miss):
        with pytest.raises(StoreError, match="audit") as caught:
            caller.store.insert_many(drafts(number, queue="bad"))
        caller.roll_back()

    assert not isinstance(caught.value, SchemaMissing)


def test_a_connection_is_known_as_what_it_is(caller):
    assert is_async(caller.connection) is caller.asynchronous


class Traced:
    """What tracers put in the place of a connection: wrapt's ObjectProxy."""

    def __init__(self, connection):
        self.__wrapped__ = connection

    @property
    def __class__(self):
        return self.__wrapped__.__class__

    def __getattr__(self, name):
        return getattr(self.__wrapped__, name)


class OfPool:
    """What SQLAlchemy's pools hand out."""

    def __init__(self, connection):
        self.dbapi_connection = connection

    def __getattr__(self, name):
        return getattr(self.dbapi_connection, name)


@pytest.mark.parametrize("proxy", [Traced, OfPool, lambda raw: Traced(OfPool(raw)), lambda raw: OfPool(Traced(raw))])
def test_a_connection_in_a_proxy_is_that_connection(proxy, caller, others):
    caller.connection = wrap(proxy(caller.raw))
    job = caller.store.insert(draft())
    unseen = others.find({})
    caller.commit()

    assert is_async(caller.connection) is caller.asynchronous
    assert (unseen, ids_of(others.find({}))) == ([], [job.id])


@pytest.mark.parametrize("proxy", [Traced, OfPool])
def test_a_proxy_of_what_is_no_connection_is_refused(proxy):
    with pytest.raises(ConfigError, match="it takes a connection of sqlite3, aiosqlite, psycopg or asyncpg"):
        wrap(proxy(None))


@pytest.mark.parametrize("number", [1, 3, 49, 50, 130])
def test_jobs_are_inserted_with_all_their_columns(caller, others, number):
    given = {
        "queue": "é 📬",
        "priority": -3,
        "run_at": timedelta(hours=1),
        "max_attempts": 2,
        "max_run_time": timedelta(seconds=1.5),
        "keep_failed": True,
        "meta": {"n": 1},
    }

    made = [caller.store.insert(draft(**given))] if number == 1 else caller.store.insert_many(drafts(number, **given))
    unseen = others.find({}, count=200)
    caller.commit()

    found = others.find({}, count=200)
    assert unseen == []
    assert ids_of(made) == ids_of(found)[::-1] == sorted(ids_of(made))
    assert {(job.state, job.run_at, job.created_at) for job in made} == {
        (State.SCHEDULED, NOON + timedelta(hours=1), NOON)
    }
    assert {name: getattr(found[0], name) for name in given} == {**given, "run_at": NOON + timedelta(hours=1)}
    assert len(found) == number


@pytest.mark.parametrize("number", [1, 3, 60])
def test_a_connection_that_is_closed_is_not_available(caller, number):
    caller.close()

    with pytest.raises(StoreUnavailable, match=r"closed|no active connection"):
        caller.store.insert_many(drafts(number))
    with pytest.raises(StoreUnavailable, match=r"closed|no active connection"):
        caller.wait(caller.connection.begin())


@pytest.mark.parametrize("number", [1, 3, 60])
def test_jobs_rolled_back_never_were(caller, others, number):
    if number == 1:
        caller.store.insert(draft())
    else:
        caller.store.insert_many(drafts(number))

    caller.roll_back()

    assert others.find({}) == []


def test_jobs_are_inserted_at_the_time_of_the_database(caller, others):
    before = others.now()
    caller.store.time = None
    made = [caller.store.insert(draft()), *caller.store.insert_many(drafts(60))]
    caller.commit()

    assert {job.state for job in made} == {State.READY}
    assert all(before <= job.created_at <= others.now() for job in made)


def test_a_job_is_read_within_the_transaction(caller, others):
    made = caller.store.insert(draft(queue="mine"))

    job, attempts = caller.store.get(made.id)
    found = caller.store.find({"queues": ["mine"], "states": [State.READY], "created_before": NOON + timedelta(1)})

    assert (job.id, job.queue, job.run_at, attempts) == (made.id, "mine", NOON, [])
    assert ids_of(found) == [made.id]
    assert others.get(made.id) is None


def test_jobs_are_cancelled_with_the_transaction(caller, others):
    others.added(2, priority=1)
    (claim,) = others.claimed(1)
    (waiting,) = ids_of(others.find({"states": [State.READY]}))

    cancelled = caller.store.cancel([claim.id, waiting])
    unseen = others.state(waiting)
    caller.commit()

    assert sorted(cancelled) == sorted([claim.id, waiting])
    assert unseen is State.READY
    assert others.state(waiting) is State.CANCELLED
    assert others.job(claim.id).cancel_requested


def test_a_cancel_is_rolled_back_too(caller, others):
    (waiting,) = others.added()
    caller.store.cancel([waiting])

    caller.roll_back()

    assert others.state(waiting) is State.READY


def test_jobs_are_changed_retried_and_deleted_with_the_transaction(caller, others):
    changed, retried, deleted = others.added(3, run_at=timedelta(hours=1))

    caller.store.change([changed], delay=7200.0, priority=3)
    caller.store.retry([retried])
    caller.store.delete([deleted])
    caller.commit()

    assert others.job(changed).run_at == NOON + timedelta(hours=2)
    assert others.state(retried) is State.READY
    assert others.state(deleted) is None
