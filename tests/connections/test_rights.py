"""What a role with few rights can do, and what it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest

from belayed import Jobs, Worker
from belayed.errors import StoreError
from belayed.store import schema
from tests.worker.tasks import double

ROLE = f"modest_{uuid4().hex[:8]}"
"""Roles are of the server, which other processes test on, too."""
LATEST = schema.latest("postgresql")


@pytest.fixture
def modest_url(postgres_url) -> Iterator[str]:
    """The database as a role that may make nothing in it."""
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        raw.execute(f"CREATE ROLE {ROLE} LOGIN".encode())
    yield postgres_url.replace("postgres@", f"{ROLE}@")
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(f"DROP OWNED BY {ROLE}".encode())
        raw.execute(f"DROP ROLE {ROLE}".encode())


def granted(url: str, schema: str = "public") -> None:
    with psycopg.connect(url, autocommit=True) as raw:
        for text in (
            f"GRANT USAGE ON SCHEMA {schema} TO {ROLE}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {ROLE}",
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {ROLE}",
        ):
            raw.execute(text.encode())


@pytest.mark.parametrize("name", [None, "work"])
def test_migrate_with_nothing_to_do_needs_no_right_to_make_anything(postgres_url, modest_url, name):
    with closing(Jobs(postgres_url, schema=name)) as jobs:
        jobs.migrate()
    granted(postgres_url, name or "public")

    with closing(Jobs(modest_url, schema=name)) as jobs:
        applied = jobs.migrate()
        jobs.enqueue(double.draft(1))

        assert (applied, jobs.check_schema()) == ([], LATEST)


def test_migrate_makes_tables_in_a_schema_that_is_there_without_the_right_to_make_schemas(postgres_url, modest_url):
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("CREATE SCHEMA work")
        raw.execute(f"GRANT CREATE, USAGE ON SCHEMA work TO {ROLE}".encode())

    with closing(Jobs(modest_url, schema="work")) as jobs:
        assert jobs.migrate() == [*range(1, LATEST + 1)]


def test_migrate_without_the_right_says_so(modest_url):
    with closing(Jobs(modest_url)) as jobs, pytest.raises(StoreError, match="permission denied for schema public"):
        jobs.migrate()


WHAT = {
    "enqueue": lambda jobs: jobs.enqueue(double.draft(1)),
    "enqueue_many": lambda jobs: jobs.enqueue_many([double.draft(1)] * 60),
    "aenqueue": lambda jobs: asyncio.run(closed(jobs, jobs.aenqueue(double.draft(1)))),
    "find": lambda jobs: jobs.find(),
    "cancel": lambda jobs: jobs.cancel(1),
    "acancel": lambda jobs: asyncio.run(closed(jobs, jobs.acancel(1))),
    "worker": lambda jobs: Worker(jobs).run(until_empty=True),
}


async def closed(jobs, coroutine):
    try:
        return await coroutine
    finally:
        await jobs.aclose()


@pytest.mark.parametrize("name", [None, "work"])
@pytest.mark.parametrize("what", WHAT.values(), ids=WHAT)
def test_what_a_role_lacks_is_told_with_what_gives_it_all(postgres_url, modest_url, what, name):
    with closing(Jobs(postgres_url, schema=name)) as jobs:
        jobs.migrate()
        jobs.enqueue(double.draft(1))
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(f"GRANT USAGE ON SCHEMA {name or 'public'} TO {ROLE}".encode())
        raw.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")

    with closing(Jobs(modest_url, schema=name)) as jobs:
        told = refusal(lambda: what(jobs))
        with psycopg.connect(postgres_url, autocommit=True) as raw:
            raw.execute(told.encode())
        what(jobs)


@pytest.mark.parametrize("name", [None, "work"])
@pytest.mark.parametrize("what", WHAT.values(), ids=WHAT)
def test_a_schema_that_a_role_may_not_use_is_told(postgres_url, modest_url, what, name):
    with closing(Jobs(postgres_url, schema=name)) as jobs:
        jobs.migrate()
    granted(postgres_url, name or "public")
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(f"REVOKE USAGE ON SCHEMA {name or 'public'} FROM PUBLIC, {ROLE}".encode())

    with closing(Jobs(modest_url, schema=name)) as jobs:
        told = refusal(lambda: what(jobs))

    assert told == f"GRANT USAGE ON SCHEMA {name or 'public'} TO {ROLE};"


def test_on_a_connection_of_the_caller_s_it_is_told_too(postgres_url, modest_url):
    with closing(Jobs(postgres_url)) as jobs:
        jobs.migrate()
    granted(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(f"REVOKE INSERT ON belayed_jobs FROM {ROLE}".encode())

    with closing(Jobs(modest_url)) as jobs, psycopg.connect(modest_url) as raw:
        told = refusal(lambda: jobs.enqueue(double.draft(1), connection=raw))

    assert told == f'GRANT INSERT ON TABLE "public"."belayed_jobs" TO {ROLE};'


def test_a_migration_without_the_right_says_what_gives_it(postgres_url, modest_url):
    with closing(Jobs(modest_url)) as jobs:
        assert refusal(jobs.migrate) == f"GRANT CREATE ON SCHEMA public TO {ROLE};"


def test_a_worker_logs_what_its_role_lacks(postgres_url, modest_url, caplog):
    with closing(Jobs(postgres_url)) as jobs:
        jobs.migrate()
        jobs.enqueue(double.draft(1))
    granted(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(f"REVOKE UPDATE ON belayed_jobs FROM {ROLE}".encode())

    with closing(Jobs(modest_url)) as jobs:
        Worker(jobs).run(until_empty=True)

    assert "refuses to claim job #1" in caplog.text
    assert "GRANT UPDATE ON TABLE " in caplog.text


def refusal(call) -> str:
    """The statements that an error says are to be run."""
    with pytest.raises(StoreError) as caught:
        call()
    before, found, statements = str(caught.value).partition("; let the owner of the tables run: ")
    assert found, before
    assert f"the role {ROLE} lacks rights" in before
    return statements
