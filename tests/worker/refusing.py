"""Makes a database refuse things, as triggers, constraints and open transactions of an application's do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import psycopg

from belayed.config import address
from belayed.jobs import Jobs
from tests.worker.helpers import execute

SQLITE = """
    CREATE TRIGGER refuses_{table}_{event} BEFORE {event} ON belayed_{table} WHEN {when}
    BEGIN {body}; END
"""
POSTGRESQL = """
    CREATE OR REPLACE FUNCTION refuses_{table}_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {body}; RETURN COALESCE(NEW, OLD); END $$;
    CREATE TRIGGER refuses_{table}_{event} BEFORE {event} ON belayed_{table} FOR EACH ROW WHEN ({when})
    EXECUTE FUNCTION refuses_{table}_{event}()
"""


def refuse(jobs: Jobs, table: str, event: str, when: str = "1 = 1", *, body: str = "") -> None:
    """Have a trigger refuse this event on this table for rows of which *when* is true; *body* is what else it does."""
    lite = jobs.address.dialect == "sqlite"
    text, refusal = (SQLITE, "SELECT RAISE(ABORT, '{}')") if lite else (POSTGRESQL, "RAISE EXCEPTION '{}'")
    body = body or refusal.format(f"no {event} here")
    execute(jobs, text.format(table=table, event=event, when=when, body=body))


def miss(jobs: Jobs, table: str, event: str, when: str = "1 = 1") -> None:
    """Have a trigger fail at such rows, as it writes to a table that is not there."""
    refuse(jobs, table, event, when, body="INSERT INTO audit VALUES (1)")


def hush(jobs: Jobs, table: str, event: str, when: str = "1 = 1") -> None:
    """Have a trigger pass over such rows, and raise no error."""
    lite = jobs.address.dialect == "sqlite"
    refuse(jobs, table, event, when, body="SELECT RAISE(IGNORE)" if lite else "RETURN NULL")


@contextlib.contextmanager
def hushed(
    url: str, table: str, event: str, when: str = "1 = 1", *, by: Callable[[Jobs, str, str, str], None] = hush
) -> Iterator[None]:
    """Have a trigger pass over such rows for a while, in a database that is shared with other tests.

    Or refuse them, *by* another of these functions.
    """
    jobs = Jobs(url)
    by(jobs, table, event, when)
    try:
        yield
    finally:
        allow(jobs, table, event)
        jobs.close()


def allow(jobs: Jobs, table: str, event: str) -> None:
    """Drop that trigger."""
    on = "" if jobs.address.dialect == "sqlite" else f"ON belayed_{table}"
    execute(jobs, f"DROP TRIGGER refuses_{table}_{event} {on}")


@contextlib.contextmanager
def locked(jobs: Jobs, *ids: int) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Keep the rows of these jobs locked in a transaction that stays open."""
    with psycopg.connect(address(jobs.url).target) as raw:
        raw.execute("SELECT id FROM belayed_jobs WHERE id = ANY (%s) FOR UPDATE", (list(ids),))
        yield raw
        raw.rollback()
