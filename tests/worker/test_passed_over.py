"""What the database passes over without an error is noticed, whatever it is: no job runs again and again for it.

A trigger may do that, a rule, or row-level security. And what fails within a trigger is one job's fault.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from belayed import State, enqueue_many
from belayed.errors import BelayedError
from belayed.jobs import Jobs
from belayed.store.answers import PASSED_OVER
from belayed.worker import duties, pruning, setaside
from tests.patience import patient
from tests.worker.helpers import ended, eventually, execute, logged, process, states, worked, worker
from tests.worker.refusing import allow, hush, miss, refuse
from tests.worker.tasks import double, fails, note, note_and_wait

ASIDE = "is set aside, again in"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again in tenths of seconds what the database refuses."""
    for module in (setaside, duties):
        monkeypatch.setattr(module, "FIRST", 0.05)
        monkeypatch.setattr(module, "LONGEST", 0.2)


def asked(running: Any, seconds: float) -> int:
    """How many operations a worker asks of its store in a time in which nothing else is to be waited for."""
    loop = eventually(lambda: running.loop)
    perform, names = loop.line.connection.perform, []

    def counted(steps: Any) -> Any:
        names.append(steps.__name__)
        return perform(steps)

    loop.line.connection.perform = counted
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > until)
    return len(names)


def looked_for_strays(running: Any) -> None:
    """Wait until a worker has looked for claims that have not reached it."""
    loop = eventually(lambda: running.loop)
    at = loop.upkeep.rescue_at
    eventually(lambda: loop.upkeep.rescue_at > at)


OVERLOOKED = {
    "ends": (double, "DELETE", "OLD.queue = 'bad'"),
    "is put off": (fails, "UPDATE", "OLD.queue = 'bad' AND OLD.state = 'running'"),
}


