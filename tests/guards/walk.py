"""Every operation of a store once, on tables that are full; and what each of its statements had to visit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg

from belayed.config import address
from belayed.job import State
from belayed.steps import Answer, Load, Request, Statement, run
from belayed.store import open_store
from belayed.store.answers import Wanted
from tests.guards.filling import MILLION, RUNNING, WORKERS
from tests.store.factories import NOON, Driven, again, draft, drafts, failed, succeeded, worker

BATCH = 50
RUN = WORKERS * RUNNING
"""What is about workers may visit all that they run."""
TOMORROW = NOON + timedelta(days=1)


@dataclass
class Visit:
    """A statement as it was carried out."""

    name: str
    text: str
    plan: Any
    """PostgreSQL's as a tree, SQLite's as lines."""
    asked: int
    """How many rows it was about: those that it answered with, or was given, or was told to take at most."""
    steps: int = 0
    """Of SQLite's machine."""
    rows: int = 0
    """Of PostgreSQL's tables and indexes, those passed over too."""
    sorted: int = 0
    """The most rows that PostgreSQL has sorted."""
    pages: int = 0
    """Of PostgreSQL's tables and indexes."""


@dataclass
class Explained:
    """Performs operations in a transaction that is rolled back, and keeps what each statement had to visit."""

    url: str
    visits: list[Visit] = field(default_factory=list)

    def __enter__(self) -> Driven:
        at = address(self.url)
        self.postgresql = at.dialect == "postgresql"
        self.raw: Any
        if self.postgresql:
            self.raw = psycopg.connect(self.url, autocommit=True, prepare_threshold=None)
        else:
            self.raw = sqlite3.connect(at.target, isolation_level=None)
        self.raw.execute("BEGIN")
        if self.postgresql:
            # A table read anew for each of a batch would take for ever.
            self.raw.execute(f"SET LOCAL statement_timeout = {LONGEST}")
        return Driven(open_store(at.dialect), lambda steps: run(steps, self.send))

    def __exit__(self, *error: object) -> None:
        self.raw.execute("ROLLBACK")
        self.raw.close()

    def send(self, request: Request) -> Answer:
        if isinstance(request, Load):
            # It has no plan; but what is answered is made while its rows are read.
            return [[(len(list(request.rows)),)]]
        return [self.explained(statement, params) for statement, params in request.calls]

    def explained(self, statement: Statement, params: dict[str, Any]) -> list[Any]:
        try:
            return self.on_postgresql(statement, params) if self.postgresql else self.on_sqlite(statement, params)
        except Exception as error:
            error.add_note(f"in the statement {statement.name}")
            raise

    def on_postgresql(self, statement: Statement, params: dict[str, Any]) -> list[Any]:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement.pyformat}"
        # Carried out twice: explained, it answers with nothing else.
        self.raw.execute("SAVEPOINT before")
        (((explained,),),) = self.raw.execute(explain, params).fetchall()
        self.raw.execute("ROLLBACK TO before")
        cursor = self.raw.execute(statement.pyformat, params)
        rows = cursor.fetchall() if cursor.description else []
        plan = explained["Plan"]
        every = list(nodes(plan))
        self.visits.append(Visit(
            statement.name,
            statement.named,
            plan,
            about(rows, params),
            rows=sum(visited(node) for node in every if "Scan" in node["Node Type"]),
            sorted=max((visited(node) for node in every if "Sort" in node["Node Type"]), default=0),
            pages=plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
        ))  # fmt: skip
        return rows

    def on_sqlite(self, statement: Statement, params: dict[str, Any]) -> list[Any]:
        plan = [row[3] for row in self.raw.execute(f"EXPLAIN QUERY PLAN {statement.named}", params)]
        steps: list[int] = []

        def passed() -> bool:
            steps.append(STEPS)
            return len(steps) > MOST // STEPS

        self.raw.set_progress_handler(passed, STEPS)
        rows = self.raw.execute(statement.named, params).fetchall()
        self.raw.set_progress_handler(None, STEPS)
        self.visits.append(Visit(statement.name, statement.named, plan, about(rows, params), steps=sum(steps)))
        return rows  # type: ignore[no-any-return]


