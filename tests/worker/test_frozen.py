"""Processes that sleep past the limit, and databases that are away for longer than it: nothing runs twice."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from belayed import Job, State, enqueue_many
from belayed.jobs import Jobs
from tests.servers import PostgresServer
from tests.worker import wild
from tests.worker.helpers import eventually, execute, states
from tests.worker.tree import Tree, over, runs, since, tree

LAPSE = 1.0
"""That of the trees, in seconds."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def fragile(private_postgres: PostgresServer, opened: Callable[..., Jobs]) -> Jobs:
    """Jobs in a server that the test may stop."""
    return opened(private_postgres.url())


def passed(seconds: float) -> None:
    """Let time pass: what must not happen in it cannot be waited for."""
    begun = time.monotonic()
    eventually(lambda: since(begun) >= seconds, within=seconds + 5)


@contextlib.contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    server.stop("immediate")
    yield
    server.start()


@contextlib.contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


@pytest.mark.parametrize("away", [stopped, frozen])
def test_nobody_rescues_anybody_after_an_outage_of_twice_the_limit(
    away: Any, fragile: Jobs, private_postgres: PostgresServer, tmp_path: Path, effects: Path
) -> None:
    """Three workers, each with jobs that run on, and with jobs that have not started."""
    long = enqueue_many(wild.ends.draft(str(effects), 2 * LAPSE + 1.5) for _ in range(9))
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(tree(fragile, tmp_path / f"log-{nth}")) for nth in range(3)]
        eventually(lambda: len(runs(effects)) == 9)
        passed(LAPSE)
        short = enqueue_many(wild.ends.draft(str(effects)) for _ in range(30))

        with away(private_postgres):
            passed(2 * LAPSE)

        over(*long, *short)
        # If a duty is the first to get no answer, it alone is put off: the beat that follows waits for a connection,
        # and is answered as soon as the server goes on.
        assert all(worker.says("the store is available again|works again, after") for worker in workers)
        assert [line for worker in workers for line in worker.logged("was refused|rescued")] == []
    assert set(states(*long, *short)) == {State.SUCCEEDED}
    assert {(job.attempt, job.rescues, job.failures) for job in (*long, *short)} == {(1, 0, 0)}
    assert len(runs(effects)) == 39


def behind(effects: Path, tmp_path: Path, seconds: float) -> tuple[Job, list[Job], Path]:
    """A long job, and quick ones that its child holds behind it; what was quick before makes it take some."""
    first = tmp_path / "first"
    first.touch()
    enqueue_many(wild.ends.draft(str(first)) for _ in range(100))
    long = wild.ends.enqueue(str(effects), seconds)
    quick = tmp_path / "quick"
    quick.touch()
    return long, enqueue_many(wild.ends.draft(str(quick)) for _ in range(50)), quick


def test_a_child_whose_supervisor_sleeps_starts_nothing_after_the_limit(
    jobs: Jobs, log: Path, effects: Path, tmp_path: Path
) -> None:
    long, others, quick = behind(effects, tmp_path, 0.8)

    with tree(jobs, log, threads=1, beat="0.1s", lapse="0.5s") as worker:
        eventually(lambda: runs(effects))
        # It alone: its child goes on.
        worker.signal(signal.SIGSTOP)
        eventually(lambda: "done" in effects.read_text())
        passed(LAPSE)

        assert runs(quick) == []

        worker.signal(signal.SIGCONT)
        over(long, *others)
    assert set(states(long, *others)) == {State.SUCCEEDED}
    assert {(job.attempt, job.rescues) for job in (long, *others)} == {(1, 0)}
    assert (len(runs(effects)), len(runs(quick))) == (1, 50)


def test_a_worker_that_has_slept_past_the_limit_changes_and_starts_nothing(
    jobs: Jobs, tmp_path: Path, effects: Path
) -> None:
    long, others, quick = behind(effects, tmp_path, 1.5 * LAPSE)

    with tree(jobs, tmp_path / "log-1", threads=1) as sleeper:
        eventually(lambda: runs(effects))
        eventually(lambda: jobs.counts().ended.get(State.SUCCEEDED) == 100)
        own = sleeper.children()
        sleeper.signal(signal.SIGSTOP, everybody=True)
        with tree(jobs, tmp_path / "log-2"):
            over(long, *others)
            before = ended(jobs, long, *others)
            for pid in (*own, sleeper.pid):
                os.kill(pid, signal.SIGCONT)

            (line,) = sleeper.says("was refused")
            over(again := wild.ends.enqueue(str(tmp_path / "log-3")))

            assert f"#{long.id} was refused: its claim had lapsed (succeeded)" in line
            assert ended(jobs, long, *others) == before
            assert not {pid for pid, _ in runs(quick)} & set(own)
    assert again.state is State.SUCCEEDED
    assert (long.rescues, long.attempt, len(runs(effects))) == (1, 1, 2)
    assert len(runs(quick)) == 50


def ended(jobs: Jobs, *saved: Job) -> list[tuple[Any, ...]]:
    """Their rows in the history, whole."""
    ids = ", ".join(str(job.id) for job in saved)
    return execute(jobs, f"SELECT * FROM belayed_history WHERE id IN ({ids}) ORDER BY id")


def backends(jobs: Jobs) -> list[int]:
    """The server's processes that serve somebody."""
    query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    return [row[0] for row in execute(jobs, query)]


def test_a_backend_that_is_frozen_is_left(fragile: Jobs, log: Path, effects: Path) -> None:
    """No keepalive notices: the kernel answers for a process that is stopped."""
    own = set(backends(fragile))
    with tree(fragile, log) as worker:
        job = wild.ends.enqueue(str(effects), 3)
        eventually(lambda: runs(effects))
        stuck = set(backends(fragile)) - own
        for pid in stuck:
            os.kill(pid, signal.SIGSTOP)
        try:
            others = [wild.ends.enqueue(str(effects)) for _ in range(20)]
            over(*others, within=5)
            assert fragile.workers()[0].alive
        finally:
            for pid in stuck:
                os.kill(pid, signal.SIGCONT)
        over(job)
        assert worker.says("the store is not available, running jobs go on: .*no answer")

    assert {(one.state, one.attempt, one.rescues) for one in (job, *others)} == {(State.SUCCEEDED, 1, 0)}
    assert len(runs(effects)) == 21


def named(worker: Tree, jobs: Jobs) -> Any:
    return next(row for row in jobs.workers() if row.pid == worker.pid)


@pytest.mark.dj(99, 137)
def test_two_workers_of_one_name_are_two(jobs: Jobs, tmp_path: Path, effects: Path) -> None:
    saved = enqueue_many(wild.ends.draft(str(effects), 0.3) for _ in range(12))

    with (
        tree(jobs, tmp_path / "log-1", name="twin") as first,
        tree(jobs, tmp_path / "log-2", name="twin") as second,
    ):
        over(*saved)
        rows = [named(first, jobs), named(second, jobs)]
        assert len({row.id for row in rows}) == 2
        assert {row.name for row in rows} == {"twin"}
        late = wild.ends.enqueue(str(effects), 2.5)
        eventually(lambda: len(runs(effects)) == 13)

        first.signal(signal.SIGKILL)

        over(late)
    assert {job.attempt for job in saved} == {1}
    assert late.state is State.SUCCEEDED
