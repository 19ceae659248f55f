"""What a role with few rights can do, and what it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest

from belayed import Jobs
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
