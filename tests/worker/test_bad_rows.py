"""Rows that cannot be run: each says why, its neighbours run, and the worker lives on."""

from __future__ import annotations

import json
import sqlite3
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from belayed import Outcome, State, current_job, delay
from belayed.config import address
from belayed.jobs import Jobs
from belayed.payload import registry
from tests.worker import tasks
from tests.worker.helpers import due, execute, states, wait_left, worked
from tests.worker.tasks import act, double, raises


def broken(jobs: Jobs, payload: str, **columns: Any) -> int:
    """The id of a job whose row was written by hand."""
    job = double.using(queue=columns.get("queue", "default")).enqueue(1)
    quoted = payload.replace("'", "''")
    execute(jobs, f"UPDATE belayed_jobs SET payload = '{quoted}' WHERE id = {job.id}")
    return job.id


def call(ref: str, *args: Any, **kwargs: Any) -> str:
    return json.dumps({"v": 1, "call": ref, "args": args, "kwargs": kwargs})


AT_ONCE = {
    "broken JSON": ('{"v": 1, "call"', "BrokenPayload"),
    "nothing": ("", "BrokenPayload"),
    "not an object": ("[1, 2]", "BrokenPayload"),
    "null": ("null", "BrokenPayload"),
    "no version": ('{"call": "tests.worker.tasks:double", "args": [1], "kwargs": {}}', "BrokenPayload"),
    "a version that is no number": ('{"v": "1", "call": "x:y", "args": [], "kwargs": {}}', "BrokenPayload"),
    "no arguments": ('{"v": 1, "call": "tests.worker.tasks:double"}', "BrokenPayload"),
    "arguments that are no list": ('{"v": 1, "call": "tests.worker.tasks:double", "args": 3, "kwargs": {}}', "Broken"),
    "no name": ('{"v": 1, "call": "nonsense", "args": [], "kwargs": {}}', "BrokenPayload"),
    "a name that is no text": ('{"v": 1, "call": 7, "args": [], "kwargs": {}}', "BrokenPayload"),
    "deep nesting": ('{"v": 1, "call": "tests.worker.tasks:double", "args": ' + "[" * 50_000 + "]" * 50_000, "Broken"),
    "code not trusted": (call("os:system", "true"), "UntrustedPayload"),
    "code reached through another module": (call("tests.worker.tasks:os.system", "true"), "UntrustedPayload"),
    "code only found in its module": (call("tests.worker.tasks:task"), "UntrustedPayload"),
    "a method that is not trusted": (
        '{"v": 1, "method": "upper", "self": "x", "args": [], "kwargs": {}}',
        "UntrustedPayload",
    ),
    "a method that is no text": ('{"v": 1, "method": 5, "self": "x", "args": [], "kwargs": {}}', "BrokenPayload"),
    "a hidden method": ('{"v": 1, "method": "__init__", "self": "x", "args": [], "kwargs": {}}', "BrokenPayload"),
}
LATER = {
    "a newer version": ('{"v": 2, "call": "x:y", "args": [], "kwargs": {}}', "UnknownVersion"),
    "no such function": (call("tests.worker.tasks:nowhere"), "UnknownTask"),
    "no such module": (call("tests.worker.nowhere:nothing"), "UnknownTask"),
    "no such package": (call("nowhere_at_all:nothing"), "UnknownTask"),
    "a class, not a function": (call("tests.worker.tasks:Custom"), "UnknownTask"),
    "too many arguments": (call("tests.worker.tasks:grown", 1, 2), "SignatureChanged"),
    "arguments of other names": (call("tests.worker.tasks:grown", count=1), "SignatureChanged"),
    "no perform() any more": ('{"v": 1, "class": "tests.worker.tasks:Plain", "fields": {}}', "UnknownTask"),
}


@pytest.mark.dj(78, 144, 159, 225)
@pytest.mark.parametrize(("payload", "error"), AT_ONCE.values(), ids=AT_ONCE)
def test_what_can_never_run_fails_at_once(payload: str, error: str, lite: Jobs) -> None:
    first, bad, last = double.enqueue(1), broken(lite, payload), double.enqueue(2)

    worked(lite)

    job = lite.get(bad)
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error.startswith(f"belayed.errors.{error}")
    assert (job.attempt, job.attempts) == (0, ())
    assert states(first, last) == [State.SUCCEEDED, State.SUCCEEDED]