@pytest.mark.parametrize(("kind", "event", "when"), OVERLOOKED.values(), ids=OVERLOOKED)
def test_a_job_whose_outcome_is_passed_over_runs_once(
    kind: Any, event: str, when: str, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    hush(jobs, "jobs", event, when)
    bad = kind.using(queue="bad").enqueue(*[1] * (kind is double))
    others = enqueue_many(double.draft(number) for number in range(30))

    with worker(jobs) as running:
        eventually(lambda: ended(*others) and logged(caplog, ASIDE))
        loop = eventually(lambda: running.loop)
        eventually(lambda: loop.aside.entries[bad.id].tries > 3)
        looked_for_strays(running)
        was = bad.refresh().state
        allow(jobs, "jobs", event)
        eventually(lambda: bad.refresh().state in (State.SUCCEEDED, State.SCHEDULED))

    assert (was, bad.attempt) == (State.RUNNING, 1)
    assert len(bad.attempts) == (kind is fails)
    (line,) = logged(caplog, ASIDE)
    assert PASSED_OVER in line
    assert not logged(caplog, "claim had lapsed")
    assert not logged(caplog, "gave back")


def test_a_worker_that_ends_names_the_jobs_whose_outcomes_are_passed_over(jobs: Jobs) -> None:
    hush(jobs, "jobs", "DELETE", "OLD.queue = 'bad'")
    bad, good = double.using(queue="bad").enqueue(1), double.enqueue(2)

    with pytest.raises(BelayedError, match=f"did not take the outcome of #{bad.id}: "):
        worked(jobs)

    assert states(bad, good) == [State.RUNNING, State.SUCCEEDED]
    assert len(jobs.workers()) == 1


def test_an_outage_while_a_claim_is_looked_at_loses_no_outcome(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    hush(jobs, "jobs", "DELETE", "OLD.queue = 'bad'")

    with worker(jobs) as running:
        loop = eventually(lambda: running.loop)
        eventually(lambda: loop.upkeep.last_beat)
        good = loop.store.statements
        loop.store.statements = {**good, "settled": (replace(good["settled"][0], named="SELEC", pyformat="SELEC"),)}
        bad = double.using(queue="bad").enqueue(1)
        eventually(lambda: logged(caplog, "the store is not available"))
        looked_for_strays(running)
        loop.store.statements = good
        eventually(lambda: logged(caplog, ASIDE))
        allow(jobs, "jobs", "DELETE")
        eventually(lambda: ended(bad))

    assert (bad.state, bad.attempt) == (State.SUCCEEDED, 1)
    assert not logged(caplog, "claim had lapsed")
    assert not logged(caplog, "gave back")


def test_a_job_whose_record_is_passed_over_ends_all_the_same(jobs: Jobs, effects: Any) -> None:
    hush(jobs, "history", "INSERT")
    note.enqueue(str(effects))

    summary = worked(jobs)

    assert (summary.succeeded, effects.read_text()) == (1, "ran\n")
    assert jobs.find() == []


NEVER_CLAIMED = "NEW.priority = 1 AND NEW.state = 'running'"


def test_jobs_whose_claims_are_passed_over_keep_no_other_from_being_claimed(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    hush(jobs, "jobs", "UPDATE", NEVER_CLAIMED)
    bad = enqueue_many(double.using(priority=1).draft(1) for _ in range(40))
    good = double.using(priority=2).enqueue(1)

    with worker(jobs, read_ahead=1, poll_interval=timedelta(seconds=0.1)):
        eventually(lambda: ended(good))
        eventually(lambda: len(logged(caplog, "refuses to claim job #")) == 40)
        allow(jobs, "jobs", "UPDATE")
        eventually(lambda: ended(*bad))

    lines = logged(caplog, "refuses to claim job #")
    assert len(lines) == 40
    assert all(PASSED_OVER in line for line in lines)


def test_a_worker_ends_only_when_it_has_looked_past_all_whose_claims_are_passed_over(jobs: Jobs) -> None:
    hush(jobs, "jobs", "UPDATE", NEVER_CLAIMED)
    bad = enqueue_many(double.using(priority=1).draft(1) for _ in range(100))
    good = enqueue_many(double.using(priority=2).draft(1) for _ in range(20))

    worked(jobs)

    assert states(*good) == [State.SUCCEEDED] * 20
    assert states(*bad) == [State.READY] * 100


def test_a_worker_whose_jobs_can_none_be_claimed_asks_seldom(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(duties, "MOST", 20)
    hush(jobs, "jobs", "UPDATE", NEVER_CLAIMED)
    enqueue_many(double.using(priority=1).draft(1) for _ in range(100))

    with worker(jobs, poll_interval=timedelta(seconds=0.5)) as running:
        eventually(lambda: logged(caplog, "20 such jobs are passed over"))
        number = asked(running, 2)
        good = enqueue_many(double.draft(1) for _ in range(20))
        eventually(lambda: ended(*good))

    # Some looks each half a second, and a beat and a look for dead workers each 0.2 s.
    assert number < 200
    assert not logged(caplog, "the store is not available")


def test_a_paused_queue_is_not_taken_for_one_whose_claims_are_passed_over(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.pause("mail")
    waiting = double.using(queue="mail").enqueue(1)

    with worker(jobs, poll_interval=timedelta(seconds=0.01)) as running:
        loop = eventually(lambda: running.loop)
        looks = [0]
        looked = loop.claims.looked

        def counted(*given: Any) -> None:
            looks[0] += 1
            looked(*given)

        loop.claims.looked = counted  # type: ignore[method-assign]
        eventually(lambda: looks[0] > 20)
        jobs.resume("mail")
        eventually(lambda: ended(waiting))

    assert not logged(caplog, "refuses to claim")


def test_a_job_whose_promotion_is_passed_over_costs_little(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    bad, good = (double.using(queue=queue, run_at=HOUR).enqueue(1) for queue in ("bad", "good"))
    hush(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND NEW.state = 'ready'")
    execute(jobs, "UPDATE belayed_jobs SET run_at = created_at")

    with worker(jobs, poll_interval=timedelta(seconds=0.5)) as running:
        eventually(lambda: logged(caplog, f"refuses to make ready job #{bad.id}"))
        eventually(lambda: ended(good))
        number = asked(running, 2)
        allow(jobs, "jobs", "UPDATE")
        eventually(lambda: ended(bad))

    (line,) = logged(caplog, "refuses to make ready")
    assert PASSED_OVER in line
    assert number < 200


def test_a_worker_whose_registration_is_passed_over_claims_nothing(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    hush(jobs, "workers", "INSERT")
    job = double.enqueue(1)

    with worker(jobs):
        eventually(lambda: logged(caplog, "the worker cannot be registered"))
        early = job.refresh().state
        allow(jobs, "workers", "INSERT")
        eventually(lambda: ended(job))

    assert early is State.READY
    assert not logged(caplog, "no beat for")


def test_a_job_whose_rescue_is_passed_over_is_named_and_rescued_later(
    jobs: Jobs, effects: Any, caplog: pytest.LogCaptureFixture
) -> None:
    saved = [note_and_wait.using(queue=queue).enqueue(str(effects)) for queue in ("bad", "good")]
    with process(jobs) as other:
        eventually(lambda: effects.read_text().count("ran") == 2)
        other.kill()
    hush(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND OLD.state = 'running'")

    with worker(jobs, queues=["nothing"]):
        eventually(lambda: logged(caplog, f"the database refuses to rescue job #{saved[0].id}"))
        was = states(*saved)
        allow(jobs, "jobs", "UPDATE")
        eventually(lambda: saved[0].refresh().state is State.READY)

    assert was == [State.RUNNING, State.READY]
    assert saved[0].rescues == 1
    # The looks before it was found out have left no more.
    assert len(saved[0].attempts) <= 3
    assert len(jobs.workers()) == 0


def test_a_dead_worker_that_cannot_be_forgotten_costs_little(jobs: Jobs, effects: Any) -> None:
    job = note_and_wait.enqueue(str(effects))
    with process(jobs) as other:
        eventually(effects.read_text)
        other.kill()
    hush(jobs, "workers", "DELETE")

    with worker(jobs, queues=["nothing"]) as running:
        eventually(lambda: job.refresh().state is State.READY)
        number = asked(running, 2)

    assert number < 200


def test_a_claim_that_cannot_be_given_back_is_named(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    with worker(jobs, queues=["nothing"]) as running:
        eventually(jobs.workers)
        assert running.loop
        saved = [double.using(queue=queue).enqueue(1) for queue in ("bad", "good")]
        stray = f"state = 'running', worker = '{running.loop.row.id}', token = 't', claimed_at = run_at"
        hush(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND OLD.state = 'running'")
        execute(jobs, f"UPDATE belayed_jobs SET {stray}")

        eventually(lambda: logged(caplog, f"the database refuses to give back job #{saved[0].id}"))

        assert states(*saved) == [State.RUNNING, State.READY]
        allow(jobs, "jobs", "UPDATE")
        eventually(lambda: saved[0].refresh().state is State.READY)


def test_pruning_that_is_passed_over_is_named_and_keeps_no_other_from_it(
    url: str, opened: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pruning, "PRUNE_EVERY", 0.05)
    monkeypatch.setattr(pruning, "PRUNE_BATCH", 10)
    jobs = opened(url, keep_succeeded=timedelta())
    hush(jobs, "history", "DELETE", "OLD.queue = 'bad'")
    enqueue_many(double.using(queue="bad").draft(1) for _ in range(3))
    worked(jobs)

    with worker(jobs):
        enqueue_many(double.draft(1) for _ in range(100))
        eventually(lambda: jobs.counts().ended[State.SUCCEEDED] == 3 and not jobs.counts().live)
        eventually(lambda: logged(caplog, "pruning jobs that have succeeded does not work"))
        allow(jobs, "history", "DELETE")
        eventually(lambda: jobs.counts().ended[State.SUCCEEDED] == 0)

    assert PASSED_OVER in logged(caplog, "pruning jobs that have succeeded does not work")[0]


def test_jobs_that_row_level_security_hides_are_named_and_the_others_run(
    postgres: Jobs, postgres_url: str, opened: Any, caplog: pytest.LogCaptureFixture
) -> None:
    role = f"hidden_{uuid4().hex[:8]}"
    held = double.using(queue="ends").enqueue(1)
    hidden, good = double.using(queue="hidden").enqueue(1), double.using(queue="good").enqueue(1)
    execute(
        postgres,
        f"""
        CREATE ROLE {role} LOGIN;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
        ALTER TABLE belayed_jobs ENABLE ROW LEVEL SECURITY;
        CREATE POLICY sees ON belayed_jobs FOR SELECT USING (true);
        CREATE POLICY saves ON belayed_jobs FOR INSERT WITH CHECK (true);
        CREATE POLICY changes ON belayed_jobs FOR UPDATE USING (queue <> 'hidden');
        CREATE POLICY ends ON belayed_jobs FOR DELETE USING (queue <> 'ends')
        """,
    )
    try:
        with worker(opened_as(postgres_url, role, opened), poll_interval=timedelta(seconds=0.1)):
            eventually(lambda: ended(good) and logged(caplog, f"double #{held.id} (succeeded), which {ASIDE}"))
            eventually(lambda: logged(caplog, f"the database refuses to claim job #{hidden.id}"))
            was = postgres.get(held.id).state, postgres.get(hidden.id).state
            execute(postgres, "ALTER TABLE belayed_jobs DISABLE ROW LEVEL SECURITY")
            eventually(lambda: ended(held, hidden))
    finally:
        execute(postgres, f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert was == (State.RUNNING, State.READY)
    assert (held.attempt, hidden.attempt) == (1, 1)


def opened_as(url: str, role: str, opened: Any) -> Jobs:
    """Jobs in the same database, as another role."""
    jobs: Jobs = opened(url.replace("postgres@", f"{role}@"))
    return jobs


ELSEWHERE = ["08001", "08006", "57P01", "53300", "53200", "25006", "42P01", "3F000", "2200H"]


@pytest.mark.parametrize("code", ELSEWHERE)
def test_what_a_trigger_raises_is_one_job_s_fault_whatever_its_code(
    code: str, postgres: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    raising = f"RAISE EXCEPTION 'no such server' USING ERRCODE = '{code}'"
    refuse(postgres, "history", "INSERT", "NEW.queue = 'bad'", body=raising)
    bad, good = double.using(queue="bad").enqueue(1), double.enqueue(2)

    with pytest.raises(BelayedError, match=f"did not take the outcome of #{bad.id}: "):
        worked(postgres)

    assert states(bad, good) == [State.RUNNING, State.SUCCEEDED]
    assert not logged(caplog, "not available")


def test_a_beat_that_misses_a_table_of_others_stops_the_worker_only_for_that_long(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    with worker(jobs) as running:
        eventually(lambda: running.loop and running.loop.upkeep.last_beat)
        miss(jobs, "workers", "UPDATE")
        eventually(lambda: logged(caplog, "the store is not available, running jobs go on: the database refused"))
        allow(jobs, "workers", "UPDATE")
        job = double.enqueue(1).wait(patient(30))

    assert job.state is State.SUCCEEDED


def test_a_job_that_cannot_become_ready_for_a_table_of_others_is_passed_over(
    postgres: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = (double.using(queue=queue, run_at=HOUR).enqueue(1) for queue in ("bad", "good"))
    miss(postgres, "jobs", "UPDATE", "NEW.queue = 'bad' AND NEW.state = 'ready'")
    execute(postgres, "UPDATE belayed_jobs SET run_at = created_at")

    with worker(postgres):
        eventually(lambda: ended(good))
        eventually(lambda: logged(caplog, f"refuses to make ready job #{bad.id}"))

    assert bad.refresh().state is State.SCHEDULED
