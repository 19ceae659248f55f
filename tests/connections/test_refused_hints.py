"""A hint is never the reason that jobs are not saved: the NOTIFY queue is full, a role may not send, a name is long."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from belayed import Jobs, State, Worker
from belayed.connections.listening import Listener
from belayed.connections.parameters import of_url
from belayed.errors import StoreError, StoreUnavailable
from belayed.store.answers import Wanted
from belayed.store.hinting import SILENCE
from belayed.store.lanes import Serving
from belayed.store.postgresql import PostgresStore
from belayed.store.statements import Tables
from tests import servers
from tests.store.factories import again
from tests.worker.helpers import eventually
from tests.worker.tasks import double

MANY = 60
"""So many are loaded by COPY."""
BLIND = """
    CREATE SCHEMA blind;
    CREATE FUNCTION blind.pg_notification_queue_usage() RETURNS float8 LANGUAGE sql AS 'SELECT 0.0::float8';
"""
"""Lets statements take the queue for empty: as if it had filled up since they looked."""


@pytest.fixture(scope="module")
def small_server() -> Iterator[servers.PostgresServer]:
    """A server whose NOTIFY queue is soon full."""
    with tempfile.TemporaryDirectory(prefix="belayed-") as folder:
        with servers.wanted():
            server = servers.PostgresServer(Path(folder) / "postgres")
            with (server.directory / "postgresql.conf").open("a") as settings:
                settings.write("max_notify_queue_pages = 64\n")
            try:
                server.start()
            except servers.NoServer as error:
                pytest.skip(f"this server's queue cannot be made small: {error}")
        yield server
        server.destroy()


@pytest.fixture
def url(small_server) -> Iterator[str]:
    url = servers.create_database(small_server.url())
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute(BLIND.encode())
    yield url
    servers.drop_database(small_server.url(), url)


@contextmanager
def full(url: str) -> Iterator[None]:
    """A session listens and stays in a transaction: nothing that is notified since can be dropped."""
    with psycopg.connect(url, autocommit=True) as holder, psycopg.connect(url, autocommit=True) as raw:
        holder.execute("LISTEN held")
        holder.execute("BEGIN; SELECT 1")
        # To ask how full it is drops what earlier tests have left.
        raw.execute("SELECT pg_notification_queue_usage()")
        with suppress(psycopg.errors.ProgramLimitExceeded):
            for number in range(1000):
                raw.execute("SELECT pg_notify('held', repeat('x', 7900) || %s::text)", (number,))
        assert raw.execute("SELECT pg_notification_queue_usage()").fetchone()[0] > 0.95
        yield


def blinded(url: str) -> str:
    return f"{url}&options=-csearch_path%3Dblind%2Cpg_catalog%2Cpublic"


@pytest.fixture(params=["seen", "at COMMIT"])
def jobs(url, request) -> Iterator[Jobs]:
    """Jobs whose statements see that the queue is full, or hear of it only from their COMMIT."""
    jobs = Jobs(url if request.param == "seen" else blinded(url))
    jobs.migrate()
    yield jobs
    jobs.close()


def waiting(jobs: Jobs) -> int:
    return len(jobs.find(states=[State.READY, State.SCHEDULED], limit=1000))


@asynccontextmanager
async def aclosing(raw: Any) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await raw.close()


def draft(number: int) -> Any:
    return double.draft(number)


def test_jobs_are_saved_while_the_queue_is_full(jobs, url):
    with full(url):
        for options in ({}, {"queue": "b", "max_attempts": 3}, {"run_at": timedelta(minutes=1)}):
            jobs.enqueue(draft(1), **options)
            jobs.store.silent_until = 0.0
        for count in (2, MANY):
            jobs.enqueue_many([draft(n) for n in range(count)], queue=f"q{count}")
            jobs.store.silent_until = 0.0

        assert waiting(jobs) == 3 + 2 + MANY


def test_jobs_are_saved_from_an_event_loop_while_the_queue_is_full(jobs, url):
    async def enqueue() -> None:
        await jobs.aenqueue(draft(1))
        for count in (2, MANY):
            jobs.store.silent_until = 0.0
            await jobs.aenqueue_many([draft(n) for n in range(count)], queue=f"q{count}")
        await jobs.aclose()

    with full(url):
        asyncio.run(enqueue())

        assert waiting(jobs) == 1 + 2 + MANY


def test_retry_change_resume_and_give_back_work_while_the_queue_is_full(jobs, url):
    cancelled, moved, back = (jobs.enqueue(draft(n), queue=queue) for n, queue in enumerate("abc"))
    jobs.cancel(cancelled.id)
    store, perform = jobs.store, jobs.connections.perform
    (claimed,) = perform(store.turn([], Wanted("w1", 1, store.lanes(Serving(("c",)))))).claimed
    jobs.pause("a")
    with full(url):
        done = []
        for change in (
            lambda: jobs.retry(cancelled.id),
            lambda: jobs.change(moved.id, priority=7),
            lambda: jobs.resume("a"),
            lambda: perform(store.turn([again(claimed, delay=0.0)])).held,
        ):
            store.silent_until = 0.0
            done.append(change())

    assert done == [1, 1, None, {back.id}]
    assert (waiting(jobs), jobs.paused(), jobs.get(moved.id).priority) == (3, [], 7)


def test_the_caller_can_commit_while_the_queue_is_full(url):
    with closing(Jobs(url)) as jobs, psycopg.connect(url) as raw, full(url):
        jobs.migrate()
        jobs.enqueue(draft(1), connection=raw)
        jobs.enqueue_many([draft(n) for n in range(MANY)], connection=raw)
        raw.commit()

        assert waiting(jobs) == 1 + MANY


def test_the_caller_can_commit_on_asyncpg_while_the_queue_is_full(url):
    async def enqueue(jobs: Jobs) -> None:
        raw = await asyncpg.connect(url)
        async with aclosing(raw), raw.transaction():
            await jobs.aenqueue(draft(1), connection=raw)
            await jobs.aenqueue_many([draft(n) for n in range(MANY)], connection=raw)

    with closing(Jobs(url)) as jobs, full(url):
        jobs.migrate()
        asyncio.run(enqueue(jobs))

        assert waiting(jobs) == 1 + MANY


def test_on_a_connection_in_autocommit_jobs_are_saved_once_while_the_queue_is_full(jobs, url):
    with psycopg.connect(jobs.url, autocommit=True) as raw, full(url):
        jobs.enqueue(draft(1), connection=raw)
        for count in (2, MANY):
            jobs.store.silent_until = 0.0
            jobs.enqueue_many([draft(n) for n in range(count)], connection=raw)

        assert waiting(jobs) == 1 + 2 + MANY


def test_on_asyncpg_without_a_transaction_jobs_are_saved_once_while_the_queue_is_full(jobs, url):
    async def enqueue() -> None:
        raw = await asyncpg.connect(url, server_settings={"search_path": "blind,pg_catalog,public"})
        async with aclosing(raw):
            await jobs.aenqueue(draft(1), connection=raw)
            for count in (2, MANY):
                jobs.store.silent_until = 0.0
                await jobs.aenqueue_many([draft(n) for n in range(count)], connection=raw)

    with full(url):
        asyncio.run(enqueue())

        assert waiting(jobs) == 1 + 2 + MANY


def test_a_refused_hint_keeps_the_process_silent_for_a_while(url):
    with closing(Jobs(blinded(url))) as jobs, full(url):
        jobs.migrate()
        jobs.enqueue(draft(1))

        assert jobs.store.told("look") is None
    jobs.store.silent_until -= SILENCE
    assert jobs.store.told("look") == "look"


def test_a_worker_does_not_take_hints_for_proved_while_the_queue_is_half_full(url):
    listener = Listener(partial(of_url, url), "x.belayed_jobs")
    with closing(listener), full(url), pytest.raises(StoreUnavailable, match="NOTIFY queue is half full"):
        listener.echo("echo 1")


def test_a_worker_runs_jobs_while_the_queue_is_full(jobs, url):
    with full(url):
        job = jobs.enqueue(draft(21))
        Worker(jobs).run(until_empty=True)

    assert jobs.get(job.id).result == 42


@pytest.fixture
def mute_role(url, small_server) -> Iterator[str]:
    """The URL as a role that may not send hints."""
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("REVOKE EXECUTE ON FUNCTION pg_notify FROM PUBLIC")
        raw.execute("CREATE ROLE mute LOGIN")
        raw.execute("GRANT CREATE, USAGE ON SCHEMA public TO mute")
    yield url.replace("postgres@", "mute@")
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("DROP OWNED BY mute")
        raw.execute("DROP ROLE mute")


def test_a_role_that_may_not_notify_saves_jobs_all_the_same(mute_role):
    with closing(Jobs(mute_role)) as jobs:
        jobs.migrate()
        jobs.enqueue(draft(1))
        for count in (2, MANY):
            jobs.store.silent_until = 0.0
            jobs.enqueue_many([draft(n) for n in range(count)], queue=f"q{count}")

        assert waiting(jobs) == 1 + 2 + MANY


def test_a_caller_whose_role_may_not_notify_is_refused_once(mute_role):
    with closing(Jobs(mute_role)) as jobs, psycopg.connect(mute_role) as raw:
        jobs.migrate()
        with pytest.raises(StoreError, match="permission denied for function pg_notify"):
            jobs.enqueue(draft(1), connection=raw)
        raw.rollback()

        jobs.enqueue(draft(1), connection=raw)
        raw.commit()

        assert waiting(jobs) == 1


def test_without_hints_no_operation_sends_one(url):
    listener = Listener(partial(of_url, url), PostgresStore().channel)
    with closing(listener), closing(Jobs(url, hints=False)) as jobs:
        jobs.migrate()
        job = jobs.enqueue(draft(1))
        jobs.enqueue_many([draft(n) for n in range(MANY)])
        jobs.change(job.id, priority=-1)
        jobs.cancel(job.id)
        jobs.retry(job.id)
        jobs.pause("a")
        jobs.resume("a")
        store, perform = jobs.store, jobs.connections.perform
        (claimed,) = perform(store.turn([], Wanted("w1", 1, store.lanes(Serving(("*",)))))).claimed
        perform(store.turn([again(claimed, delay=0.0)]))
        with psycopg.connect(url) as raw:
            jobs.enqueue(draft(1), connection=raw)
            jobs.enqueue_many([draft(n) for n in range(MANY)], connection=raw)

        assert listener.hints() == []


@pytest.mark.parametrize(("schema", "prefix"), [("s" * 63, "belayed_"), ("é" * 31, "p" * 49), ("s" * 50, "b")])
def test_names_as_long_as_postgresql_takes_them_have_a_channel(url, schema, prefix):
    with closing(Jobs(url, schema=schema, prefix=prefix)) as jobs:
        jobs.migrate()
        listener = Listener(partial(of_url, url), jobs.store.channel)
        with closing(listener):
            jobs.enqueue(draft(1))
            listener.echo("end")

            assert listener.hints()[0] == "0 default"


def test_channels_of_long_names_are_short_and_differ():
    names = [("a" * 63, "p" * 49), ("b" * 63, "p" * 49), ("a" * 62, "p" * 49), ("a" * 63, "q" * 49)]
    channels = {PostgresStore(Tables(prefix, schema)).channel for schema, prefix in names}

    assert len(channels) == len(names)
    assert all(len(channel.encode()) <= 63 for channel in channels)


def hints_found(jobs: Jobs) -> tuple[str, str]:
    found = jobs.connections.perform(jobs.store.findings())
    return next((one.result.value, one.fix) for one in found if one.check == "hints")


def test_doctor_finds_the_session_that_fills_the_queue(url):
    with closing(Jobs(url)) as jobs:
        jobs.migrate()
        before = hints_found(jobs)
        with suppress(psycopg.OperationalError), full(url):
            result, fix = hints_found(jobs)
            with psycopg.connect(url, autocommit=True) as raw:
                raw.execute(fix.encode())
        after = eventually(lambda: hints_found(jobs) == ("ok", ""), within=30)

    assert before == ("ok", "")
    assert (result, fix.partition("(")[0]) == ("fail", "SELECT pg_terminate_backend")
    assert after
