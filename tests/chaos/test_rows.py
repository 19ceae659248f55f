"""The rows that a chaos run writes by hand: each is let in, or refused by the database for what is odd in it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from belayed import State, task
from belayed.jobs import Jobs
from tests.chaos.rows import LATER, ODD, SUSPECT, Odd, assignment, odd_of

REFUSALS = (sqlite3.IntegrityError, psycopg.IntegrityError, psycopg.DataError)


@task
def target(key: str, seconds: float) -> None:
    """The row that is written to."""


@pytest.fixture
def jobs(url: str) -> Iterator[Jobs]:
    with closing(Jobs(url, synchronous="normal")) as jobs:
        jobs.migrate()
        yield jobs


def written(raw: Any, jobs: Jobs, odd: Odd) -> int | None:
    """The id of a job with an odd row; None: the database has refused it."""
    id = jobs.enqueue_many([target.using(run_at=LATER).draft("k", 0.0)])[0].id
    try:
        cursor = raw.execute(*assignment(odd, jobs.address.dialect, id))
    except REFUSALS:
        return None
    assert cursor.rowcount == 1
    return id


def opened(jobs: Jobs) -> Any:
    if jobs.address.dialect == "sqlite":
        return sqlite3.connect(jobs.address.target, isolation_level=None)
    return psycopg.connect(jobs.address.target, autocommit=True)


def test_each_odd_row_is_let_in_or_refused_for_what_is_odd_in_it(jobs: Jobs) -> None:
    tried = [odd for odd in ODD if odd.dialect in ("", jobs.address.dialect)]

    with closing(opened(jobs)) as raw:
        found = {odd.name: written(raw, jobs, odd) for odd in tried}

    assert len(found) == len(tried)
    assert all(found[odd.name] for odd in tried if odd.name.startswith("payload: "))
    assert found["two foreign crashes"]


def test_a_suspect_of_a_chaos_run_is_ready_and_due(jobs: Jobs) -> None:
    with closing(opened(jobs)) as raw:
        id = written(raw, jobs, SUSPECT)
        (suspect,) = raw.execute(f"SELECT suspect FROM belayed_jobs WHERE id = {id}").fetchone()

    assert id is not None
    assert suspect
    assert jobs.get(id).state is State.READY


def test_rows_of_one_database_are_tried_there_alone() -> None:
    rng = random.Random(1)

    chosen = {odd_of("sqlite", rng).dialect for _ in range(500)}

    assert chosen == {"", "sqlite"}