@pytest.mark.dj(171)
@pytest.mark.parametrize(
    ("own", "setting", "kept"), [(None, False, 0), (None, True, 1), (False, True, 0), (True, False, 1)]
)
def test_what_can_never_run_is_kept_as_its_row_says_or_else_the_settings(
    own: bool | None, setting: bool, kept: int, sqlite_path: Any, opened: Any
) -> None:
    jobs = opened(f"sqlite:///{sqlite_path}", keep_failed=setting)
    double.using(keep_failed=own).enqueue(1)
    execute(jobs, "UPDATE belayed_jobs SET payload = 'null'")

    summary = worked(jobs)

    assert summary.failed == 1
    assert len(jobs.find()) == kept


@pytest.mark.dj(224, 286)
@pytest.mark.parametrize(("payload", "error"), LATER.values(), ids=LATER)
def test_what_another_worker_may_know_goes_back_uncharged(payload: str, error: str, lite: Jobs) -> None:
    first, bad, last = double.enqueue(1), broken(lite, payload), double.enqueue(2)

    worked(lite)

    job = lite.get(bad)
    assert job.state is State.SCHEDULED
    assert job.error is not None
    assert job.error.startswith(f"belayed.errors.{error}")
    assert (job.attempt, job.failures, job.attempts) == (0, 0, ())
    assert 3 <= wait_left(job) <= 6
    assert states(first, last) == [State.SUCCEEDED, State.SUCCEEDED]


TOO_LONG = [
    *(f"{column} = hex(zeroblob({size}))" for column, size in
      {"queue": 600, "task": 600, "worker": 600, "token": 600, "error": 33_000, "payload": 40_000_000}.items()),
    """meta = '{"a": "' || hex(zeroblob(9000)) || '"}'""",
]  # fmt: skip
UNREADABLE = {
    "sqlite": [
        "run_at = 'soon'",
        "run_at = 9223372036854775807",
        "created_at = -9223372036854775807",
        "priority = 'x'",
        "attempt = 2147483647",
        "failures = -1",
        "crashes = 1.5",
        "max_attempts = 'many'",
        "max_attempts = 0",
        "max_run_time = 'x'",
        "max_run_time = 9e999",
        "state = 'lost'",
        "payload = x'00'",
        "meta = '[1]'",
        "meta = '{'",
        "queue = NULL",
        "run_at = NULL",
        "unknown_since = 9223372036854775807",
        "suspect = 2",
        "claimed_at = -9223372036854775807",
        "keep_failed = 7",
        "cancel_requested = -1",
        "task = ''",
        "id = 0",
        *TOO_LONG,
    ],
    "postgresql": [
        "run_at = 'infinity'",
        "run_at = '-infinity'",
        "run_at = '4713-01-01 BC'",
        "created_at = 'infinity'",
        "state = 'lost'",
        "queue = NULL",
        "unknown_since = 'infinity'",
        "claimed_at = '-infinity'",
        "max_run_time = 'NaN'",
        "max_run_time = 'infinity'",
        "max_run_time = -1",
        "task = ''",
        "queue = repeat('x', 1021)",
        "task = repeat('é', 600)",
        "meta = repeat('x', 16385)",
        "payload = repeat('x', 67108865)",
    ],
}


@pytest.mark.dj(62)
def test_no_statement_can_write_what_no_worker_could_read(jobs: Jobs) -> None:
    job = double.enqueue(1)
    refused = []
    for change in UNREADABLE[jobs.address.dialect]:
        with pytest.raises((sqlite3.IntegrityError, psycopg.DataError, psycopg.IntegrityError)):
            execute(jobs, f"UPDATE belayed_jobs SET {change}")
        refused.append(change)

    assert refused == UNREADABLE[jobs.address.dialect]
    worked(jobs)
    assert states(job) == [State.SUCCEEDED]


COUNTERS = ("attempt", "failures", "crashes", "rescues", "free_retries")


