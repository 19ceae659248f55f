"""Jobs that bring down their process: the guilty one is charged, the innocent end well."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from belayed import Outcome, State, enqueue_many
from belayed.jobs import Jobs
from tests.worker import wild
from tests.worker.helpers import eventually, states
from tests.worker.tree import over, runs, tree


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.mark.dj(110)
@pytest.mark.parametrize(
    ("draft", "how"),
    [
        (wild.segfaults.draft, r"SIGSEGV \(signal 11\)"),
        (wild.asegfaults.draft, r"SIGSEGV \(signal 11\)"),
        (wild.exits.draft, "exit code 0"),
        (lambda: wild.exits.draft(3), "exit code 3"),
        (lambda: wild.takes.draft(wild.Decoded()), "exit code 9"),
    ],
    ids=["segfault", "segfault in a coroutine", "exit with 0", "exit with 3", "before its first line"],
)
def test_a_job_that_ends_its_process_is_charged_three_times_and_put_aside(
    draft: Callable[..., object], how: str, jobs: Jobs, log: Path, effects: Path
) -> None:
    diary = effects.with_name("diary")
    job = jobs.enqueue(draft())

    with tree(jobs, log, variables={"DIARY": str(diary)}):
        over(job)
        eventually(lambda: diary.exists() and f"failure {job.id}" in diary.read_text())

    assert (job.state, job.crashes, job.failures, job.attempt) == (State.FAILED, 3, 3, 3)
    assert [one.outcome for one in job.attempts] == [Outcome.CRASHED] * 3
    last = job.attempts[-1]
    assert last.error_type == "AttemptCrashed"
    assert (last.message or "").startswith("put aside as poison, 3 processes died of it: ")
    assert all(re.search(how, one.message or "") for one in job.attempts)
    assert "peak memory" in (last.message or "")
    heard = [line.split()[0] for line in diary.read_text().splitlines()]
    assert heard == [*["crash", "error"] * 3, "failure"]
    assert f"failure {job.id} AttemptCrashed" in diary.read_text()


@pytest.mark.parametrize("processes", [1, 2])
def test_plugins_hear_of_a_crash_before_the_worker_ends(processes: int, jobs: Jobs, log: Path, effects: Path) -> None:
    diary = effects.with_name("diary")
    job = wild.exits.using(max_attempts=1).enqueue(4)

    with tree(jobs, log, "workoff", wait=False, variables={"DIARY": str(diary)}, processes=processes) as worker:
        assert worker.ended() == 0

    assert diary.read_text().splitlines() == [
        f"{what} {job.id} AttemptCrashed" for what in ("crash", "error", "failure")
    ]


def test_the_last_lines_of_a_dead_process_are_on_record(lite: Jobs, log: Path) -> None:
    job = wild.exits.using(max_attempts=1).enqueue(4)

    with tree(lite, log):
        over(job)

    assert (job.state, job.crashes) == (State.FAILED, 1)
    assert "last words" in (job.attempts[0].traceback or "")


def test_of_five_threads_the_guilty_one_is_found_and_the_innocent_end_well(
    jobs: Jobs, log: Path, effects: Path
) -> None:
    innocent = [wild.ends.enqueue(str(effects), 1) for _ in range(3)]
    innocent.append(wild.aends.enqueue(str(effects), 1))
    guilty = wild.segfaults_after.enqueue(str(effects), 0.3)

    with tree(jobs, log, threads=5):
        over(guilty, *innocent)

    assert states(*innocent) == [State.SUCCEEDED] * 4
    assert {(job.crashes, job.failures) for job in innocent} == {(0, 0)}
    assert (guilty.state, guilty.crashes) == (State.FAILED, 3)
    # All five were suspects once; once more it ran where another suspect had just ended.
    assert guilty.attempt in (4, 5)
    assert {job.attempt for job in innocent} == {2}


def test_a_killed_job_runs_again_long_before_its_claim_lapses(jobs: Jobs, log: Path, effects: Path) -> None:
    job = wild.kills_itself_once.enqueue(str(effects))

    with tree(jobs, log, spare=True, lapse="60s"):
        over(job)

    (_, first), (_, second) = runs(effects)
    assert second - first < 20
    assert (job.state, job.crashes, job.failures, job.attempt) == (State.SUCCEEDED, 1, 1, 2)
    assert "SIGKILL (signal 9)" in (job.attempts[0].message or "")


def test_nobody_is_charged_for_a_process_that_dies_idle(lite: Jobs, log: Path, effects: Path) -> None:
    with tree(lite, log) as worker:
        over(wild.ends.enqueue(str(effects)))
        (child,) = worker.children()
        os.kill(child, signal.SIGKILL)
        eventually(lambda: worker.children() not in ([], [child]))

        job = wild.ends.enqueue(str(effects))
        over(job)

    assert (job.state, job.crashes, job.attempt) == (State.SUCCEEDED, 0, 1)


def test_jobs_that_had_not_started_lose_nothing_with_their_process(lite: Jobs, log: Path, effects: Path) -> None:
    with tree(lite, log, threads=1) as worker:
        first = wild.ends.using(max_attempts=1).enqueue(str(effects), 0.5)
        waiting = enqueue_many(wild.ends.draft(str(effects)) for _ in range(20))
        eventually(lambda: runs(effects))

        os.kill(worker.children()[0], signal.SIGKILL)

        over(first, *waiting)
    assert states(*waiting) == [State.SUCCEEDED] * 20
    assert {(job.attempt, job.crashes, job.failures) for job in waiting} == {(1, 0, 0)}
    assert (first.state, first.crashes) == (State.FAILED, 1)


@pytest.mark.parametrize("fds", ["standard", "all"])
def test_a_job_that_closes_files_hurts_itself_at_most(fds: str, lite: Jobs, log: Path, effects: Path) -> None:
    job = wild.closes.enqueue(fds)
    other = wild.ends.enqueue(str(effects), 0.2)

    with tree(lite, log):
        over(job, other, within=30)
        last = wild.ends.enqueue(str(effects))
        over(last)

    assert states(other, last) == [State.SUCCEEDED] * 2
    assert job.state is (State.SUCCEEDED if fds == "standard" else State.FAILED)


def test_a_process_that_a_job_forks_tells_nothing(lite: Jobs, log: Path, effects: Path) -> None:
    job = wild.forks.enqueue(str(effects))

    with tree(lite, log):
        over(job)
        over(wild.ends.enqueue(str(effects)))

    assert (job.state, job.attempt) == (State.SUCCEEDED, 1)
    assert job.result > 0


def test_jobs_that_change_their_process_do_not_hurt_their_neighbours(lite: Jobs, log: Path, effects: Path) -> None:
    saved = [wild.changes_the_process.enqueue(), wild.recurses.using(max_attempts=1).enqueue()]

    with tree(lite, log):
        over(*saved)
        last = wild.ends.enqueue(str(effects))
        over(last)

    assert states(*saved, last) == [State.SUCCEEDED, State.FAILED, State.SUCCEEDED]
    assert "RecursionError" in (saved[1].error or "")