STEPS = 100
"""Of SQLite's machine: it says when so many have passed."""
MOST = 300_000_000
"""Of its steps: a statement that takes more is ended. To read a table takes a tenth."""
LONGEST = 30_000
"""Milliseconds after which PostgreSQL ends a statement."""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan of PostgreSQL."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def visited(node: dict[str, Any]) -> int:
    """How many rows have come to a node, those that it dropped too."""
    dropped = sum(rows for name, rows in node.items() if name.startswith("Rows Removed by"))
    return int((node["Actual Rows"] + dropped) * node["Actual Loops"] + 0.5)


def outline(plan: Any, depth: int = 0) -> str:
    """A plan for people."""
    if isinstance(plan, list):
        return "\n".join(f"  {line}" for line in plan)
    words = [plan["Node Type"], *(plan[key] for key in ("Relation Name", "Index Name", "Subplan Name") if key in plan)]
    own = f"{'  ' * (depth + 1)}{' '.join(words)}: {visited(plan)} rows in {plan['Actual Loops']} loops"
    return "\n".join([own, *(outline(child, depth + 1) for child in plan.get("Plans", ()))])


def about(rows: list[Any], params: dict[str, Any]) -> int:
    """How many rows a statement is about."""
    listed = [len(json.loads(text)) for text in params.values() if isinstance(text, str) and text.startswith("[")]
    if "lanes" in params:
        # Each of them is looked into, for so many jobs in all.
        listed = [sum(listed) + int(params["count"])]
    ran = RUN if params.keys() & {"worker", "workers", "signs"} and "count" not in params else 0
    return max(len(rows), *listed, int(params.get("count", 0)), int(params.get("most", 0)), ran, 1)


def everything(store: Driven) -> None:
    """Each operation on the tables as they are, with a batch of jobs where it takes any."""
    store.insert(draft())
    store.insert_many(drafts(10))
    store.insert_many(drafts(BATCH), hint="look")
    claims = []
    for queues in (["*"], ["default"], ["q1", "q4"]):
        lanes = store.lanes(*queues)
        for _ in range(2):
            claims += store.claimed(BATCH, lanes=lanes)
    well, badly, midway = claims[: 2 * BATCH], claims[2 * BATCH : 3 * BATCH], claims[3 * BATCH :]
    store.payload(well[0].id, well[0].token)
    store.turn([*map(succeeded, well), *map(failed, badly), *(again(job, delay=60.0, attempt=30) for job in midway)])
    store.turn([], Wanted("w1", BATCH, store.lanes("default", max_priority=0)))
    store.settled("w1", [*map(succeeded, well), *map(failed, badly)])
    store.settled("w1", [succeeded(job._replace(id=job.id + 7 * MILLION)) for job in well])
    store.beat(worker("w1"))
    store.beat(worker("w1"))
    store.workers()
    store.promote(count=BATCH)
    # More than a batch: the most urgent, too.
    store.promote(count=BATCH, now=TOMORROW + timedelta(seconds=1))
    store.get(badly[0].id)
    store.attempts(badly[0].id)
    store.find({}, before=10 * MILLION, count=BATCH)
    waiting = store.matching({}, after=1_000, count=BATCH)
    store.change(waiting, priority=3)
    store.cancel([*waiting[:20], *(job.id for job in midway)])
    store.retry([*waiting[:20], *(job.id for job in badly)])
    store.delete([*waiting[20:], *(job.id for job in well)])
    store.mend(waiting)
    store.pause("q7")
    store.paused()
    store.resume("q7")
    store.prune(State.FAILED, 0.0, count=BATCH)
    store.prune_excess(BATCH, count=BATCH)
    store.counts(most=BATCH)
    store.overdue(60.0)
    store.now()
    store.promote(count=BATCH, only=waiting)
    store.scheduled(count=BATCH)
    store.locked(waiting)
    store.held_by(["w1"], count=BATCH)
    store.ids()
    store.sessions()
    store.place()
    store.findings()
    store.strays("w1", waiting)
    store.claimed(BATCH, by="w2")
    # All workers are silent but one.
    store.later(seconds=60)
    store.beat(worker("w9"))
    store.rescue()
    store.claimed(BATCH, by="w3")
    store.later(days=1)
    store.rescue(most=1)
    store.retire("w9")
