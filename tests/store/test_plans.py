"""At 100,000 rows no statement reads a whole table or sorts one, with statistics or without."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from belayed.config import address
from belayed.job import State
from belayed.steps import Load, run
from belayed.store import open_store
from belayed.store.answers import Wanted
from tests import servers
from tests.store.factories import NOON, Driven, again, failed, of_threads, succeeded, worker

# In one process: they share large databases, and those without statistics come first.
pytestmark = pytest.mark.xdist_group("plans")

# 60,000 ready jobs of 20 queues and 5 priorities, 20,000 scheduled, 20,000 running of 10 workers; as many have ended.
JOBS = """
    INSERT INTO {jobs} (state, queue, priority, run_at, created_at, claimed_at, worker, token, task, payload)
    SELECT CASE WHEN n % 5 < 3 THEN 'ready' WHEN n % 5 = 3 THEN 'scheduled' ELSE 'running' END,
           'q' || (n % 20), n % 7 % 5, {at}, {at}, CASE WHEN n % 5 = 4 THEN {at} END,
           CASE WHEN n % 5 = 4 THEN 'w' || (n / 5 % 10) END, CASE WHEN n % 5 = 4 THEN 't' || n END,
           'app.work', '{{"v":1}}'
    FROM {series}
"""
HISTORY = """
    INSERT INTO {history} (id, state, queue, priority, run_at, created_at, finished_at, task, attempt, failures,
                           crashes, rescues, free_retries)
    SELECT 1000000 + n, CASE WHEN n % 100 < 90 THEN 'succeeded' WHEN n % 100 < 99 THEN 'failed' ELSE 'cancelled' END,
           'q' || (n % 20), 0, {at}, {at}, {at}, 'app.work', 1, 0, 0, 0, 0
    FROM {series}
"""
ATTEMPTS = """
    INSERT INTO {attempts} (job_id, ended_at, number, outcome)
    SELECT 1000000 + n, {at}, 1, 'failed'
    FROM {series}
    WHERE n % 100 >= 90
"""
DIALECT = {
    "sqlite": {
        "series": "(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100000) SELECT n FROM s)",
        "at": "{noon} + n * 1000000 - 100000000000",
    },
    "postgresql": {
        "series": "generate_series(1, 100000) AS s(n)",
        "at": "timestamptz 'epoch' + make_interval(secs => {noon} / 1000000 + n - 100000)",
    },
}
LARGE = re.compile(r"belayed_(jobs|history|attempts)\b|^[jh]$")
# These count or list all there is.
WHOLE = {"counts", "ended_counts", "workers"}


def filled(url):
    """A store with 100,000 live and as many ended jobs."""
    store, connections = of_threads(url)
    noon = (NOON - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    words = {name: text.replace("{noon}", str(noon)) for name, text in DIALECT[store.dialect].items()}
    for insert in (JOBS, HISTORY, ATTEMPTS):
        names = {name: store.store.tables.named(name) for name in ("jobs", "history", "attempts")}
        store.rows(insert.format(**words, **names))
    for nth in range(10):
        store.beat(worker(f"w{nth}"))
    connections.close()


class Explained:
    """Performs operations in a transaction that is rolled back, and keeps the plan of each statement."""

    def __init__(self, url):
        self.plans = {}
        self.dialect = address(url).dialect
        if self.dialect == "sqlite":
            self.raw = sqlite3.connect(address(url).target, isolation_level=None)
        else:
            self.raw = psycopg.connect(url, autocommit=True, prepare_threshold=None)
        self.store = Driven(open_store(self.dialect), lambda steps: run(steps, self.send))
        self.raw.execute("BEGIN")

    def send(self, request):
        assert not isinstance(request, Load)
        answers = []
        for statement, params in request.calls:
            plans = self.plans.setdefault(statement.name, [])
            if self.dialect == "sqlite":
                plan = self.raw.execute(f"EXPLAIN QUERY PLAN {statement.named}", params).fetchall()
                plans.append([row[3] for row in plan])
                answers.append(self.raw.execute(statement.named, params).fetchall())
            else:
                explained = self.raw.execute(f"EXPLAIN (FORMAT JSON) {statement.pyformat}", params).fetchone()
                plans.append(explained[0][0]["Plan"])
                cursor = self.raw.execute(statement.pyformat, params)
                answers.append(cursor.fetchall() if cursor.description else [])
        return answers

    def close(self):
        self.raw.execute("ROLLBACK")
        self.raw.close()


def everything_is_done(store):
    """Each operation once, on the tables as they are."""
    claims = []
    for queues in (["*"], ["q3"], ["q1", "q4"]):
        lanes = store.lanes(*queues)
        for _ in range(2):
            claims += store.claimed(30, lanes=lanes)
    first, second, *rest = claims
    store.turn([*map(succeeded, rest), again(first, delay=60.0, attempt=30), failed(second)], None)
    store.turn([], Wanted("w1", 10, store.lanes("q5", max_priority=0)))
    store.payload(first.id, first.token)
    store.beat(worker("w1"))
    store.promote(now=NOON - timedelta(hours=5))
    store.promote(now=NOON)
    ids = [job.id for job in store.find({}, count=40)] + [rest[0].id, second.id]
    store.get(ids[0])
    for conditions in ({}, {"states": [State.READY]}, {"states": [State.FAILED]}, {"ids": ids}):
        store.find(conditions, before=1_050_000)
        store.matching(conditions, after=1_000)
    waiting = [job.id for job in store.find({"states": [State.READY]}, count=30)]
    store.change(waiting, priority=3)
    store.cancel(waiting[:10])
    store.retry([*waiting[:5], ids[0]])
    store.delete([*waiting[10:], ids[1]])
    store.prune(State.FAILED, 3600.0)
    store.prune_excess(50_000)
    store.passed(store.passed(None, 20_000), 20_000)
    store.promote(only=ids, now=NOON)
    store.scheduled(count=1000, now=NOON)
    store.locked(ids)
    store.held_by(["w2", "w3"])
    store.strays("w2", ids)
    # Of ten workers, nine are dead.
    store.later(seconds=20)
    store.beat(worker("w9"))
    store.later(seconds=20)
    assert len(store.rescue().saved) == 1000
    store.later(days=1)
    store.rescue(most=1)


EXPLAINED = {
    "claim", "lanes", "lanes_of", "payload", "succeed", "finish", "back", "settle", "trim", "beat", "lapsed",
    "orphaned", "rescue", "poison", "signs", "strays", "bury", "promote", "next_due", "get", "attempts", "find",
    "matching", "cancel_waiting", "cancel_running", "retry_ended", "retry_waiting", "delete_waiting",
    "delete_ended", "delete_attempts", "change", "prune", "passed", "prune_excess", "locked", "held_by", "scheduled",
}  # fmt: skip


def plans_of(url):
    explained = Explained(url)
    try:
        everything_is_done(explained.store)
    finally:
        explained.close()
    assert EXPLAINED.issubset(explained.plans)
    return {name: plans for name, plans in explained.plans.items() if name not in WHOLE}


@pytest.fixture(scope="module")
def sqlite_filled(tmp_path_factory, sqlite_template):
    path = tmp_path_factory.mktemp("plans") / "belayed.db"
    path.write_bytes(sqlite_template.read_bytes())
    filled(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def postgres_filled(postgres_server):
    url = servers.create_database(postgres_server)
    store, connections = of_threads(url)
    store.migrate()
    connections.close()
    with psycopg.connect(url, autocommit=True) as connection:
        for table in ("jobs", "history", "attempts"):
            connection.execute(f"ALTER TABLE belayed_{table} SET (autovacuum_enabled = false)")
    filled(url)
    yield url
    servers.drop_database(postgres_server, url)


def nodes(plan):
    """The nodes of a plan."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def unlimited(plan):
    """Whether a plan reads one of the large tables without a limit."""
    if plan["Node Type"] in ("Limit", "Recursive Union"):
        return False
    return bool(LARGE.search(plan.get("Relation Name", ""))) or any(map(unlimited, plan.get("Plans", ())))


