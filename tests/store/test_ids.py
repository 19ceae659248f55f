"""SQLite: no id is given twice, whatever else the application's connection has, and whoever sets counters back."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import aiosqlite
import pytest

from belayed import Jobs, State, task
from belayed.errors import IdsExhausted

SIZES = (1, 3, 60)
"""Of a batch: one, by JSON, and by a bulk load."""
LAST = 2**63 - 1


@task(name="ids.nothing")
def nothing() -> None: ...


@pytest.fixture
def jobs(tmp_path) -> Iterator[Jobs]:
    with closing(Jobs(f"sqlite:///{tmp_path / 'jobs.db'}")) as jobs:
        jobs.migrate()
        yield jobs


@pytest.fixture
def raw(jobs) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(jobs.address.target)) as raw:
        yield raw


def ended(jobs: Jobs, count: int) -> list[int]:
    """Ids in the history."""
    ids = [job.id for job in jobs.enqueue_many([nothing.draft() for _ in range(count)])]
    jobs.cancel(*ids)
    return ids


def enqueued(jobs: Jobs, raw: Any, count: int) -> list[int]:
    """The ids of jobs that were saved in the application's transaction."""
    if count == 1:
        found = [jobs.enqueue(nothing.using(connection=raw).draft())]
    else:
        found = jobs.enqueue_many([nothing.using(connection=raw).draft() for _ in range(count)])
    if raw is not None:
        raw.commit()
    return [job.id for job in found]


def shadows(raw: sqlite3.Connection) -> None:
    """Temporary tables of the names of ours, one of which has a counter of its own."""
    raw.executescript(
        "CREATE TEMP TABLE belayed_jobs (id integer PRIMARY KEY AUTOINCREMENT, state text, queue text, priority integer"
        ", run_at integer, task text, payload text, created_at integer, max_attempts integer, max_run_time real,"
        " keep_failed integer, meta text);"
        "CREATE TEMP TABLE belayed_history (id integer PRIMARY KEY, state text);"
    )


def views(raw: sqlite3.Connection) -> None:
    raw.executescript(
        "CREATE TEMP VIEW belayed_jobs AS SELECT 1 AS id; CREATE TEMP VIEW belayed_history AS SELECT 1 AS id;"
    )


def counters(raw: sqlite3.Connection) -> None:
    """A temporary table with AUTOINCREMENT, which brings a `sqlite_sequence` of its own."""
    raw.executescript("CREATE TEMP TABLE mine (id integer PRIMARY KEY AUTOINCREMENT)")


def attached(raw: sqlite3.Connection) -> None:
    raw.executescript(
        "ATTACH ':memory:' AS other;"
        "CREATE TABLE other.belayed_jobs (id integer PRIMARY KEY AUTOINCREMENT);"
        "CREATE TABLE other.belayed_history (id integer PRIMARY KEY)"
    )


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("prepare", [shadows, views, counters, attached])
def test_jobs_go_into_our_tables_whatever_else_the_connection_has(jobs, raw, prepare, count):
    old = ended(jobs, 100)
    prepare(raw)

    ids = enqueued(jobs, raw, count)

    assert ids == list(range(101, 101 + count))
    assert sorted(job.id for job in jobs.find(states=[State.READY])) == ids
    assert {job.id for job in jobs.find(states=[State.CANCELLED], limit=200)} == set(old)


SET_BACK = [
    "DELETE FROM sqlite_sequence",
    "UPDATE sqlite_sequence SET seq = 0",
    "UPDATE sqlite_sequence SET seq = 50",
    "UPDATE sqlite_sequence SET seq = -5",
]


@pytest.mark.parametrize("given", [True, False], ids=["callers", "ours"])
@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("text", SET_BACK)
def test_a_counter_that_was_set_back_gives_no_id_again(jobs, raw, text, count, given):
    old = ended(jobs, 100)
    raw.execute(text)
    raw.commit()

    first = enqueued(jobs, raw if given else None, count)
    second = enqueued(jobs, raw if given else None, count)

    assert first + second == list(range(101, 101 + 2 * count))
    assert {job.id for job in jobs.find(states=[State.CANCELLED], limit=200)} == set(old)


@pytest.mark.parametrize("count", SIZES)
def test_live_jobs_that_are_ahead_of_the_history_and_the_counter_count_too(jobs, raw, count):
    ended(jobs, 10)
    live = enqueued(jobs, None, 5)
    raw.execute("DELETE FROM sqlite_sequence")
    raw.commit()

    ids = enqueued(jobs, raw, count)

    assert ids == list(range(live[-1] + 1, live[-1] + 1 + count))


@pytest.mark.parametrize("count", SIZES)
def test_history_with_the_last_id_keeps_nobody_from_enqueueing(jobs, raw, count):
    ended(jobs, 10)
    raw.execute("UPDATE belayed_history SET id = ? WHERE id = 10", [LAST])
    raw.commit()

    assert enqueued(jobs, raw, count) == list(range(11, 11 + count))


@pytest.mark.parametrize("count", SIZES)
def test_where_no_id_is_left_the_error_says_so(jobs, raw, count):
    enqueued(jobs, None, 1)
    raw.execute("UPDATE belayed_jobs SET id = ?", [LAST])
    raw.execute("UPDATE sqlite_sequence SET seq = ?", [LAST])
    raw.commit()

    for connection in (None, raw):
        with pytest.raises(IdsExhausted, match="belayed doctor"):
            enqueued(jobs, connection, count)
    raw.rollback()


@pytest.mark.parametrize("count", [1, 60])
def test_the_same_with_aiosqlite(jobs, count):
    async def enqueue(connection: Any) -> list[int]:
        found = await jobs.aenqueue_many([nothing.using(connection=connection).draft() for _ in range(count)])
        await connection.commit()
        return [job.id for job in found]

    async def all() -> list[int]:
        async with aiosqlite.connect(jobs.address.target) as connection:
            await connection.execute("CREATE TEMP TABLE mine (id integer PRIMARY KEY AUTOINCREMENT)")
            ids = await enqueue(connection)
            await connection.execute("UPDATE main.sqlite_sequence SET seq = ?", [LAST])
            await connection.commit()
            with pytest.raises(IdsExhausted):
                await enqueue(connection)
        return ids

    ended(jobs, 10)

    assert asyncio.run(all()) == list(range(11, 11 + count))
