"""A duty that fails is put off: claims and the other duties go on, and rows that are refused are passed over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from belayed import Outcome, State, enqueue_many
from belayed.jobs import Jobs
from belayed.worker import duties, pruning, upkeep
from tests.patience import patient
from tests.worker.helpers import ended, eventually, execute, logged, process, states, worker
from tests.worker.refusing import allow, locked, refuse
from tests.worker.tasks import double, note_and_wait

Opened = Callable[..., Jobs]
HOUR = timedelta(hours=1)
FAILS = "does not work, jobs and other duties go on; again in"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again in tenths of seconds what has failed, and prune all the time."""
    monkeypatch.setattr(duties, "FIRST", 0.05)
    monkeypatch.setattr(duties, "LONGEST", 0.2)
    monkeypatch.setattr(pruning, "PRUNE_EVERY", 0.05)


def later(jobs: Jobs, number: int, queue: str = "default") -> list[Any]:
    """Jobs that are scheduled, and due."""
    saved = enqueue_many(double.using(queue=queue, run_at=HOUR).draft(n) for n in range(number))
    ago = "run_at - 7200000000" if jobs.address.dialect == "sqlite" else "run_at - interval '2h'"
    ids = ", ".join(str(job.id) for job in saved)
    execute(jobs, f"UPDATE belayed_jobs SET run_at = {ago} WHERE id IN ({ids})")
    return saved


