"""A transaction that a job leaves open: it is rolled back, or at least named, and the queue goes on."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from belayed import State
from belayed.claim import running
from belayed.config import address
from belayed.connections.leftovers import leftovers
from belayed.connections.sqlite import OwnSqlite
from belayed.jobs import Jobs
from belayed.testing import drain, inline
from belayed.worker.attempt import Attempts
from tests.patience import patient
from tests.worker.helpers import eventually, execute, states, worked
from tests.worker.puppets import job
from tests.worker.tasks import act, double

kept: list[Any] = []
"""Where jobs leave connections, as a module of the application's does."""


@pytest.fixture(autouse=True)
def closed_after() -> Iterator[None]:
    yield
    for raw in kept:
        if isinstance(raw, sqlite3.Connection):
            raw.close()
    kept.clear()


def writing(jobs: Jobs, **settings: Any) -> sqlite3.Connection:
    """A connection with a write in an open transaction."""
    raw = sqlite3.connect(address(jobs.url).target, check_same_thread=False, **settings)
    raw.execute("PRAGMA busy_timeout = 20000")
    if not raw.in_transaction:
        raw.execute("BEGIN IMMEDIATE")
    raw.execute("INSERT INTO belayed_queues (name) VALUES ('left')")
    return raw


def bound(jobs: Jobs) -> None:
    """As `writing`, on a connection that only this thread may use."""
    raw = sqlite3.connect(address(jobs.url).target, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    raw.execute("INSERT INTO belayed_queues (name) VALUES ('left')")
    kept.append(threading.local())
    kept[-1].raw = raw
    kept.append(lambda: raw)


OF_ITS_OWN = "left a transaction open on a connection of its own"


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "left a transaction open" in record.getMessage()]


@pytest.mark.parametrize("threads", [1, 4])
def test_a_write_that_is_left_open_is_rolled_back_and_its_job_named(
    threads: int, lite: Jobs, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "belayed")
    bad = act.enqueue(body(lambda: bound(lite)))
    good = [double.enqueue(number) for number in range(20)]

    worked(lite, threads=threads)

    assert states(bad, *good) == [State.SUCCEEDED] * 21
    assert warned(caplog) == [f"tests.worker.tasks.act #{bad.id} {OF_ITS_OWN}: it was rolled back"]
    assert execute(lite, "SELECT name FROM belayed_queues") == []


@pytest.mark.parametrize("settings", [{}, {"isolation_level": None}], ids=["implicit", "by hand"])
def test_one_that_all_threads_may_use_is_rolled_back_once_nothing_else_runs(
    settings: dict[str, Any],
    lite: Jobs,
    body: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leftovers, "only_jobs", True)
    caplog.set_level(logging.WARNING, "belayed")
    bad = act.enqueue(body(lambda: kept.append(writing(lite, **settings))))
    good = double.enqueue(1)

    worked(lite, threads=2)

    assert states(bad, good) == [State.SUCCEEDED] * 2
    assert warned(caplog) == [f"tests.worker.tasks.act #{bad.id} {OF_ITS_OWN}: it was rolled back"]
    assert execute(lite, "SELECT name FROM belayed_queues") == []


def test_a_transaction_of_the_program_itself_is_left_alone_on_a_connection_that_a_job_has_opened(
    lite: Jobs, body: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "belayed")

    def opens() -> None:
        kept.append(sqlite3.connect(tmp_path / "pooled.db", isolation_level=None, check_same_thread=False))
        kept[0].execute("CREATE TABLE t (x)")

    opened = act.enqueue(body(opens))
    worked(lite)
    kept[0].execute("BEGIN")
    kept[0].execute("INSERT INTO t VALUES (1)")

    done = double.enqueue(1)
    worked(lite, threads=2)

    assert states(opened, done) == [State.SUCCEEDED] * 2
    assert kept[0].in_transaction
    kept[0].execute("COMMIT")
    assert kept[0].execute("SELECT x FROM t").fetchall() == [(1,)]
    assert warned(caplog) == []


