"""The database goes away and comes back: what runs goes on, outcomes are kept, nothing runs twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from belayed import Outcome, State, enqueue_many
from belayed.errors import StoreUnavailable
from belayed.jobs import Jobs
from belayed.worker.line import Line
from tests.patience import patient
from tests.servers import PostgresServer
from tests.worker.helpers import eventually, logged, program, states, worker
from tests.worker.tasks import act, double, note, note_and_wait

Body = Callable[[Callable[..., Any]], str]


@pytest.fixture
def fragile(private_postgres: PostgresServer, opened: Callable[..., Jobs]) -> Jobs:
    """Jobs in a server that the test may stop."""
    return opened(private_postgres.url())


@pytest.mark.dj(150, 151, 227, 346)
def test_outcomes_are_kept_while_postgresql_is_away(
    fragile: Jobs, private_postgres: PostgresServer, body: Body, effects: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    gate = threading.Event()
    name = body(lambda: note.function(str(effects)) or gate.wait(patient(30)))
    saved = [act.using(max_attempts=1).enqueue(name) for _ in range(3)]
    with worker(fragile, lapse=timedelta(seconds=30)) as running:
        eventually(lambda: effects.read_text().count("ran") == 3)
        private_postgres.stop("immediate")
        eventually(lambda: logged(caplog, "the store is not available"))

        gate.set()
        eventually(lambda: running.loop and len(running.loop.unwritten) == 3)
        private_postgres.start()

        eventually(lambda: states(*saved) == [State.SUCCEEDED] * 3, within=15)
        double.enqueue(1).wait(patient(15))
    assert effects.read_text().count("ran") == 3
    assert len(logged(caplog, "the store is not available")) == 1
    assert len(logged(caplog, "the store is available again")) == 1
    assert logged(caplog, "refused") == []


@pytest.mark.dj(150, 151)
def test_restarts_under_load_lose_and_double_nothing(
    fragile: Jobs, private_postgres: PostgresServer, effects: Path
) -> None:
    enqueue_many(note.draft(str(effects), str(number)) for number in range(2000))
    with worker(fragile, lapse=timedelta(seconds=30)), worker(fragile, lapse=timedelta(seconds=30)):
        for share in (200, 800):
            eventually(lambda: effects.read_text().count("\n") > share)  # noqa: B023
            private_postgres.stop("immediate" if share == 200 else "fast")
            private_postgres.start()

        eventually(lambda: ended(fragile) == 2000, within=30)

    ran = Counter(effects.read_text().split())
    assert (len(ran), max(ran.values())) == (2000, 1)


def ended(jobs: Jobs) -> int:
    try:
        return jobs.counts().ended[State.SUCCEEDED]
    except StoreUnavailable:
        return 0


def test_time_limits_hold_while_the_store_is_away(fragile: Jobs, private_postgres: PostgresServer, body: Body) -> None:
    begun = threading.Event()

    def spin() -> None:
        begun.set()
        while True:
            pass

    job = act.using(max_attempts=1, max_run_time=timedelta(seconds=1)).enqueue(body(spin))
    with worker(fragile, lapse=timedelta(seconds=30)) as running:
        begun.wait(patient(10))
        private_postgres.stop("immediate")

        eventually(lambda: running.loop and running.loop.unwritten, within=4)

        private_postgres.start()
        eventually(lambda: states(job) == [State.FAILED])
    assert job.attempts[0].outcome is Outcome.TIMED_OUT


def test_a_worker_can_be_stopped_while_the_store_is_away(
    fragile: Jobs, private_postgres: PostgresServer, body: Body
) -> None:
    begun, gate = threading.Event(), threading.Event()
    act.enqueue(body(lambda: begun.set() or gate.wait(patient(10))))
    running = worker(fragile, grace=timedelta(seconds=0.5))
    failure: list[BaseException] = []

    def work() -> None:
        try:
            running.run()
        except StoreUnavailable as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(patient(10))
    private_postgres.stop("immediate")
    gate.set()

    running.stop()

    thread.join(patient(10))
    assert not thread.is_alive()
    assert failure


def test_a_large_payload_that_cannot_be_fetched_costs_its_job_nothing(
    fragile: Jobs, private_postgres: PostgresServer, body: Body
) -> None:
    begun, gate = threading.Event(), threading.Event()
    act.enqueue(body(lambda: begun.set() or gate.wait(patient(20))))
    large = act.using(max_attempts=1).enqueue(body(len), "x" * 20_000)
    with worker(fragile, threads=2, lapse=timedelta(seconds=30)) as running:
        begun.wait(patient(10))
        large.wait(patient(10))
        again = act.using(max_attempts=1).enqueue(body(len), "y" * 20_000)
        private_postgres.stop("immediate")
        gate.set()
        private_postgres.start()

        eventually(lambda: ended(fragile) == 3, within=15)
        assert running.loop is not None
    assert (again.refresh().result, again.failures) == (20_000, 0)


@pytest.mark.dj(227)
def test_a_worker_that_cannot_reach_the_store_does_not_start(fragile: Jobs, private_postgres: PostgresServer) -> None:
    private_postgres.stop()

    with pytest.raises(StoreUnavailable):
        worker(fragile).run()

    private_postgres.start()


@pytest.mark.dj(106, 150)
def test_a_sqlite_file_that_another_process_locks_is_waited_for(lite: Jobs, effects: Path) -> None:
    text = f"""
import sqlite3, time
raw = sqlite3.connect({lite.address.target!r}, timeout=10, isolation_level=None)
raw.execute("BEGIN IMMEDIATE")
tests.worker.tasks.note.function({str(effects)!r}, "locked")
time.sleep(2)
"""
    with worker(lite, lapse=timedelta(seconds=30)):
        job = note_and_wait.enqueue(str(effects), 0.3)
        eventually(effects.read_text)
        with program(lite, text) as other:
            eventually(lambda: "locked" in effects.read_text())
            since = time.monotonic()

            assert other.ended() == 0

        assert time.monotonic() - since > 1
        eventually(lambda: states(job) == [State.SUCCEEDED])
        assert double.enqueue(1).wait(patient(10)).result == 2
    assert effects.read_text().count("ran") == 1


def test_an_outage_right_after_a_worker_has_looked_at_the_tables_is_waited_out(
    jobs: Jobs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    outages = iter([StoreUnavailable("cut")])
    perform = Line.perform

    def cut_once(self: Line, *args: Any) -> Any:
        if (outage := next(outages, None)) is not None:
            raise outage
        return perform(self, *args)

    monkeypatch.setattr(Line, "perform", cut_once)
    job = double.enqueue(1)

    with worker(jobs):
        job.wait(patient(15))

    assert job.result == 2
    assert len(logged(caplog, "the store is not available")) == 1
