"""Suspects run, however long their child takes to start; and a start that fails delays no other child for long."""

from __future__ import annotations

import errno
import math
import os
import resource
import signal
import sys
import time
from pathlib import Path

import pytest

import belayed
from belayed import State
from belayed.claim import Claimed
from belayed.config import WorkerConfig
from belayed.errors import ConfigError
from belayed.jobs import Jobs
from belayed.worker import staff, suspects
from belayed.worker.handed import Role
from belayed.worker.loglike import Form
from belayed.worker.output import Output
from belayed.worker.page import clock
from belayed.worker.pool import Pool
from belayed.worker.process import Process
from tests.worker import rogue
from tests.worker.helpers import eventually, execute, states
from tests.worker.puppets import HELLO, job, stage
from tests.worker.tasks import double
from tests.worker.tree import over, runs, tree

IMPORT_TAKES = suspects.LONELY + 1


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_suspects_run_though_the_application_takes_longer_to_import_than_their_child_may_idle(
    lite: Jobs, log: Path, effects: Path, tmp_path: Path
) -> None:
    slow, until = tmp_path / "slow", tmp_path / "until"
    with tree(lite, log, app="tests.worker.slow", variables={"SLOW_WHILE": str(slow)}) as worker:
        saved = [rogue.waits.enqueue(str(effects), str(until)) for _ in range(2)]
        eventually(lambda: len(runs(effects)) == 2)
        (child,) = worker.children()
        slow.write_text(str(IMPORT_TAKES))
        begun = time.monotonic()
        os.kill(child, signal.SIGKILL)
        until.touch()

        over(*saved, within=4 * IMPORT_TAKES)

    assert time.monotonic() - begun < 3 * IMPORT_TAKES
    assert {(one.state, one.attempt, one.crashes) for one in saved} == {(State.SUCCEEDED, 2, 0)}
    # Both ran in the same child, which nothing else was in.
    assert len({pid for pid, _ in runs(effects)[2:]}) == 1


def test_the_child_for_suspects_is_not_idle_before_its_hello(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "LONELY", 0.0)
    with stage() as one:
        one.child()
        child, puppet = one.child(hello=False, role=Role.ALONE)
        one.children.start([job(1, suspect=True)], clock())
        leaving = []
        for _ in range(3):
            one.step()
            leaving.append(child.leaving)
        puppet.says("hello", HELLO)
        one.step()
        (cell,) = child.handed
        child.process.page.end(cell)
        puppet.says("succeeded", [[cell, 1]])

        one.step()
        one.step()

        assert leaving == [""] * 3
        assert [finished.id for finished in one.children.outcomes()] == [1]
        assert child.leaving == "it is not needed"


def test_suspects_are_held_while_their_child_starts_and_let_go_if_it_cannot() -> None:
    with stage() as one:
        one.child()
        child, puppet = one.child(hello=False, role=Role.ALONE)
        one.children.start([job(1, suspect=True), job(2, suspect=True)], clock())
        one.nursery.ending = False
        now = time.monotonic()

        one.children.tend(now + suspects.PATIENCE + suspects.SLOW_START / 2)
        held = one.children.known(), list(one.children.ended)
        child.ready = False
        one.nursery.staff.failed(Role.ALONE, "it cannot be", now, fatal=False)
        one.nursery.ending = True

        assert held == ({1, 2}, [])
        assert [finished.delay for finished in one.children.ended] == [suspects.WAIT] * 2
        assert not puppet.killed


def test_suspects_wait_longer_for_their_child_where_starts_are_slow() -> None:
    with stage() as one:
        child, _ = one.child(hello=False, role=Role.ALONE)
        one.children.start([job(1, suspect=True)], clock())
        one.children.suspects.slowest_start = 100.0

        due = one.children.tend(time.monotonic())

        assert due >= child.born + 500