def test_a_scheduled_job_that_cannot_be_made_ready_keeps_no_other_from_it(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    bad = later(jobs, 1, "bad") + later(jobs, 1, "bad")
    good = later(jobs, 50)
    refuse(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND OLD.state = 'scheduled'")

    with worker(jobs):
        eventually(lambda: ended(*good), within=30)
        double.using(run_at=timedelta(seconds=0.2)).enqueue(1).wait(patient(30))
        was = states(*bad)
        allow(jobs, "jobs", "UPDATE")
        eventually(lambda: ended(*bad), within=30)

    assert was == [State.SCHEDULED] * 2
    lines = logged(caplog, "the database refuses to make ready job")
    assert sorted(line.split("#")[1].split(",")[0] for line in lines) == sorted(str(job.id) for job in bad)
    assert not logged(caplog, "the store is not available")


def test_a_worker_does_not_ask_again_and_again_for_what_cannot_be_made_ready(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "PRUNE_EVERY", 60.0)
    later(jobs, 3, "bad")
    refuse(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND OLD.state = 'scheduled'")

    with worker(jobs, poll_interval=timedelta(seconds=0.5)) as running:
        loop = eventually(lambda: running.loop)
        eventually(lambda: loop.upkeep.stuck_promotions.rows)
        asked: list[Any] = []
        perform = loop.line.perform

        def counted(steps: Any, *given: Any) -> Any:
            asked.append(steps)
            return perform(steps, *given)

        loop.perform = counted
        double.using(run_at=timedelta(seconds=2)).enqueue(1).wait(patient(30))

    assert len(asked) < 200


def test_scheduled_jobs_become_ready_in_many_batches_beside_one_that_cannot(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PROMOTE_BATCH", 20)
    later(jobs, 1, "bad")
    good = later(jobs, 500, "others")
    refuse(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND OLD.state = 'scheduled'")

    with worker(jobs, queues=["nothing"], poll_interval=timedelta(seconds=60)):
        eventually(lambda: sum(one.jobs for one in jobs.counts().live if one.state is State.READY) == 500, within=30)

    assert states(*good[:3]) == [State.READY] * 3


def test_a_due_job_that_is_locked_is_not_looked_for_again_and_again(postgres: Jobs) -> None:
    (held,) = later(postgres, 1)

    with locked(postgres, held.id), worker(postgres) as running:
        loop = eventually(lambda: running.loop)
        eventually(lambda: loop.upkeep.vain > 6)
        looks: list[int] = []
        promote = loop.store.promote

        def counted(**given: Any) -> Any:
            looks.append(1)
            return promote(**given)

        loop.store.promote = counted  # type: ignore[method-assign]
        double.using(run_at=timedelta(seconds=2)).enqueue(1).wait(patient(30))

    assert len(looks) < 30


def test_pruning_that_is_refused_stops_nothing(url: str, opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    jobs = opened(url, keep_succeeded=timedelta(), keep_failed=HOUR)
    refuse(jobs, "history", "DELETE")

    with worker(jobs):
        double.enqueue(1).wait(patient(30))
        eventually(lambda: logged(caplog, f"pruning jobs that have succeeded {FAILS}"), within=30)
        saved = [double.enqueue(1) for _ in range(20)]
        eventually(lambda: ended(*saved), within=30)
        later_ones = later(jobs, 5)
        eventually(lambda: ended(*later_ones), within=30)
        allow(jobs, "history", "DELETE")
        eventually(lambda: jobs.counts().ended[State.SUCCEEDED] == 0, within=30)
        assert len(logged(caplog, "pruning jobs that have succeeded does not work")) == 1

    assert not logged(caplog, "the store is not available")


def test_pruning_that_takes_too_long_goes_on_with_less_at_a_time(
    postgres_url: str, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = opened(postgres_url)
    enqueue_many(double.draft(number) for number in range(400))
    with worker(jobs):
        eventually(lambda: jobs.counts().ended[State.SUCCEEDED] == 400, within=30)
    refuse(jobs, "history", "DELETE", body="PERFORM pg_sleep(0.002)")
    limit = "options=-c%20statement_timeout%3D300"
    slow = opened(f"{postgres_url}{'&' if '?' in postgres_url else '?'}{limit}", keep_succeeded=timedelta())

    with worker(slow, lapse=timedelta(seconds=30)) as running:
        eventually(lambda: slow.counts().ended[State.SUCCEEDED] == 0, within=60)
        double.enqueue(1).wait(patient(30))
        assert running.loop
        assert not running.loop.outages

    assert logged(caplog, f"pruning jobs that have succeeded {FAILS}")
    assert not logged(caplog, "the store is not available")


def test_pruning_that_the_worker_gives_up_stops_nothing(
    postgres_url: str, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = opened(postgres_url, keep_succeeded=timedelta())
    refuse(jobs, "history", "DELETE", body="PERFORM pg_sleep(30)")

    with worker(jobs, lapse=timedelta(seconds=3)):
        double.enqueue(1).wait(patient(30))
        eventually(lambda: logged(caplog, f"pruning jobs that have succeeded {FAILS}"), within=30)
        for _ in range(5):
            double.enqueue(1).wait(patient(30))

    assert not logged(caplog, "the store is not available")
    assert not logged(caplog, "no beat for")


def test_the_edge_of_what_is_kept_is_found_step_by_step(
    url: str, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "STEP", 7)
    jobs = opened(url, max_succeeded=40)
    saved = enqueue_many(double.draft(number) for number in range(100))

    with worker(jobs, threads=1):
        eventually(lambda: sorted(job.id for job in jobs.find()) == [job.id for job in saved[-40:]], within=30)


@pytest.mark.parametrize("refused", ["records", "one job"])
def test_a_rescue_that_is_refused_rescues_the_others(
    refused: str, jobs: Jobs, effects: Any, caplog: pytest.LogCaptureFixture
) -> None:
    saved = [note_and_wait.using(queue=queue).enqueue(str(effects)) for queue in ("default", "bad", "default")]
    with process(jobs, threads=3) as other:
        eventually(lambda: effects.read_text().count("ran") == 3)
        other.kill()
    if refused == "records":
        refuse(jobs, "attempts", "INSERT", "NEW.outcome = 'lost'")
    else:
        refuse(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND OLD.state = 'running'")

    with worker(jobs, queues=["nothing"]):
        eventually(lambda: states(saved[0], saved[2]) == [State.READY] * 2, within=30)
        if refused == "records":
            eventually(lambda: saved[1].refresh().state is State.READY)
        else:
            assert saved[1].refresh().state is State.RUNNING
            allow(jobs, "jobs", "UPDATE")
            eventually(lambda: saved[1].refresh().state is State.READY, within=30)

    assert [job.rescues for job in saved] == [1, 1, 1]
    records = [[one.outcome for one in job.refresh().attempts] for job in saved]
    if refused == "records":
        assert records == [[], [], []]
        assert logged(caplog, "3 jobs were rescued without a record of the lost attempt")
    else:
        assert records == [[Outcome.LOST]] * 3
        assert logged(caplog, f"the database refuses to rescue job #{saved[1].id}")


def test_claims_that_cannot_be_given_back_keep_no_other_from_it(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    with worker(jobs, queues=["nothing"]) as running:
        eventually(jobs.workers)
        assert running.loop
        saved = [double.using(queue=queue).enqueue(1) for queue in ("default", "bad", "default")]
        stray = f"state = 'running', worker = '{running.loop.row.id}', token = 't', claimed_at = run_at"
        refuse(jobs, "jobs", "UPDATE", "NEW.queue = 'bad' AND OLD.state = 'running'")
        execute(jobs, f"UPDATE belayed_jobs SET {stray}")

        eventually(lambda: states(saved[0], saved[2]) == [State.READY] * 2, within=30)

        assert saved[1].refresh().state is State.RUNNING
        allow(jobs, "jobs", "UPDATE")
        eventually(lambda: saved[1].refresh().state is State.READY, within=30)
    assert logged(caplog, f"the database refuses to give back job #{saved[1].id}")


@pytest.mark.parametrize("names", [["signs"], ["next_due", "scheduled"]])
def test_a_look_that_the_database_refuses_stops_nothing(
    names: list[str], jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "belayed")
    with worker(jobs) as running:
        loop = eventually(lambda: running.loop)
        eventually(lambda: loop.upkeep.last_beat)
        good = loop.store.statements
        bad = {name: (replace(good[name][0], named="SELEC", pyformat="SELEC"),) for name in names}
        loop.store.statements = {**good, **bad}
        # A worker that has nothing to expect asks for no due jobs by itself: its looks for ready ones say what is due.
        double.using(run_at=HOUR).enqueue(1)
        eventually(lambda: logged(caplog, FAILS), within=30)
        double.enqueue(1).wait(patient(30))
        loop.store.statements = good
        double.using(run_at=timedelta(seconds=0.1)).enqueue(1).wait(patient(30))
        eventually(lambda: logged(caplog, "works again, after"), within=30)

    assert not logged(caplog, "the store is not available")