def whole_tables(plans):
    """Where a plan of PostgreSQL reads a whole table, or sorts more of it than a batch."""
    return [
        (name, node["Node Type"], node.get("Relation Name"), node["Plan Rows"])
        for name, several in plans.items()
        for plan in several
        for node in nodes(plan)
        if (node["Node Type"] == "Seq Scan" and unlimited({**node, "Plans": []}))
        or (node["Node Type"] in ("Sort", "Incremental Sort") and node["Plan Rows"] > 2000 and unlimited(node))
    ]


def scans(plans):
    """Where a plan of SQLite reads a whole table."""
    return [
        (name, line)
        for name, several in plans.items()
        for plan in several
        for line in plan
        if (match := re.match(r"SCAN (\S+)(.*)", line)) and LARGE.search(match[1]) and "INDEX" not in match[2]
    ]


def sorts(plans, *names):
    return [
        (name, line)
        for name in names
        for plan in plans.get(name, ())
        for line in plan
        if line == "USE TEMP B-TREE FOR ORDER BY"
    ]


@pytest.mark.dj(93)
@pytest.mark.parametrize("statistics", [False, True])
def test_postgresql_reads_no_whole_table(postgres_filled, statistics):
    if statistics:
        with psycopg.connect(postgres_filled, autocommit=True) as connection:
            connection.execute("ANALYZE")

    plans = plans_of(postgres_filled)

    if not statistics:
        plans = {name: plans[name] for name in ("claim", "claim_lanes", "lanes", "lanes_of", "promote", "next_due")}
    assert whole_tables(plans) == []
    assert "claim_lanes" in plans


@pytest.mark.dj(93)
@pytest.mark.parametrize("statistics", [False, True])
def test_sqlite_reads_no_whole_table(sqlite_filled, statistics):
    if statistics:
        connection = sqlite3.connect(sqlite_filled)
        connection.execute("ANALYZE")
        connection.close()

    plans = plans_of(f"sqlite:///{sqlite_filled}")

    assert scans(plans) == []
    assert (
        sorts(plans, "claim", "peek", "lanes", "promote", "next_due", "prune", "passed", "prune_excess", "scheduled")
        == []
    )
    assert {"peek", "claim_ids"} <= set(plans)


def test_a_look_at_the_lanes_takes_some_steps_for_each_lane_and_none_for_a_job(sqlite_filled):
    connection, steps = sqlite3.connect(sqlite_filled), []
    (statement,) = open_store("sqlite").statements["lanes"]
    connection.set_progress_handler(lambda: steps.append(100), 100)

    lanes = connection.execute(statement.named, {"now": 0}).fetchall()[:-1]

    connection.close()
    assert len(lanes) == 60
    assert sum(steps) < 200 * len(lanes)