def test_suspects_that_were_let_go_find_their_child_ready_when_they_are_back() -> None:
    with stage() as one:
        one.child()
        child, _ = one.child(role=Role.ALONE)
        one.children.start([job(1, suspect=True), job(2, suspect=True)], clock())
        one.step()
        (cell,) = child.handed
        let_go_at = time.monotonic() + suspects.PATIENCE + 1
        one.children.tend(let_go_at)
        child.drop(child.handed[cell])

        keep_until = one.children.suspects.spare_until(child, one.children.list, let_go_at)

        assert [finished.id for finished in one.children.outcomes()] == [2]
        assert keep_until >= let_go_at + suspects.WAIT + suspects.LONELY


def twice_rescued(id: int) -> Claimed:
    return job(id, suspect=True, rescues=suspects.MANY_RESCUES + 1)


def test_nothing_is_claimed_while_a_suspect_waits_to_be_the_only_one_held() -> None:
    with stage() as one:
        one.child()
        child, puppet = one.child(role=Role.ALONE)
        written = True
        one.children.written = lambda: written
        one.children.start([twice_rescued(1), job(2), twice_rescued(3)], clock())
        one.step()
        waiting = one.children.room()
        let_go = [finished.id for finished in one.children.outcomes()]
        written = False
        one.step()
        unwritten = one.children.room(), list(child.handed)
        written = True
        one.children.tend(time.monotonic())
        one.step()
        (cell,) = child.handed
        beside = one.children.room()
        child.process.page.end(cell)
        puppet.says("succeeded", [[cell, 1]])
        one.step()

        assert waiting == 0
        assert let_go == [3]
        assert unwritten == (0, [])
        assert beside > 0
        assert [finished.id for finished in one.children.outcomes()] == [1]


@pytest.mark.parametrize("leaving", ["it is not needed", ""])
def test_claims_go_on_while_a_suspect_waits_for_a_child_that_is_not_there(leaving: str) -> None:
    with stage() as one:
        one.child()
        child, _ = one.child(hello=bool(leaving), role=Role.ALONE)
        child.leaving = leaving
        one.children.start([twice_rescued(1)], clock())

        one.step()

        assert one.children.room() > 0


def test_suspects_are_let_go_for_longer_behind_one_that_runs_for_long() -> None:
    with stage() as one:
        one.child()
        one.child(role=Role.ALONE)
        one.children.start([twice_rescued(1)], clock())
        one.step()
        delays = []
        for seconds, id in [(0.0, 2), (2.0, 3), (600.0, 4)]:
            one.children.suspects.moved_at = time.monotonic() - seconds
            one.children.start([twice_rescued(id)], clock())
            (finished,) = one.children.outcomes()
            delays.append(finished.delay)

        assert delays[0] is not None
        assert delays[0] < 2
        assert delays[1:] == [pytest.approx(2, abs=1), suspects.WAIT]


def test_many_jobs_that_were_rescued_twice_run_one_after_the_other(jobs: Jobs, log: Path) -> None:
    belayed.enqueue_many(double.draft(number) for number in range(150))
    execute(jobs, "UPDATE belayed_jobs SET suspect = TRUE, rescues = 2")

    with tree(jobs, log, app="tests.worker.tasks"):
        eventually(lambda: len(jobs.find(states=[State.SUCCEEDED], limit=200)) == 150, within=60)


def test_a_child_for_suspects_is_started_as_soon_as_there_are_some() -> None:
    with stage(processes=1) as one:
        child, puppet = one.child()
        one.given(child, job(1), job(2))
        puppet.gone = True

        one.step()

        assert one.nursery.staff.missing(time.monotonic()) == [Role.WORKER, Role.ALONE]
        assert one.nursery.staff.missing(time.monotonic() + 60) == [Role.WORKER]


def test_failed_starts_in_one_role_delay_no_other_role() -> None:
    with stage() as one:
        one.child()
        now = time.monotonic()
        for _ in range(2000):
            one.nursery.staff.failed(Role.ALONE, "it cannot be", now)

        assert one.nursery.staff.start_at(Role.ALONE) == now + staff.BACK_OFF[1]
        assert one.nursery.staff.start_at(Role.WORKER) <= now
        # Another that gets ready shows that starts work again.
        child, _ = one.child(hello=False)
        one.nursery.staff.greeted(child, now, Form())
        assert one.nursery.staff.start_at(Role.ALONE) == now + staff.BACK_OFF[0]