def test_so_is_one_of_a_test_that_runs_jobs_in_its_own_thread(
    lite: Jobs, body: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "belayed")
    act.enqueue(body(lambda: kept.append(sqlite3.connect(tmp_path / "own.db", isolation_level=None))))
    drain(jobs=lite)
    kept[0].execute("BEGIN")

    double.enqueue(1)
    drain(jobs=lite)

    assert kept[0].in_transaction
    assert warned(caplog) == []


def test_what_a_job_leaves_open_is_rolled_back_in_a_test_that_runs_it_in_its_own_thread(
    lite: Jobs, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "belayed")
    bad = act.enqueue(body(lambda: bound(lite)))

    drain(jobs=lite)

    assert warned(caplog) == [f"tests.worker.tasks.act #{bad.id} {OF_ITS_OWN}: it was rolled back"]


APPLICATION = """
import sqlite3
import belayed

jobs = belayed.configure({url!r})
kept = []

@belayed.task
def leaves():
    kept.append(sqlite3.connect({path!r}, check_same_thread=False))
    kept[0].execute("INSERT INTO belayed_queues (name) VALUES ('left')")

@belayed.task
def nothing(): ...

if __name__ == "__main__":
    leaves.enqueue()
    nothing.using(priority=1).enqueue()
"""


@pytest.mark.parametrize("processes", ["0", "1"])
def test_in_a_process_of_belayeds_own_nobody_else_can_have_begun_it(processes: str, lite: Jobs, tmp_path: Any) -> None:
    (tmp_path / "shop.py").write_text(APPLICATION.format(url=lite.url, path=str(address(lite.url).target)))
    lite.check_schema()
    run = partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=patient(120))
    run([sys.executable, "shop.py"])

    ended = run([sys.executable, "-m", "belayed", "workoff", "--app", "shop", "-p", processes, "-t", "1"])

    assert f"shop.leaves #1 {OF_ITS_OWN}: it was rolled back" in ended.stderr
    assert [job.state for job in lite.find()] == [State.SUCCEEDED] * 2


def test_a_connection_of_a_pool_is_left_to_the_attempt_that_has_it(
    lite: Jobs, body: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "belayed")
    other, begun, ended = tmp_path / "other.db", threading.Event(), threading.Event()

    def opens() -> None:
        kept.append(sqlite3.connect(other, check_same_thread=False))
        kept[0].execute("CREATE TABLE t (x)")

    def uses() -> None:
        kept[0].execute("INSERT INTO t VALUES (1)")
        begun.set()
        assert ended.wait(patient(10))
        kept[0].commit()

    act.enqueue(body(opens))
    worked(lite)
    user, quick = act.enqueue(body(uses)), act.enqueue(body(lambda: begun.wait(patient(10))))
    after = act.enqueue(body(ended.set))

    worked(lite, threads=2)

    assert states(user, quick, after) == [State.SUCCEEDED] * 3
    assert kept[0].execute("SELECT x FROM t").fetchall() == [(1,)]
    assert warned(caplog) == []


def test_connections_that_nobody_has_are_not_kept(lite: Jobs, body: Any) -> None:
    def opens() -> None:
        for _ in range(50):
            closing(sqlite3.connect(address(lite.url).target))
        sqlite3.connect(address(lite.url).target).execute("BEGIN IMMEDIATE")

    jobs = [act.enqueue(body(opens)) for _ in range(3)]

    worked(lite)

    assert states(*jobs) == [State.SUCCEEDED] * 3
    assert leftovers.opened == []
    assert list(leftovers.running) == []


