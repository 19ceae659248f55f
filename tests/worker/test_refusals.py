"""What the database refuses of one job: it is that job's own fault, and all others go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from belayed import Outcome, State, Worker, enqueue_many
from belayed.claim import Finished
from belayed.config import address
from belayed.errors import BelayedError
from belayed.jobs import Jobs
from belayed.worker import duties, setaside
from belayed.worker.vigil import Vigil, worker_watched
from tests.patience import patient
from tests.worker.helpers import due, ended, eventually, execute, logged, states, worked, worker
from tests.worker.refusing import allow, locked, refuse
from tests.worker.tasks import act, double, fails, note, note_and_wait
from tests.worker.tree import tree

Body = Callable[[Callable[..., Any]], str]
ASIDE = "is set aside, again in"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again in tenths of seconds what the database refuses."""
    monkeypatch.setattr(setaside, "FIRST", 0.05)
    monkeypatch.setattr(setaside, "LONGEST", 0.2)
    monkeypatch.setattr(duties, "FIRST", 0.05)
    monkeypatch.setattr(duties, "LONGEST", 0.2)


OF_A_JOB = {
    "its way into the history": ("history", "INSERT", "NEW.queue = 'bad'"),
    "its way out of the jobs": ("jobs", "DELETE", "OLD.queue = 'bad'"),
}


