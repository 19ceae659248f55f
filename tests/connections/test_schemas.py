"""Which tables a job goes to, whatever the search path of the application's connection: those that workers look at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import asyncpg
import psycopg
import pytest

from belayed import Jobs, State, Worker
from belayed.claim import Running
from belayed.config import address
from belayed.connections import Connections
from belayed.errors import SchemaMissing, StoreUnavailable
from belayed.store import open_store
from belayed.store.answers import Wanted
from belayed.store.lanes import Serving
from tests.worker.tasks import double

MANY = 60
"""So many are loaded by COPY."""
PATHS = ["tenant, public", "public, tenant", "tenant", "nowhere", "pg_temp, tenant", "''"]


@pytest.fixture
def jobs(postgres_url) -> Iterator[Jobs]:
    """Jobs in the default schema; a tenant's schema has a copy of the tables, as when all is migrated there, too."""
    for schema in ("tenant", None):
        with closing(Jobs(postgres_url, schema=schema)) as made:
            made.migrate()
    jobs = Jobs(postgres_url)
    yield jobs
    jobs.close()


def count(jobs: Jobs) -> int:
    return sum(one.jobs for one in jobs.counts().live)


@pytest.mark.parametrize("path", PATHS)
def test_a_job_does_not_follow_the_callers_search_path(jobs, postgres_url, path):
    with psycopg.connect(postgres_url) as raw:
        raw.execute(f"SET search_path = {path}".encode())
        jobs.enqueue(double.draft(1), connection=raw)
        jobs.enqueue_many([double.draft(n) for n in range(2)], connection=raw)
        jobs.enqueue_many([double.draft(n) for n in range(MANY)], connection=raw)
        raw.commit()

    assert count(jobs) == 3 + MANY


def test_a_temporary_table_of_the_same_name_takes_no_job(jobs, postgres_url):
    with psycopg.connect(postgres_url) as raw:
        raw.execute("CREATE TEMPORARY TABLE belayed_jobs (LIKE public.belayed_jobs INCLUDING ALL)")
        jobs.enqueue(double.draft(1), connection=raw)
        raw.commit()

    assert count(jobs) == 1


@pytest.mark.parametrize("path", ["tenant", "''"])
def test_async_connections_do_not_follow_it_either(jobs, postgres_url, path):
    async def run() -> None:
        for raw in (await asyncpg.connect(postgres_url), await psycopg.AsyncConnection.connect(postgres_url)):
            try:
                await raw.execute(f"SET search_path = {path}")
                await jobs.aenqueue(double.draft(1), connection=raw)
                await jobs.aenqueue_many([double.draft(n) for n in range(MANY)], connection=raw)
                if isinstance(raw, psycopg.AsyncConnection):
                    await raw.commit()
            finally:
                await raw.close()

    asyncio.run(run())

    assert count(jobs) == 2 + 2 * MANY


def test_workers_run_and_hear_of_what_is_pinned(jobs, postgres_url):
    with psycopg.connect(postgres_url) as raw:
        raw.execute("SET search_path = tenant")
        job = jobs.enqueue(double.draft(21), connection=raw)
        raw.commit()
    with closing(Jobs(postgres_url)) as others:
        Worker(others).run(until_empty=True)

    assert jobs.get(job.id).result == 42
    assert jobs.store.channel == open_store("postgresql").channel


def test_a_job_completes_itself_on_a_connection_with_any_search_path(jobs, postgres_url):
    job = jobs.enqueue(double.draft(1))
    store = jobs.store
    (claimed,) = jobs.connections.perform(store.turn([], Wanted("w", 1, store.lanes(Serving(("*",)))))).claimed
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("SET search_path = tenant")
        with jobs.transaction_of(Running(claimed, job), raw):
            raw.execute("SELECT 1")

    assert jobs.get(job.id).state is State.SUCCEEDED


def test_tables_that_only_the_callers_search_path_finds_are_not_ours(postgres_url):
    with closing(Jobs(postgres_url, schema="tenant")) as made:
        made.migrate()
    with closing(Jobs(postgres_url)) as jobs, psycopg.connect(postgres_url) as raw:
        raw.execute("SET search_path = tenant")
        with pytest.raises(SchemaMissing, match=r"run `belayed migrate`, or name their schema \(BELAYED_SCHEMA\)"):
            jobs.enqueue(double.draft(1), connection=raw)
        raw.commit()
        jobs.migrate()

        jobs.enqueue(double.draft(1), connection=raw)
        raw.commit()

        assert count(jobs) == 1


def test_where_the_tables_are_is_asked_once(jobs, postgres_url, monkeypatch):
    opened: list[Any] = []
    monkeypatch.setattr(Connections, "open", lambda self, was=Connections.open: opened.append(self) or was(self))
    with psycopg.connect(postgres_url) as raw:
        for _ in range(3):
            jobs.enqueue(double.draft(1), connection=raw)

    assert len(opened) == 1


def test_a_schema_that_is_named_asks_nothing(postgres_url):
    with closing(Jobs(postgres_url, schema="public")) as jobs:
        jobs.migrate()
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with psycopg.connect(postgres_url) as raw, closing(Jobs(nowhere, schema="public")) as jobs:
        assert jobs.enqueue(double.draft(1), connection=raw).id == 1
    with closing(Jobs(nowhere)) as jobs, psycopg.connect(postgres_url) as raw, pytest.raises(StoreUnavailable):
        jobs.enqueue(double.draft(1), connection=raw)


def test_on_sqlite_there_are_no_schemas(sqlite_path):
    with closing(Jobs(f"sqlite:///{sqlite_path}", schema="tenant")) as jobs:
        assert address(jobs.url).dialect == "sqlite"
        assert jobs.enqueue(double.draft(1)).id == 1