@pytest.mark.dj(62)
@pytest.mark.parametrize("count", [2147483647, -2147483648, -1])
@pytest.mark.parametrize("name", ["double", "raises"])
def test_a_counter_at_its_end_stops_nobody(name: str, count: int, postgres: Jobs) -> None:
    """SQLite refuses such rows; PostgreSQL would at a price that each enqueue pays."""
    bad = double.enqueue(1) if name == "double" else raises.enqueue("OSError")
    good = double.enqueue(2)
    execute(
        postgres, f"UPDATE belayed_jobs SET {', '.join(f'{one} = {count}' for one in COUNTERS)} WHERE id = {bad.id}"
    )

    worked(postgres)

    assert states(good) == [State.SUCCEEDED]
    found = postgres.get(bad.id)
    assert found.state is (State.SUCCEEDED if name == "double" else State.FAILED if count > 0 else State.SCHEDULED)
    assert found.attempt == min(count + 1, 2147483647)


@pytest.mark.dj(62)
@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("max_attempts = 0", {"max_attempts": 0}),
        ("meta = '[1]'", {"meta": {"unreadable": "[1]"}}),
        ("meta = '{'", {"meta": {"unreadable": "{"}}),
    ],
)
def test_a_strange_value_stops_nobody(
    value: str, read: dict[str, Any], calls: list[Any], body: Any, postgres: Jobs
) -> None:
    """SQLite refuses such rows; PostgreSQL would at a price that each enqueue pays."""
    asks = act.enqueue(body(lambda: calls.append(current_job().meta)))
    bad, good = raises.enqueue("OSError"), double.enqueue(2)
    execute(postgres, f"UPDATE belayed_jobs SET {value} WHERE id <> {good.id}")

    worked(postgres)

    assert states(asks, good) == [State.SUCCEEDED] * 2
    found = postgres.get(bad.id)
    assert found.state is (State.FAILED if value == "max_attempts = 0" else State.SCHEDULED)
    assert {name: getattr(found, name) for name in read} == read
    assert {name: getattr(postgres.get(asks.id), name) for name in read} == read
    assert calls == [read.get("meta", {})]


@pytest.mark.dj(361)
@pytest.mark.parametrize("column", ["priority", "attempt", "failures", "payload", "queue", "task", "run_at", "state"])
def test_what_every_job_has_is_never_null(column: str, jobs: Jobs) -> None:
    job = double.enqueue(1)

    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        execute(jobs, f"UPDATE belayed_jobs SET {column} = NULL")

    worked(jobs)
    assert states(job) == [State.SUCCEEDED]


@pytest.mark.dj(78)
@pytest.mark.parametrize("column", ["task", "payload", "queue", "error", "worker", "token"])
def test_text_that_is_no_text_stops_nobody(column: str, lite: Jobs) -> None:
    """SQLite takes any bytes for text."""
    bad, good = double.enqueue(1), [double.enqueue(number) for number in range(20)]
    execute(lite, f"UPDATE belayed_jobs SET {column} = CAST(x'61ff' AS text) WHERE id = {bad.id}")

    worked(lite)

    assert states(*good) == [State.SUCCEEDED] * 20
    found = next(job for job in lite.find() if job.id == bad.id)
    ended = {"payload": State.FAILED, "queue": State.READY}.get(column, State.SUCCEEDED)
    assert found.state is ended
    if column in ("task", "queue"):
        assert getattr(found, column) == "a\\xff"


@pytest.mark.dj(78, 144, 323, 356)
def test_a_batch_of_bad_rows_stops_nobody(jobs: Jobs) -> None:
    payloads = [payload for payload, _ in (*AT_ONCE.values(), *LATER.values())]
    bad = [broken(jobs, payload) for payload in payloads]
    good = [double.enqueue(number) for number in range(20)]

    summary = worked(jobs)

    assert (summary.succeeded, summary.failed) == (20, len(AT_ONCE))
    assert states(*good) == [State.SUCCEEDED] * 20
    assert all(jobs.get(id).error for id in bad)


def test_a_job_whose_code_nobody_knows_fails_at_the_limit(jobs: Jobs) -> None:
    bad = broken(jobs, LATER["no such function"][0])
    worked(jobs)
    ago = "unknown_since - 90000000000" if address(jobs.url).dialect == "sqlite" else "unknown_since - interval '25h'"
    execute(jobs, f"UPDATE belayed_jobs SET unknown_since = {ago}")
    due(jobs.get(bad))

    worked(jobs)

    job = jobs.get(bad)
    assert (job.state, job.attempt) == (State.FAILED, 0)
    assert job.error is not None
    assert "tests.worker.tasks has no nowhere" in job.error


