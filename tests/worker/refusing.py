"""Makes a database refuse things, as triggers, constraints and open transactions of an application's do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg

from belayed.config import address
from belayed.jobs import Jobs
from tests.worker.helpers import execute

SQLITE = """
    CREATE TRIGGER refuses_{table}_{event} BEFORE {event} ON belayed_{table} WHEN {when}
    BEGIN SELECT RAISE(ABORT, 'no {event} here'); END
"""
POSTGRESQL = """
    CREATE FUNCTION refuses_{table}_{event}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {body}; RETURN COALESCE(NEW, OLD); END $$;
    CREATE TRIGGER refuses_{table}_{event} BEFORE {event} ON belayed_{table} FOR EACH ROW WHEN ({when})
    EXECUTE FUNCTION refuses_{table}_{event}()
"""


def refuse(jobs: Jobs, table: str, event: str, when: str = "1 = 1", *, body: str = "") -> None:
    """Have a trigger refuse this event on this table for rows of which *when* is true; *body* is what else it does."""
    lite = jobs.address.dialect == "sqlite"
    body = body or f"RAISE EXCEPTION 'no {event} here'"
    execute(jobs, (SQLITE if lite else POSTGRESQL).format(table=table, event=event, when=when, body=body))


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
