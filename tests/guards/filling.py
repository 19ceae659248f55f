"""A million ready jobs, as many for tomorrow and as many that have ended, in the tables that migrations make."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime, timedelta

import psycopg

from belayed.config import address
from belayed.store import STORES
from belayed.store.schema import migrations
from tests.store.factories import NOON

MILLION = 1_000_000
QUEUES = 200
"""One in five ready jobs is in one of these; the others are in `default`."""
LANES = 3 * (QUEUES + 1)
"""Each queue has jobs of three priorities."""
WORKERS = 10
RUNNING = 50
"""Jobs of each worker."""
READY = """
    INSERT INTO belayed_jobs (state, queue, priority, run_at, created_at, task, payload)
    SELECT 'ready', CASE WHEN n % 5 = 0 THEN 'q' || (n / 5 % {queues}) ELSE 'default' END, n % 7 % 3, {at}, {at},
           'app.work', '{{"v":1}}'
    FROM {million}
"""
SCHEDULED = """
    INSERT INTO belayed_jobs (state, queue, priority, run_at, created_at, task, payload)
    SELECT 'scheduled', 'default', 0, {tomorrow}, {at}, 'app.work', '{{"v":1}}'
    FROM {million}
"""
CLAIMED = """
    INSERT INTO belayed_jobs (state, queue, priority, run_at, created_at, claimed_at, worker, token, task, payload)
    SELECT 'running', 'default', 0, {at}, {at}, {at}, 'w' || (n % {workers}), 't' || n, 'app.work', '{{"v":1}}'
    FROM {running}
"""
HISTORY = """
    INSERT INTO belayed_history (id, state, queue, priority, run_at, created_at, finished_at, task, attempt, failures,
                                 crashes, rescues, free_retries, payload)
    SELECT 10000000 + n, CASE WHEN n % 100 < 90 THEN 'succeeded' WHEN n % 100 < 99 THEN 'failed' ELSE 'cancelled' END,
           'q' || (n % {queues}), 0, {at}, {at}, {at}, 'app.work', 1, 0, 0, 0, 0, '{{"v":1}}'
    FROM {million}
"""
ATTEMPTS = """
    INSERT INTO belayed_attempts (job_id, ended_at, number, outcome)
    SELECT 10000000 + n, {at}, 1, 'failed'
    FROM {million}
    WHERE n % 100 >= 90
"""
WORDS = {
    # The jobs are a millisecond apart; the last of the million is due at noon, or tomorrow at noon and 1000 s.
    "sqlite": {
        "series": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count}) SELECT n FROM s)",
        "at": "{noon} + (n - 1000000) * 1000",
        "tomorrow": "{noon} + 86400000000 + n * 1000",
    },
    "postgresql": {
        "series": "generate_series(1, {count}) AS s(n)",
        "at": "timestamptz '{noon}' + (n - 1000000) * interval '1 ms'",
        "tomorrow": "timestamptz '{noon}' + interval '1 day' + n * interval '1 ms'",
    },
}


def filling(dialect: str) -> list[str]:
    """The statements that make and fill the tables; indexes come last, which takes half the time."""
    noon = (NOON - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) if dialect == "sqlite" else NOON
    words = {name: text.replace("{noon}", str(noon)) for name, text in WORDS[dialect].items()}
    words["million"] = words["series"].replace("{count}", str(MILLION))
    words["running"] = words["series"].replace("{count}", str(WORKERS * RUNNING))
    numbers = {"queues": QUEUES, "workers": WORKERS}
    store = STORES[dialect]()
    statements = store.statements["create_versions"], *migrations(dialect, store.tables).values()
    making = [one.named for some in statements for one in some]
    inserting = [text.format(**words, **numbers) for text in (READY, SCHEDULED, CLAIMED, HISTORY, ATTEMPTS)]
    indexing = [text for text in making if text.startswith("CREATE INDEX")]
    return [*(text for text in making if text not in indexing), *inserting, *indexing]


def fill(url: str) -> None:
    """Make and fill the tables of an empty database. It has no statistics afterwards."""
    at = address(url)
    if at.dialect == "sqlite":
        lite = sqlite3.connect(at.target, isolation_level=None)
        lite.execute("PRAGMA journal_mode = OFF")
        lite.execute("PRAGMA synchronous = OFF")
        for text in filling("sqlite"):
            lite.execute(text)
        lite.close()
        return
    with psycopg.connect(at.target, autocommit=True) as server:
        # Indexes are sorted in memory, by as many processes as there may be.
        server.execute("SET maintenance_work_mem = '256MB'")
        for text in filling("postgresql"):
            server.execute(text.encode())
            if made := re.match(r"CREATE TABLE (?:IF NOT EXISTS )?(\S+)", text):
                server.execute(f"ALTER TABLE {made[1]} SET (autovacuum_enabled = false)".encode())
