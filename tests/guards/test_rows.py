"""How many rows a job's life writes and reads: the same few for each, and no table is read through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from belayed import Worker
from tests.store.factories import again, failed, worker
from tests.worker.helpers import eventually
from tests.worker.tasks import double

NUMBER = 2000
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
STATISTICS = """
    SELECT relname, n_tup_ins, n_tup_upd, n_tup_del, n_tup_hot_upd, COALESCE(idx_tup_fetch, 0), seq_tup_read
    FROM pg_stat_user_tables
"""


class Rows(NamedTuple):
    """What a table of PostgreSQL has been through."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    in_place: int = 0
    """Of the updates, those that touched no index."""
    looked_up: int = 0
    read_through: int = 0
    """Rows that came of reading the table from its start."""

    @property
    def written(self) -> tuple[int, int, int]:
        return self[:3]


@pytest.fixture
def touched(postgres_url: str) -> Iterator[Callable[[Any], dict[str, Rows]]]:
    """What the tables of the jobs given have been through since the last time; it closes their connections."""
    with psycopg.connect(postgres_url, autocommit=True) as own:
        before: dict[str, Rows] = {}

        def touched(jobs: Any) -> dict[str, Rows]:
            jobs.close()
            # A session hands in what it has counted before it is gone.
            eventually(lambda: own.execute(OTHERS).fetchone() == (0,))
            now = {name.removeprefix("belayed_"): Rows(*counts) for name, *counts in own.execute(STATISTICS)}
            rows = {name: Rows(*map(int.__sub__, now[name], before.get(name, Rows()))) for name in now}
            before.update(now)
            return rows

        yield touched


@pytest.fixture
def postgres(touched: Any, jobs: Any, url: str, postgres_url: str) -> Any:
    """Jobs in PostgreSQL, whose tables nobody vacuums or analyzes meanwhile."""
    with psycopg.connect(postgres_url, autocommit=True) as own:
        for table in ("jobs", "history", "attempts", "workers"):
            own.execute(f"ALTER TABLE belayed_{table} SET (autovacuum_enabled = false)".encode())
    touched(jobs)
    return jobs


on_postgresql = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@on_postgresql
def test_a_job_is_inserted_changed_and_deleted_once_and_kept_once_in_postgresql(postgres, touched):
    postgres.enqueue_many(double.draft(n) for n in range(NUMBER))
    enqueued = touched(postgres)

    Worker(postgres).run(until_empty=True)

    worked = touched(postgres)
    assert enqueued["jobs"] == Rows(inserted=NUMBER)
    assert worked["jobs"].written == (0, NUMBER, NUMBER)
    assert worked["history"] == Rows(inserted=NUMBER)
    assert worked["attempts"] == Rows()


@on_postgresql
def test_a_worker_reads_a_job_five_times_at_most_and_by_an_index_in_postgresql(postgres, touched):
    postgres.enqueue_many(double.draft(n) for n in range(NUMBER))
    touched(postgres)

    Worker(postgres).run(until_empty=True)

    # To choose, to claim and to finish it; and one look at what runs, for claims of workers that are gone.
    jobs = touched(postgres)["jobs"]
    assert NUMBER < jobs.looked_up <= 5 * NUMBER
    assert jobs.read_through == 0


@on_postgresql
def test_a_retry_changes_a_job_three_times_more_and_adds_an_attempt_in_postgresql(postgres, store, touched):
    jobs = store.running(NUMBER)
    touched(postgres)

    store.turn([again(job, delay=5.0) for job in jobs])
    store.later(seconds=6)
    store.promote(count=NUMBER)
    store.turn([failed(job) for job in store.claimed(NUMBER)])

    rows = touched(postgres)
    assert rows["jobs"].written == (0, 3 * NUMBER, NUMBER)
    assert rows["attempts"].written == (2 * NUMBER, 0, 0)
    assert rows["history"].written == (NUMBER, 0, 0)
    assert (rows["jobs"].read_through, rows["history"].read_through) == (0, 0)


@on_postgresql
def test_a_beat_touches_no_index_in_postgresql(postgres, store, touched):
    store.beat(worker())
    touched(postgres)

    for _ in range(20):
        store.later(seconds=5)
        store.beat(worker())

    workers = touched(postgres)["workers"]
    assert (workers.updated, workers.in_place) == (20, 20)


@on_sqlite
def test_a_job_is_inserted_changed_and_deleted_once_and_kept_once_in_sqlite(jobs, wire):
    before = wire.changes()

    jobs.enqueue_many(double.draft(n) for n in range(NUMBER))
    enqueued = wire.changes()
    Worker(jobs).run(until_empty=True)
    worked = wire.changes()

    # Beside the jobs: the last id, the worker that comes and goes, and its beats.
    assert NUMBER <= enqueued - before <= NUMBER + 2
    assert 3 * NUMBER + 2 <= worked - enqueued <= 3 * NUMBER + 10


@on_sqlite
def test_a_retry_changes_a_job_three_times_more_and_adds_an_attempt_in_sqlite(store, wire):
    jobs = store.running(NUMBER)
    before = wire.changes()

    store.turn([again(job, delay=5.0) for job in jobs])
    store.later(seconds=6)
    store.promote(count=NUMBER)
    store.turn([failed(job) for job in store.claimed(NUMBER)])

    # Back, promoted, claimed and deleted; two attempts and its end.
    assert wire.changes() - before == 7 * NUMBER


@on_sqlite
def test_a_beat_changes_a_row_in_sqlite(store, wire):
    store.beat(worker())
    before = wire.changes()

    for _ in range(20):
        store.beat(worker())

    assert wire.changes() - before == 20