def test_a_later_worker_that_knows_the_code_runs_it(lite: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "tests.worker.tasks.double"
    with monkeypatch.context() as hidden:
        job = double.enqueue(4)
        hidden.delitem(registry, name)
        hidden.delattr(tasks, "double")
        worked(lite)
        unknown = job.refresh().error
    due(job)

    worked(lite)

    assert unknown is not None
    assert unknown.startswith("belayed.errors.UnknownTask")
    assert (job.refresh().result, job.attempt) == (8, 1)


@pytest.mark.dj(78, 268)
@pytest.mark.parametrize("key", ["unprintable", "exit"])
def test_an_argument_that_cannot_be_loaded_takes_no_slot_with_it(key: str, lite: Jobs, calls: list[Any]) -> None:
    job = tasks.reads.using(max_attempts=1).enqueue(tasks.Row(key))
    neighbours = [double.enqueue(number) for number in range(5)]

    worked(lite, threads=1)

    assert job.refresh().error
    assert job.state is State.FAILED
    assert calls == []
    assert states(*neighbours) == [State.SUCCEEDED] * 5


@pytest.mark.dj(160, 268)
def test_a_row_that_is_gone_is_looked_for_again_as_after_a_failure(lite: Jobs, calls: list[Any]) -> None:
    job = tasks.reads.enqueue(tasks.Row("gone"))

    worked(lite)

    assert (job.refresh().state, job.attempt, job.failures) == (State.SCHEDULED, 1, 1)
    assert job.error is not None
    assert job.error.startswith("belayed.errors.ObjectNotFound")


@pytest.mark.dj(161, 220, 268)
def test_an_outage_while_a_row_is_loaded_is_a_failure_as_any_other(jobs: Jobs, calls: list[Any]) -> None:
    job = tasks.reads.enqueue(tasks.Row("unreachable"))

    worked(jobs)

    assert (job.refresh().state, job.attempt, job.failures) == (State.SCHEDULED, 1, 1)
    assert job.error == "ConnectionError: the database of the rows is down"
    assert "load_row" in (job.attempts[0].traceback or "")


@pytest.mark.dj(27)
def test_a_method_of_a_row_that_is_gone_fails_its_attempt(lite: Jobs, calls: list[Any]) -> None:
    job = delay(tasks.Row("gone")).shown()

    worked(lite)

    assert (job.refresh().state, job.failures) == (State.SCHEDULED, 1)
    assert (job.error or "").startswith("belayed.errors.ObjectNotFound")
    assert calls == []


def test_a_job_that_takes_too_long_to_load_has_timed_out(lite: Jobs, calls: list[Any]) -> None:
    job = tasks.reads.using(max_run_time=timedelta(seconds=0.1)).enqueue(tasks.Row("slow"))

    worked(lite)

    assert (job.refresh().state, job.failures) == (State.SCHEDULED, 1)
    assert job.attempts[0].outcome is Outcome.TIMED_OUT
    assert calls == []


def test_an_unknown_job_of_another_queue_is_left_alone(lite: Jobs) -> None:
    bad = broken(lite, LATER["no such module"][0], queue="other")

    worked(lite, queues=("default",))

    assert (lite.get(bad).state, lite.get(bad).error) == (State.READY, None)


@pytest.mark.dj(160)
@pytest.mark.parametrize(
    ("draft", "state"),
    [
        (tasks.reads_or_forgets.draft, State.CANCELLED),
        (tasks.reads_or_fails.draft, State.FAILED),
        (tasks.Forgetful, State.CANCELLED),
        (tasks.reads.draft, State.SCHEDULED),
    ],
    ids=["discard_on", "retry_on", "custom job", "neither"],
)
def test_a_row_that_is_gone_meets_the_rules_of_its_job(draft: Any, state: State, jobs: Jobs) -> None:
    job = jobs.enqueue(draft(tasks.Row("gone")))

    worked(jobs)

    assert job.refresh().state is state