def test_one_that_an_inline_run_has_opened_and_nobody_has_is_let_go(
    lite: Jobs, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "belayed")
    lite.check_schema()

    with inline(lite):
        act.enqueue(body(lambda: writing(lite).total_changes))

    assert leftovers.opened == []
    assert warned(caplog) == [f"tests.worker.tasks.act #0 {OF_ITS_OWN}: it was rolled back"]
    assert execute(lite, "SELECT name FROM belayed_queues") == []


def test_a_transaction_of_postgresql_that_is_left_open_is_named(
    postgres: Jobs, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "belayed")
    with psycopg.connect(postgres.url) as raw:

        def leaves() -> None:
            postgres.enqueue(double.draft(1), connection=raw)

        def commits() -> None:
            leaves()
            raw.commit()

        bad = act.enqueue(body(leaves))
        worked(postgres)
        raw.rollback()
        act.enqueue(body(commits))
        worked(postgres)

    then = "what it has locked stays locked until the connection ends it"
    assert warned(caplog) == [f"tests.worker.tasks.act #{bad.id} {OF_ITS_OWN}: {then}"]


@pytest.mark.parametrize("in_thread", [True, False])
def test_attempts_of_two_stores_with_the_same_id_are_two(lite: Jobs, in_thread: bool) -> None:
    attempts = Attempts(lite)
    one, other = [attempts.begun(job(1), in_thread=in_thread) for _ in range(2)]

    leftovers.ended(one)

    assert [leftovers.runs(one), leftovers.runs(other)] == [False, True]
    leftovers.ended(other)


def test_an_attempt_that_is_given_up_before_it_begins_is_forgotten(lite: Jobs) -> None:
    attempts = Attempts(lite)
    attempts.begun(job(1))

    # As a thread does with a coroutine, which is given up in the event loop.
    leftovers.handed_over(attempts.begun(job(2), in_thread=True))

    assert leftovers.is_idle


def test_an_attempt_begins_only_after_another_that_has_ended_has_looked(lite: Jobs) -> None:
    attempts = Attempts(lite)
    first = attempts.begun(job(1), in_thread=True)
    begun = threading.Event()

    def begins() -> None:
        leftovers.ended(attempts.begun(job(2), in_thread=True))
        begun.set()

    token = running.set(first)
    raw = sqlite3.connect(":memory:")
    running.reset(token)
    thread = threading.Thread(target=begins)
    with closing(raw), leftovers.lock:
        thread.start()
        # It says that it is here before it waits, so who looks now leaves the connection alone.
        eventually(lambda: len(leftovers.running) == 2)
        waited = not begun.is_set()
    thread.join()
    leftovers.ended(first)

    assert waited
    assert begun.is_set()


def test_others_begin_while_a_handler_hangs_that_logs_what_was_left_open(lite: Jobs, body: Any) -> None:
    logging_it, begun = threading.Event(), threading.Event()

    class Hangs(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if OF_ITS_OWN in record.getMessage():
                logging_it.set()
                assert begun.wait(patient(10))

    handler = Hangs()
    logging.getLogger("belayed").addHandler(handler)
    try:
        bad = act.enqueue(body(lambda: bound(lite)))
        other = act.enqueue(body(lambda: logging_it.wait(patient(10))))
        last = act.enqueue(body(begun.set))
        worked(lite, threads=2)
    finally:
        logging.getLogger("belayed").removeHandler(handler)

    assert logging_it.is_set()
    assert states(bad, other, last) == [State.SUCCEEDED] * 3


def test_our_own_connection_opens_while_another_thread_checks_those_of_jobs(sqlite_path: Path) -> None:
    leftovers.watch()

    def opens() -> None:
        own = OwnSqlite(str(sqlite_path))
        own.before_fork()
        own.open()
        own.close()

    # A fork waits until no connection is being opened, and the thread with this lock may wait for that fork.
    opening = threading.Thread(target=opens)
    with leftovers.lock:
        opening.start()
        opening.join(patient(10))
        is_waiting = opening.is_alive()
    opening.join()

    assert not is_waiting
