"""Every odd value in every column of every table, with the checks of the tables in force and without them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from click.testing import CliRunner

from belayed import Job, State
from belayed.cli import main
from belayed.cli.jobs import attempt_text, properties, shown_payload
from belayed.cli.records import lost_result, whole_record
from belayed.cli.show import pretty, shallow
from belayed.jobs import Jobs
from belayed.redaction import redacted_value
from belayed.store.answers import Wanted
from belayed.store.lanes import Serving
from belayed.worker.mending import rescued, written
from tests.odd import TABLES, Odd, writer
from tests.store.factories import Driven, again, cancelled, failed, released, succeeded, worker
from tests.worker.helpers import execute, states, worked
from tests.worker.tasks import double

ANOTHER = ("state", "queue", "priority", "payload", "run_at", "id")
"""Columns of whose values some are right for a job that a worker does not run, or not yet, or that fails."""


@dataclass
class Field:
    """A store with odd rows among good ones."""

    jobs: Jobs
    odd: list[Odd]
    good: list[Job]

    @property
    def driven(self) -> Driven:
        found = Driven(self.jobs.store, self.jobs.connections.perform)
        found.time = None
        return found

    def ids(self, table: str) -> list[int]:
        return [one.key for one in self.odd if one.table == table and one.key is not None]


def sown(jobs: Jobs, *, checks: bool) -> Field:
    """Odd rows in each table, and in each state that a job has."""
    driven = Driven(jobs.store, jobs.connections.perform)
    driven.time = None
    text = double.draft(1).payload.write(jobs.codec)
    for name in ("w1", "dead"):
        driven.beat(worker(name))
    ended = [driven.ended(state, text=text)[0] for state in (State.SUCCEEDED, State.FAILED, State.CANCELLED)]
    again_later = driven.running(text=text)
    driven.finish(again(again_later, delay=3600.0))
    alive = driven.running(text=text, by="w1").id
    lost = driven.running(text=text, by="dead").id
    driven.pause("slow")
    waiting = double.enqueue(1).id
    with writer(jobs.url) as program:
        if not checks:
            program.without_checks()
        program.raw.execute("BEGIN")
        odd = [
            *(one for id in (waiting, again_later.id, alive, lost) for one in program.add("jobs", id)),
            *(one for id in ended for one in program.add("history", id)),
            *program.add("attempts", program.rows("SELECT max(id) FROM belayed_attempts")[0][0]),
            *program.add("workers", "w1"),
            *program.add("queues", "slow"),
        ]
        program.raw.execute("COMMIT")
    return Field(jobs, odd, [double.enqueue(number) for number in range(10)])


@pytest.fixture(params=[True, False], ids=["checks", "no checks"])
def field(request: pytest.FixtureRequest, jobs: Jobs) -> Field:
    return sown(jobs, checks=request.param)


def test_the_walk_knows_every_column_of_every_table(jobs: Jobs) -> None:
    with writer(jobs.url) as program:
        walked = {(table, column) for table in TABLES for column, _ in program.columns(table)}
        text = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name LIKE 'belayed%'"
        if not program.lite:
            text = "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'belayed%'"
        tables = {row[0] for row in program.rows(text)}

    assert tables == {f"belayed_{table}" for table in (*TABLES, "versions")}
    assert ("jobs", "unknown_since") in walked


def test_a_worker_runs_all_that_can_be_run_among_odd_rows(field: Field) -> None:
    summary = worked(field.jobs)

    assert states(*field.good) == [State.SUCCEEDED] * 10
    assert summary.succeeded >= 10
    left = {id for (id,) in execute(field.jobs, "SELECT id FROM belayed_jobs WHERE state = 'ready'")}
    stuck = [one for one in field.odd if one.key in left and one.table == "jobs" and one.column not in ANOTHER]
    assert stuck == []


def test_every_operation_of_a_store_passes_over_odd_rows(field: Field) -> None:
    store, driven = field.jobs.store, field.driven
    lanes, everything = store.lanes(Serving()), field.jobs.find(limit=100_000)
    by_id = {job.id: job for job in everything}

    assert set(field.ids("jobs")) | set(field.ids("history")) <= {*by_id}
    with writer(field.jobs.url) as program:
        # A connection of the application's reads texts and times in ways of its own.
        found = field.jobs.do(lambda: store.find({}, count=100_000), program.raw)
        assert [(job.id, job.task, job.run_at, job.error) for job in found] == [
            (job.id, job.task, job.run_at, job.error) for job in everything
        ]
    for job in everything:
        repr(job), job.ended, hash(job), job.attempts
        assert type(job.task) is str
        assert isinstance(job.state, State)
    driven.counts(), driven.overdue(0.0), driven.workers(), driven.paused()
    driven.promote()
    signs = driven.signs("w1")
    driven.strays("w1", signs.held[: len(signs.held) // 2])
    rescued(driven.perform, store, [one for one in signs.workers if one.worker != "w1"])
    ends = [succeeded, failed, again, released, cancelled]
    while claimed := driven.perform(store.turn([], Wanted("w1", 100, lanes))).claimed:
        for nth, job in enumerate(claimed):
            driven.settled("w1", [succeeded(job)])
            field.jobs.do(lambda: store.payload(job.id, job.token))  # noqa: B023
            one = ends[nth % len(ends)](job, keep=True)
            one.delay = 3600.0 if one.state is State.READY else None
            held = written(field.jobs.connections.perform, store, one)
            assert held == {job.id}
    driven.prune(State.SUCCEEDED, 0.0), driven.prune_excess(0)
    ids = list(by_id)
    field.jobs.cancel(*ids), field.jobs.retry(*ids), field.jobs.change(*ids, priority=3)
    field.jobs.cancel(*ids), field.jobs.delete(*ids)
    running = {job.id for job in field.jobs.find(states=[State.RUNNING], limit=100_000)}
    assert {job.id for job in field.jobs.find(limit=100_000)} == running


def test_every_command_passes_over_odd_rows(field: Field) -> None:
    now = field.jobs.do(field.jobs.store.now)

    def run(*args: str) -> str:
        result = CliRunner().invoke(main, ["--url", field.jobs.url, *args], prog_name="belayed")
        assert isinstance(result.exception, SystemExit | None), (args, result.exception)
        return result.stdout

    text, listed = run("jobs", "--limit", "10000"), json.loads(run("jobs", "--limit", "10000", "--json"))
    assert len(text.splitlines()) == len(listed["jobs"]) + 1
    for job in field.jobs.find(limit=100_000):
        # As `jobs ID` does; with a process's start and a table for each it would take minutes.
        payload = shown_payload(job, field.jobs)
        fields = [str(value) for value in properties(job, {}, now, ()).values()]
        shown = [*fields, pretty(payload), pretty(redacted_value(job.result_text, ())), lost_result(job) or ""]
        attempts = [attempt_text(attempt, {}) for attempt in job.attempts] if job.attempt == 1 else []
        "".join([*shown, *attempts]).encode()
        json.dumps(shallow(whole_record(job, job.attempts, payload, ())), allow_nan=False)
    some = dict.fromkeys((one.table, one.column) for one in field.odd if one.table in ("jobs", "history"))
    for one in field.odd:
        if some.get((one.table, one.column), 0) is None and one.key is not None:
            some[one.table, one.column] = one.key
    for id in some.values():
        run("jobs", str(id or 1))
    for command in ("status", "doctor"):
        run(command)
        json.loads(run(command, "--json"))
    run("check", "--max-age", "1h")
    ids = [str(id) for id in (*field.ids("jobs"), *field.ids("history"))]
    for nth, command in enumerate(("cancel", "retry", "delete")):
        run(command, *ids[nth::5], "--json")
        run(command, "--all", "--yes" if command != "cancel" else "--dry-run")
    run("pause", "x", "default"), run("resume", "x", "default")
    run("clear", "--all", "--yes")


def test_texts_of_any_size_cost_nobody(jobs: Jobs) -> None:
    long = "hex(zeroblob({} / 2))" if jobs.address.dialect == "sqlite" else "repeat('x', {})"
    giant, many, good = double.enqueue(1), [double.enqueue(2) for _ in range(20)], double.enqueue(3)
    with writer(jobs.url) as program:
        program.without_checks()
        meta = f"'{{\"a\": \"' || {long.format(1_000_000)} || '\"}}'"
        program.raw.execute(f"UPDATE belayed_jobs SET meta = {meta} WHERE id BETWEEN {many[0].id} AND {many[-1].id}")
        program.raw.execute(f"UPDATE belayed_jobs SET task = {long.format(5_000_000)} WHERE id = {many[0].id}")
        program.raw.execute(f"UPDATE belayed_jobs SET payload = {long.format(68_000_000)} WHERE id = {giant.id}")

    driven = Field(jobs, [], []).driven
    claimed = driven.claimed(1000, lanes=jobs.store.lanes(Serving()))
    carried = sum(len(text) for job in claimed for text in job if isinstance(text, str))
    driven.finish(*(released(job) for job in claimed))
    worked(jobs)

    assert len(claimed) == 22
    assert carried < 22 * 1000
    assert states(*many, good) == [State.SUCCEEDED] * 21
    assert giant.refresh().state is State.FAILED
    assert (giant.error or "").startswith("belayed.errors.BrokenPayload: the payload has 68,000,000 bytes")
    assert list(many[1].meta) == ["unreadable"]
