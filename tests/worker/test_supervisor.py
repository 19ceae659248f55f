"""A supervisor and its children: how they start, how they are replaced, how they end."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from belayed import State, enqueue_many
from belayed.jobs import Jobs
from tests.worker import wild
from tests.worker.helpers import eventually, states
from tests.worker.tree import alive, over, runs, since, tree

PROCESSES = pytest.mark.parametrize("processes", [0, 1], ids=["in one process", "in a child"])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_only_children_import_the_application(lite: Jobs, log: Path, tmp_path: Path, effects: Path) -> None:
    imported = tmp_path / "imported"

    with tree(lite, log, processes=2, variables={"IMPORTED": str(imported)}) as worker:
        eventually(lambda: imported.exists() and len(imported.read_text().split()) == 2)
        children = worker.children()

    assert sorted(int(pid) for pid in imported.read_text().split()) == children


def test_no_secret_is_in_a_command_line(lite: Jobs, log: Path) -> None:
    with tree(lite, log) as worker:
        (child,) = eventually(worker.children)
        line = Path(f"/proc/{child}/cmdline").read_text()

    assert lite.url not in line
    assert "belayed.worker.child" in line


@pytest.mark.dj(149, 296, 303)
@pytest.mark.parametrize("processes", [1, 3])
def test_jobs_are_spread_over_the_processes(processes: int, jobs: Jobs, log: Path, effects: Path) -> None:
    saved = enqueue_many(wild.ends.draft(str(effects), 0.5) for _ in range(3 * processes))

    with tree(jobs, log, processes=processes):
        over(*saved)

    assert len({pid for pid, _ in runs(effects)}) == processes


@pytest.mark.dj(319)
def test_a_first_child_that_cannot_start_ends_the_worker(lite: Jobs, log: Path, tmp_path: Path) -> None:
    variables = {"BROKEN_UNLESS": str(tmp_path / "mended")}

    with tree(lite, log, wait=False, variables=variables) as worker:
        code = worker.ended()

    assert code == 2
    assert "ZeroDivisionError: not yet" in worker.text
    assert worker.text.count("Traceback") == 0
    assert "wild.py" in worker.text


@pytest.mark.dj(308)
def test_a_later_child_that_cannot_start_is_tried_again_and_said_once(
    lite: Jobs, log: Path, tmp_path: Path, effects: Path
) -> None:
    mended = tmp_path / "mended"
    mended.touch()
    with tree(lite, log, variables={"BROKEN_UNLESS": str(mended)}) as worker:
        (child,) = worker.children()
        mended.unlink()
        os.kill(child, signal.SIGKILL)
        # Two waits: a second, and two.
        worker.says("a child cannot start")
        job = wild.ends.enqueue(str(effects))
        since_then = time.monotonic()
        eventually(lambda: since(since_then) > 2)

        mended.touch()

        over(job)
    assert len(worker.logged("a child cannot start, trying again: --app names")) == 1
    assert job.attempt == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_the_start_is_heeded(number: int, lite: Jobs, log: Path) -> None:
    with tree(lite, log, wait=False, variables={"IMPORT_TAKES": "60"}) as worker:
        (child,) = eventually(worker.children)
        begun = time.monotonic()
        worker.signal(number)
        code = worker.ended()

    assert code == 0
    assert since(begun) < 30
    assert not alive(child)


@pytest.mark.dj(296, 304, 358)
def test_one_signal_ends_the_worker_with_all_its_processes(lite: Jobs, log: Path) -> None:
    with tree(lite, log, processes=3) as worker:
        children = eventually(lambda: len(found := worker.children()) == 3 and found)

        code = worker.stopped()

    assert code == 0
    assert not any(alive(child) for child in children)
    assert lite.workers() == []


@pytest.mark.dj(243)
def test_a_process_is_replaced_after_so_many_jobs_without_hurting_any(jobs: Jobs, log: Path, effects: Path) -> None:
    long = wild.ends.enqueue(str(effects), 1.5)
    saved = enqueue_many(wild.ends.draft(str(effects)) for _ in range(30))

    with tree(jobs, log, max_jobs=10) as worker:
        over(long, *saved)
        worker.says("is replaced: it has had 10 jobs")

    counted: dict[int, int] = {}
    for pid, _ in runs(effects):
        counted[pid] = counted.get(pid, 0) + 1
    assert len(counted) >= 4
    assert max(counted.values()) <= 10
    assert {job.attempt for job in (long, *saved)} == {1}


@pytest.mark.parametrize(("processes", "max_jobs"), [(1, 1), (1, 3), (2, 2)])
def test_coroutines_run_in_processes_for_fewer_jobs_than_they_have_threads(
    processes: int, max_jobs: int, jobs: Jobs, log: Path, effects: Path
) -> None:
    coroutines = enqueue_many(wild.aends.draft(str(effects)) for _ in range(4))
    functions = enqueue_many(wild.ends.draft(str(effects)) for _ in range(4))

    with tree(jobs, log, processes=processes, max_jobs=max_jobs):
        over(*coroutines, *functions, within=40)

    lives = [pid for pid, _ in runs(effects)]
    assert len(lives) == 8
    assert max(map(lives.count, lives)) <= max_jobs


@pytest.mark.dj(243, 356)
def test_a_process_that_has_grown_is_replaced_without_hurting_any(lite: Jobs, log: Path, effects: Path) -> None:
    with tree(lite, log, max_rss="150M") as worker:
        long = wild.ends.enqueue(str(effects), 3)
        eventually(lambda: runs(effects))
        over(wild.grows.enqueue(200))
        worker.says("is replaced: it has [0-9]+ MiB")

        over(long)

        assert states(long) == [State.SUCCEEDED]
        assert long.attempt == 1
        old = runs(effects)[0][0]
        eventually(lambda: not alive(old))
        last = wild.pid.enqueue()
        over(last)
    assert last.result != old


def test_a_spare_process_takes_over_without_importing_anything(
    lite: Jobs, log: Path, effects: Path, tmp_path: Path
) -> None:
    imported = tmp_path / "imported"
    with tree(lite, log, spare=True, variables={"IMPORTED": str(imported)}) as worker:
        eventually(lambda: imported.exists() and len(imported.read_text().splitlines()) == 2)
        # By the time that these are over the supervisor has heard of both.
        over(*(wild.ends.enqueue(str(effects), 0.2) for _ in range(2)))
        first = runs(effects)[0][0]
        (spare,) = {*worker.children()} - {first}

        os.kill(first, signal.SIGKILL)
        over(again := wild.ends.enqueue(str(effects)))

    assert runs(effects)[-1][0] == spare
    assert again.attempt == 1


def test_children_end_when_their_supervisor_is_killed(lite: Jobs, log: Path, effects: Path) -> None:
    wild.keeps_the_lock.enqueue(str(effects), 30)

    with tree(lite, log) as worker:
        eventually(lambda: runs(effects))
        (child,) = worker.children()
        worker.signal(signal.SIGKILL)

        eventually(lambda: not alive(child), within=10)


def test_a_child_that_sends_no_frames_is_ended_and_replaced(lite: Jobs, log: Path, effects: Path) -> None:
    job = wild.talks_nonsense.using(max_attempts=1).enqueue()

    with tree(lite, log) as worker:
        over(job)
        last = wild.ends.enqueue(str(effects))
        over(last)
        worker.says("child process [0-9]+ was killed by SIGKILL")

    assert (job.state, job.crashes) == (State.FAILED, 1)
    assert "it sent what is not a valid frame" in (job.attempts[0].message or "")


@pytest.mark.dj(184)
@PROCESSES
def test_a_quit_lets_jobs_take_their_time(processes: int, lite: Jobs, log: Path, effects: Path) -> None:
    job, later = wild.ends.enqueue(str(effects), 1.0), None
    with tree(lite, log, grace="0.1s", processes=processes) as worker:
        eventually(lambda: runs(effects))
        worker.signal(signal.SIGQUIT)
        worker.says("may finish, as long as they take")
        later = wild.ends.enqueue(str(effects))

        code = worker.ended()

    assert (code, states(job, later)) == (0, [State.SUCCEEDED, State.READY])


@pytest.mark.dj(184)
@PROCESSES
def test_a_hang_up_stops_as_a_termination_does(processes: int, lite: Jobs, log: Path, effects: Path) -> None:
    job = wild.ends.enqueue(str(effects), 0.3)
    with tree(lite, log, processes=processes) as worker:
        eventually(lambda: runs(effects))
        worker.signal(signal.SIGHUP)

        assert worker.ended() == 0
    assert states(job) == [State.SUCCEEDED]


@pytest.mark.dj(184)
@PROCESSES
def test_a_worker_under_nohup_outlives_its_terminal(processes: int, lite: Jobs, log: Path, effects: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with tree(lite, log, processes=processes) as worker:
            worker.signal(signal.SIGHUP)
            over(wild.ends.enqueue(str(effects)))

            assert worker.stopped() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.dj(184)
@PROCESSES
def test_a_paused_worker_claims_nothing_until_it_goes_on(processes: int, jobs: Jobs, log: Path, effects: Path) -> None:
    with tree(jobs, log, processes=processes) as worker:
        over(wild.ends.enqueue(str(effects)))
        worker.signal(signal.SIGUSR2)
        worker.says("paused: nothing more is claimed until SIGCONT")
        job = wild.ends.enqueue(str(effects))
        beat = jobs.workers()[0].beat_at
        eventually(lambda: jobs.workers()[0].beat_at != beat)
        before = states(job)

        worker.signal(signal.SIGCONT)
        over(job)

    assert before == [State.READY]
    assert states(job) == [State.SUCCEEDED]


@pytest.mark.dj(188, 190, 191)
def test_plugins_wrap_the_run_of_each_child_and_its_passes(
    lite: Jobs, log: Path, tmp_path: Path, effects: Path
) -> None:
    lives = tmp_path / "lives"
    job = wild.ends.enqueue(str(effects))

    with tree(lite, log, "workoff", wait=False, variables={"LIVES": str(lives)}) as worker:
        code = worker.ended()

    told = [line.split()[0] for line in lives.read_text().splitlines()]
    assert (code, states(job)) == (0, [State.SUCCEEDED])
    assert told == ["begins", *["pass"] * (len(told) - 2), "ends"]
    assert len(told) > 2


def test_workoff_ends_with_its_children(jobs: Jobs, log: Path, effects: Path) -> None:
    saved = enqueue_many(wild.ends.draft(str(effects)) for _ in range(50))
    crash = wild.exits.using(max_attempts=2).enqueue()

    with tree(jobs, log, "workoff", wait=False, processes=2, spare=True) as worker:
        code = worker.ended()

    assert code == 0
    assert set(states(*saved)) == {State.SUCCEEDED}
    assert crash.refresh().state is State.FAILED
    assert re.search(r"no job is ready after .+: 50 succeeded, 1 failed, [0-9]+ to be tried again", worker.text)
    assert jobs.workers() == []


@PROCESSES
def test_what_jobs_print_is_seen(processes: int, lite: Jobs, log: Path) -> None:
    job = wild.prints.enqueue("to be seen")

    with tree(lite, log, processes=processes) as worker:
        over(job)
        assert worker.stopped() == 0

    assert "to be seen" in worker.text