def test_after_a_failure_children_are_started_one_at_a_time() -> None:
    with stage(processes=4) as one:
        now = time.monotonic()
        one.nursery.staff.failed(Role.WORKER, "it cannot be", now)
        before = one.nursery.staff.start_at(Role.WORKER)
        child, puppet = one.child(hello=False)
        during = one.nursery.staff.start_at(Role.WORKER)
        puppet.says("hello", HELLO)
        one.nursery.listen(child)

        after = one.nursery.staff.start_at(Role.WORKER)

        assert (before, during) == (now + staff.BACK_OFF[0], math.inf)
        assert after <= time.monotonic()


def files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_a_process_that_cannot_be_started_leaves_no_file_open() -> None:
    before, limits = files(), resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in before)
    errors = []
    holes: list[int] = []
    try:
        # All below the highest are taken, so that each limit is reached at another step of the start.
        while not holes or holes[-1] < highest:
            holes.append(os.open("/dev/null", os.O_RDONLY))
        taken = files()
        for nth in range(1000):
            resource.setrlimit(resource.RLIMIT_NOFILE, (holes[-1] + 1 + nth % 9, limits[1]))
            try:
                Process(10, 1000).kill()
            except OSError as error:
                errors.append(error.errno)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        after = files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for hole in holes:
            os.close(hole)

    assert len(errors) == 1000
    assert after == taken


def test_a_child_that_cannot_be_forked_is_tried_again_and_running_jobs_go_on(
    lite: Jobs, log: Path, effects: Path, tmp_path: Path
) -> None:
    until = tmp_path / "until"
    with tree(lite, log, app="tests.worker.rogue", processes=2, threads=1) as worker:
        running = rogue.waits.enqueue(str(effects), str(until))
        eventually(lambda: runs(effects))
        over(rogue.ends.enqueue(str(effects)))
        # The other child, which has nothing to do.
        idle = runs(effects)[1][0]
        highest = max(int(name) for name in os.listdir(f"/proc/{worker.pid}/fd"))  # noqa: PTH208
        _, most = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (3, most))
        os.kill(idle, signal.SIGKILL)
        (line,) = worker.says("a child cannot start, trying again")
        failed_at = time.monotonic()
        eventually(lambda: time.monotonic() - failed_at > staff.BACK_OFF[0] * 1.5)
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (most, most))

        over(other := rogue.ends.enqueue(str(effects)))
        until.touch()
        over(running)

        assert "raise its limit (ulimit -n" in line
        assert len(worker.logged("a child cannot start")) == 1
        assert max(int(name) for name in os.listdir(f"/proc/{worker.pid}/fd")) <= highest + 3  # noqa: PTH208
    assert states(running, other) == [State.SUCCEEDED] * 2
    assert running.attempt == 1


def test_a_first_child_that_cannot_be_forked_ends_the_worker_with_the_reason() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    pool = Pool(WorkerConfig(), {}, output := Output())
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        pool.run(until_empty=True, started=None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        output.close()

    assert isinstance(pool.failure, ConfigError)
    assert "raise its limit (ulimit -n" in str(pool.failure)
    assert pool.children.list == []


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.ENFILE, "files"), "fs.file-max"),
        (OSError(errno.EAGAIN, "again"), "ulimit -u"),
        (OSError(errno.ENOMEM, "memory"), "too little memory"),
        (MemoryError(), "too little memory"),
        (FileNotFoundError(errno.ENOENT, "no such file", sys.executable), "start this worker again"),
        (OSError(errno.EIO, "odd"), "odd"),
    ],
)
def test_the_log_says_what_to_do_about_a_process_that_cannot_be_started(error: Exception, advice: str) -> None:
    assert advice in staff.reason(error)
