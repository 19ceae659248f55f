"""Fills Belayed's tables by SQL: a million jobs in seconds, each like one that was enqueued."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import psycopg

from benchmarks.programs import Run
from benchmarks.stores import PostgresStore, SqliteStore

PATTERN = 987_654_321
"""The argument of the job that the others are copies of."""
FILL = {
    "postgresql": """
INSERT INTO belayed_jobs (run_at, created_at, priority, state, queue, task, payload)
SELECT clock_timestamp() + CAST(%(delay)s AS interval), clock_timestamp(), 0, %(state)s,
    (CAST(%(queues)s AS text[]))[1 + n %% cardinality(CAST(%(queues)s AS text[]))], %(task)s,
    replace(%(payload)s, CAST(%(pattern)s AS text), CAST(n AS text))
FROM generate_series(CAST(%(first)s AS bigint), %(last)s) AS n
""",
    "sqlite": """
WITH RECURSIVE series (n) AS (VALUES (:first) UNION ALL SELECT n + 1 FROM series WHERE n < :last)
INSERT INTO belayed_jobs (run_at, created_at, priority, state, queue, task, payload)
SELECT unixepoch('now', :delay) * 1000000, unixepoch() * 1000000, 0, :state,
    (SELECT value FROM json_each(:queues) WHERE key = n % json_array_length(:queues)), :task,
    replace(:payload, :pattern, n)
FROM series
""",
}
HISTORY = {
    "postgresql": """
INSERT INTO belayed_history (id, run_at, created_at, claimed_at, finished_at, seconds, priority, attempt, failures,
    crashes, rescues, free_retries, state, queue, task, worker, payload, result)
SELECT -n, now(), now(), now(), now(), 0.001, 0, 1, 0, 0, 0, 0,
    CASE WHEN n <= %(succeeded)s THEN 'succeeded' ELSE 'failed' END, 'default', %(task)s, 'benchmark', %(payload)s, NULL
FROM generate_series(1, CAST(%(count)s AS bigint)) AS n
""",
    "sqlite": """
WITH RECURSIVE series (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM series WHERE n < :count)
INSERT INTO belayed_history (id, run_at, created_at, claimed_at, finished_at, seconds, priority, attempt, failures,
    crashes, rescues, free_retries, state, queue, task, worker, payload, result)
SELECT -n, unixepoch() * 1000000, unixepoch() * 1000000, unixepoch() * 1000000, unixepoch() * 1000000, 0.001, 0, 1, 0,
    0, 0, 0, CASE WHEN n <= :succeeded THEN 'succeeded' ELSE 'failed' END, 'default', :task, 'benchmark', :payload, NULL
FROM series
""",
}
KEPT = 900_000
"""Succeeded jobs in a filled history: fewer than are kept, so that nothing is pruned of it; the others have failed."""


class Filler:
    """Adds rows to the store of a run."""

    def __init__(self, run: Run) -> None:
        self.store = run.store
        run.ask("fill", first=PATTERN, count=1)
        ((self.task, self.payload),) = self.rows("SELECT task, payload FROM belayed_jobs")
        self.rows("DELETE FROM belayed_jobs")

    def rows(self, statement: str, **values: object) -> list[tuple[str, ...]]:
        """Run one statement, and commit."""
        if isinstance(self.store, SqliteStore):
            with sqlite3.connect(self.store.path, timeout=60) as file:
                found = file.execute(statement, values).fetchall()
            file.close()
            return found
        with psycopg.connect(self.store.url) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def jobs(self, numbers: range, *, queues: Sequence[str] = ("default",), tomorrow: bool = False) -> None:
        """Ready jobs with these arguments, or jobs for tomorrow; the queues take turns."""
        self.rows(
            FILL[self.store.kind],
            first=numbers.start,
            last=numbers.stop - 1,
            queues=list(queues) if isinstance(self.store, PostgresStore) else json_list(queues),
            delay="1 day" if tomorrow else "-1 second",
            state="scheduled" if tomorrow else "ready",
            task=self.task,
            payload=self.payload,
            pattern=str(PATTERN),
        )

    def history(self, count: int) -> None:
        """Ended jobs; their ids are negative, which no job's is."""
        told = {"count": count, "succeeded": KEPT, "task": self.task, "payload": self.payload}
        self.rows(HISTORY[self.store.kind], **told)


def json_list(names: Sequence[str]) -> str:
    return "[" + ",".join(f'"{name}"' for name in names) + "]"