@pytest.mark.parametrize("refused", OF_A_JOB.values(), ids=OF_A_JOB)
@pytest.mark.parametrize("kind", ["double", "fails"])
def test_an_outcome_that_is_refused_is_set_aside_and_all_others_are_written(
    refused: tuple[str, str, str], kind: str, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(jobs, *refused)
    one = double.using(queue="bad").draft(1) if kind == "double" else fails.using(queue="bad", max_attempts=1).draft()
    (bad,) = enqueue_many([one])
    others = enqueue_many(double.draft(number) for number in range(100))

    with worker(jobs) as running:
        eventually(lambda: ended(*others) and logged(caplog, ASIDE), within=30)
        later = [double.enqueue(1).wait(patient(30)) for _ in range(3)]
        (line,) = logged(caplog, ASIDE)
        was = bad.refresh().state
        beaten = running.loop and bad.id in running.loop.known()
        allow(jobs, *refused[:2])
        eventually(lambda: ended(bad), within=30)

    assert (was, beaten) == (State.RUNNING, True)
    assert states(*others, *later) == [State.SUCCEEDED] * 103
    assert f"tests.worker.tasks.{kind} #{bad.id}" in line
    assert f"no {refused[1]} here" in line
    assert bad.refresh().attempt == 1
    assert not logged(caplog, "the store is not available")


def test_a_worker_that_ends_tries_once_more_and_says_what_is_left(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    refuse(jobs, *OF_A_JOB["its way into the history"])
    bad = double.using(queue="bad").enqueue(1)
    good = double.enqueue(2)

    with pytest.raises(BelayedError, match=f"did not take the outcome of #{bad.id}: .*rescue"):
        worked(jobs)

    assert states(bad, good) == [State.RUNNING, State.SUCCEEDED]
    # Others take it for dead in time: it has not signed off.
    assert len(jobs.workers()) == 1


def test_what_is_refused_no_more_at_the_end_is_written_then(
    jobs: Jobs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setaside, "FIRST", 60.0)
    monkeypatch.setattr(setaside, "LONGEST", 60.0)
    refuse(jobs, *OF_A_JOB["its way into the history"])
    bad = double.using(queue="bad").enqueue(1)

    with worker(jobs):
        eventually(lambda: logged(caplog, ASIDE), within=30)
        allow(jobs, "history", "INSERT")

    assert bad.refresh().state is State.SUCCEEDED
    assert jobs.workers() == []


def test_nothing_is_told_as_done_that_was_refused(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "belayed")
    refuse(jobs, "history", "INSERT", "NEW.queue = 'bad'")
    refuse(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND NEW.state = 'scheduled'")
    well, badly = double.using(queue="bad").enqueue(1), fails.using(queue="bad").enqueue()

    with worker(jobs):
        eventually(lambda: len(logged(caplog, ASIDE)) == 2, within=30)
        early = [line for job in (well, badly) for line in logged(caplog, f"#{job.id} ") if is_end(line)]
        allow(jobs, "history", "INSERT")
        allow(jobs, "jobs", "UPDATE")
        eventually(lambda: states(well, badly) == [State.SUCCEEDED, State.SCHEDULED], within=30)
        eventually(lambda: logged(caplog, f"fails #{badly.id} failed at attempt 1, again in"))
        eventually(lambda: logged(caplog, f"double #{well.id} succeeded in"))

    assert early == []


def is_end(line: str) -> bool:
    return " succeeded" in line or " failed" in line


ATTEMPT = {
    "retried": (fails.using(queue="bad"), State.SCHEDULED),
    "failed": (fails.using(queue="bad", max_attempts=1), State.FAILED),
}


@pytest.mark.parametrize(("kind", "state"), ATTEMPT.values(), ids=ATTEMPT)
def test_a_refused_record_of_an_attempt_keeps_no_job_from_ending(
    kind: Any, state: State, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(jobs, "attempts", "INSERT")
    job, other = kind.enqueue(), double.enqueue(1)

    worked(jobs)

    assert states(job, other) == [state, State.SUCCEEDED]
    assert (job.attempt, job.failures, job.attempts) == (1, 1, ())
    assert logged(caplog, f"fails #{job.id} was written without the record of its attempts, which the database refuses")
    assert not logged(caplog, ASIDE)


@pytest.mark.parametrize("table", ["attempts of an end", "attempts of a success"])
def test_attempts_that_cannot_be_deleted_keep_no_job_from_ending(table: str, jobs: Jobs, body: Body) -> None:
    tries = iter(range(2))

    def second_time_lucky() -> None:
        if next(tries) == 0 or table == "attempts of an end":
            raise ValueError("no")

    job = act.using(max_attempts=2, keep_failed=False).enqueue(body(second_time_lucky))
    worked(jobs)
    due(job)
    refuse(jobs, "attempts", "DELETE")
    jobs.config = replace(jobs.config, keep_succeeded=False)

    worked(jobs)

    assert jobs.find() == []


def test_a_sequence_behind_the_rows_keeps_no_job_from_ending(postgres: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    execute(
        postgres,
        "INSERT INTO belayed_attempts (id, job_id, ended_at, number, outcome)"
        " SELECT n, -1, now(), 1, 'failed' FROM generate_series(1, 400) AS n",
    )
    jobs = enqueue_many(fails.using(max_attempts=1).draft() for _ in range(40))
    others = enqueue_many(double.draft(number) for number in range(40))

    worked(postgres)

    assert states(*jobs, *others) == [State.FAILED] * 40 + [State.SUCCEEDED] * 40
    assert logged(caplog, "without the record of its attempts, which the database refuses")
    assert not logged(caplog, ASIDE)


def test_a_foreign_key_to_a_job_keeps_only_that_one(postgres: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    saved = enqueue_many(double.draft(number) for number in range(50))
    execute(postgres, "CREATE TABLE orders (job bigint REFERENCES belayed_jobs)")
    execute(postgres, f"INSERT INTO orders VALUES ({saved[20].id})")

    with worker(postgres):
        eventually(lambda: ended(*saved[:20], *saved[21:]), within=30)
        eventually(lambda: logged(caplog, f"double #{saved[20].id} (succeeded), which {ASIDE}"), within=30)
        execute(postgres, "DELETE FROM orders")
        eventually(lambda: ended(saved[20]), within=30)

    assert "orders" in logged(caplog, ASIDE)[0]


OTHER = {
    "a table that is missing": "INSERT INTO no_such_table VALUES (1)",
    "a serialization failure": "RAISE EXCEPTION 'again' USING ERRCODE = '40001'",
    "a time-out of its own": "RAISE EXCEPTION 'late' USING ERRCODE = '57014'",
    "a lock of its own": "RAISE EXCEPTION 'locked' USING ERRCODE = '55P03'",
}


@pytest.mark.parametrize("body", OTHER.values(), ids=OTHER)
def test_what_a_trigger_runs_into_is_one_job_s_fault(
    body: str, postgres: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(postgres, "history", "INSERT", "NEW.queue = 'bad'", body=body)
    bad = double.using(queue="bad").enqueue(1)
    others = enqueue_many(double.draft(number) for number in range(30))

    with worker(postgres):
        eventually(lambda: ended(*others) and logged(caplog, ASIDE), within=30)
        double.enqueue(1).wait(patient(30))
        allow(postgres, "history", "INSERT")
        eventually(lambda: ended(bad), within=30)

    assert not logged(caplog, "the store is not available")


def test_a_table_that_a_trigger_misses_on_sqlite_is_not_ours(lite: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    execute(
        lite,
        "CREATE TRIGGER audits BEFORE INSERT ON belayed_history BEGIN INSERT INTO no_such_table VALUES (1); END",
    )
    saved = [double.enqueue(1), double.enqueue(2)]

    with worker(lite):
        eventually(lambda: len(logged(caplog, ASIDE)) == 2, within=30)
        execute(lite, "CREATE TABLE no_such_table (one)")
        eventually(lambda: ended(*saved), within=30)


def test_a_trigger_that_takes_too_long_keeps_only_its_own_job(
    postgres: Jobs, caplog: pytest.LogCaptureFixture, effects: Path
) -> None:
    refuse(postgres, "history", "INSERT", "NEW.queue = 'bad'", body="PERFORM pg_sleep(5)")
    bad = note.using(queue="bad").enqueue(str(effects))
    others = enqueue_many(double.draft(number) for number in range(10))

    with worker(postgres):
        eventually(lambda: ended(*others) and logged(caplog, ASIDE), within=60)
        allow(postgres, "history", "INSERT")
        eventually(lambda: ended(bad), within=60)

    assert effects.read_text().count("ran") == 1


def test_a_hint_that_cannot_be_sent_keeps_no_job_from_going_back(
    postgres: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, effects: Path
) -> None:
    job = note_and_wait.enqueue(str(effects))

    with worker(postgres, grace=timedelta(seconds=0.1)):
        eventually(effects.read_text)
        # As a NOTIFY whose queue is full.
        monkeypatch.setattr(postgres.store, "channel", "c" * 64)

    assert (job.refresh().state, job.attempt, job.failures) == (State.READY, 1, 0)
    assert [one.outcome for one in job.attempts] == [Outcome.INTERRUPTED]
    assert not logged(caplog, "did not take the outcome of")


def test_a_locked_row_keeps_only_its_own_outcome(postgres: Jobs, body: Body, caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()
    runs: list[int] = []
    held = act.enqueue(body(lambda: runs.append(1) or gate.wait(patient(60))))

    with worker(postgres) as running:
        eventually(lambda: runs)
        with locked(postgres, held.id):
            gate.set()
            others = enqueue_many(double.draft(number) for number in range(50))
            eventually(lambda: ended(*others) and logged(caplog, ASIDE), within=30)
            assert waiting(running) is None
            # Longer than the lapse, and others are written all the time.
            until = time.monotonic() + 2
            while time.monotonic() < until:
                double.enqueue(1).wait(patient(30))
            assert held.refresh().state is State.RUNNING
        eventually(lambda: ended(held), within=30)

    assert runs == [1]
    (line,) = logged(caplog, ASIDE)
    assert f"#{held.id} (succeeded)" in line
    assert "Another transaction holds its row" in line
    assert not logged(caplog, "the store is not available")


def waiting(running: Worker) -> str | None:
    """What /readyz says."""
    return Vigil(running.config, [worker_watched(running)]).waiting()


def test_a_cancel_in_a_long_transaction_keeps_only_its_own_job(postgres: Jobs, body: Body) -> None:
    gate = threading.Event()
    begun = threading.Event()
    held = act.enqueue(body(lambda: begun.set() or gate.wait(patient(60))))

    with worker(postgres), psycopg.connect(address(postgres.url).target) as raw:
        eventually(begun.is_set)
        raw.execute("UPDATE belayed_jobs SET cancel_requested = true WHERE id = %s", (held.id,))
        gate.set()
        others = enqueue_many(double.draft(number) for number in range(50))
        eventually(lambda: ended(*others), within=30)
        raw.commit()
        eventually(lambda: ended(held), within=30)

    assert held.refresh().state is State.SUCCEEDED


def test_a_worker_waits_at_its_end_for_a_row_that_is_locked(postgres: Jobs, body: Body) -> None:
    gate, begun, late = threading.Event(), threading.Event(), threading.Event()
    held = act.enqueue(body(lambda: begun.set() or gate.wait(patient(60))))

    def unlocks() -> None:
        with locked(postgres, held.id):
            late.set()
            time.sleep(0.7)

    with worker(postgres, grace=timedelta(seconds=60)):
        eventually(begun.is_set)
        thread = threading.Thread(target=unlocks)
        thread.start()
        assert late.wait(patient(30))
        gate.set()
    thread.join()

    assert held.refresh().state is State.SUCCEEDED


def test_a_job_that_cannot_be_claimed_keeps_no_other_from_it(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    saved = [double.using(max_attempts=77 if nth in (0, 7) else 3).enqueue(nth) for nth in range(60)]
    bad, good = [saved[0], saved[7]], [*saved[1:7], *saved[8:]]
    refuse(jobs, "jobs", "UPDATE", "NEW.max_attempts = 77 AND NEW.state = 'running'")

    with worker(jobs):
        eventually(lambda: ended(*good), within=30)
        double.enqueue(1).wait(patient(30))
        was = states(*bad)
        allow(jobs, "jobs", "UPDATE")
        eventually(lambda: ended(*bad), within=30)
        double.enqueue(1).wait(patient(30))

    assert was == [State.READY] * 2
    assert len(logged(caplog, "the database refuses to claim job")) == 2
    assert not logged(caplog, "the store is not available")


def test_a_worker_ends_though_a_job_cannot_be_claimed(jobs: Jobs) -> None:
    saved = [double.using(max_attempts=77 if nth == 0 else 3).enqueue(nth) for nth in range(10)]
    refuse(jobs, "jobs", "UPDATE", "NEW.max_attempts = 77 AND NEW.state = 'running'")

    worked(jobs)

    assert states(*saved) == [State.READY] + [State.SUCCEEDED] * 9


def test_many_jobs_that_cannot_be_claimed_keep_no_other_from_it(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(duties, "FIRST", 1.0)
    monkeypatch.setattr(duties, "LONGEST", 60.0)
    enqueue_many(double.using(queue="bad", priority=-1).draft(nth) for nth in range(100))
    good = double.enqueue(1)
    refuse(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND NEW.state = 'running'")

    with worker(jobs, threads=2):
        eventually(lambda: ended(good), within=30)

    assert not logged(caplog, "the store is not available")


def test_a_worker_ends_only_when_it_has_looked_past_all_that_cannot_be_claimed(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "FIRST", 1.0)
    monkeypatch.setattr(duties, "LONGEST", 60.0)
    enqueue_many(double.using(queue="bad", priority=-1).draft(nth) for nth in range(100))
    good = enqueue_many(double.draft(nth) for nth in range(20))
    refuse(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND NEW.state = 'running'")

    worked(jobs)

    assert states(*good) == [State.SUCCEEDED] * 20


def test_more_jobs_that_cannot_be_claimed_than_are_passed_over_are_no_outage(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(duties, "MOST", 20)
    enqueue_many(double.using(queue="bad", priority=5).draft(nth) for nth in range(100))
    refuse(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND NEW.state = 'running'")

    with worker(jobs, threads=2):
        eventually(lambda: logged(caplog, "20 such jobs are passed over"), within=30)
        good = enqueue_many(double.draft(nth) for nth in range(50))
        eventually(lambda: ended(*good), within=30)

    assert not logged(caplog, "the store is not available")


def test_an_outcome_of_a_claim_that_was_lost_leaves_that_of_the_next_one_set_aside(jobs: Jobs) -> None:
    one = Finished.succeeded(1, "first token", 0.1, None, True, 1)
    later = Finished.succeeded(1, "second token", 0.1, None, True, 2)
    took: list[tuple[list[Finished], set[int]]] = []
    perform = jobs.connections.perform
    aside = setaside.SetAside(perform, jobs.store, lambda *given: took.append(given), lambda: None)
    aside.set_aside(one, BelayedError("refused"))
    aside.parts.append([one])
    aside.set_aside(later, BelayedError("refused"))

    aside.write(time.monotonic() + 10)

    assert took == [([one], set())]
    assert [entry.one for entry in aside.entries.values()] == [later]


def test_no_more_is_claimed_than_can_be_kept_unwritten(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(setaside, "MOST", 20)
    refuse(jobs, "history", "INSERT")
    saved = enqueue_many(double.draft(number) for number in range(500))

    with worker(jobs, read_ahead=10) as running:
        eventually(lambda: running.loop and running.loop.aside.full, within=30)
        eventually(lambda: waiting(running) == FULL)
        eventually(lambda: running.loop and running.loop.slots.idle())
        claimed = running.loop and len(running.loop.known())
        allow(jobs, "history", "INSERT")
        eventually(lambda: ended(*saved), within=30)
        eventually(lambda: waiting(running) is None)

    assert claimed is not None
    assert 20 <= claimed < 200


FULL = "the database refuses outcomes, and no more jobs are claimed: its log names them"


def test_a_supervisor_goes_on_beside_what_is_refused_and_says_so_at_its_end(jobs: Jobs, tmp_path: Path) -> None:
    refuse(jobs, "history", "INSERT", "NEW.queue = 'bad'")
    bad = double.using(queue="bad").enqueue(1)
    others = enqueue_many([double.draft(1), fails.using(max_attempts=1).draft()] * 20)

    with tree(jobs, tmp_path / "log", app="tests.worker.tasks", processes=1, threads=2) as supervisor:
        eventually(lambda: ended(*others), within=60)
        assert supervisor.says(f"double #{bad.id} .succeeded., which is set aside, again in")
        assert supervisor.says(f"double #{others[0].id} succeeded in")
        assert supervisor.says(f"fails #{others[1].id} FAILED permanently with tests.worker.tasks.Declined: no")
        assert not supervisor.logged(f"double #{bad.id} succeeded in")
        code = supervisor.stopped(60)

    assert code == 1
    assert supervisor.logged(f"did not take the outcome of #{bad.id}: ")
    assert bad.refresh().state is State.RUNNING
