"""Workers that die or freeze: others run their jobs, and what comes late changes nothing."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest

from belayed import Outcome, State
from belayed.jobs import Jobs
from belayed.store.answers import Wanted, WorkerRow
from belayed.store.lanes import Serving
from tests.patience import patient
from tests.worker.helpers import eventually, execute, logged, process, states, worker
from tests.worker.tasks import double, note, note_and_wait


@pytest.mark.dj(108, 119, 185, 343, 356)
def test_the_jobs_of_a_killed_worker_run_within_about_a_lapse(jobs: Jobs, effects: Path) -> None:
    with process(jobs) as other, worker(jobs, queues=("nothing",)) as spare:
        job = note_and_wait.using(max_attempts=1).enqueue(str(effects))
        eventually(effects.read_text)
        eventually(lambda: spare.loop and spare.loop.upkeep.may_rescue())
        other.kill()
        begun = time.monotonic()

        eventually(lambda: states(job) == [State.READY], within=10)

    assert 0.5 < time.monotonic() - begun < patient(10)
    assert (job.rescues, job.failures, job.attempt) == (1, 0, 0)
    assert [attempt.outcome for attempt in job.attempts] == [Outcome.LOST]


@pytest.mark.dj(172)
def test_a_rescued_job_runs_again(lite: Jobs, effects: Path) -> None:
    with process(lite) as other:
        job = note_and_wait.enqueue(str(effects), 0.3)
        eventually(effects.read_text)
        other.kill()

    with worker(lite):
        job.wait(patient(10))

    assert job.state is State.SUCCEEDED
    assert effects.read_text().count("ran") == 2


@pytest.mark.dj(109)
@pytest.mark.parametrize("taken", [False, True], ids=["while it waits", "while another runs it"])
def test_a_frozen_worker_changes_nothing_when_it_wakes(taken: bool, jobs: Jobs, effects: Path) -> None:
    often = timedelta(seconds=0.2)
    with worker(jobs, queues=("other",), poll_interval=often) as spare, process(jobs, queues=("first",)) as other:
        eventually(lambda: spare.loop and spare.loop.upkeep.may_rescue())
        job = note_and_wait.using(queue="first", max_attempts=1).enqueue(str(effects), 1)
        eventually(effects.read_text)
        other.signal(signal.SIGSTOP)
        eventually(lambda: states(job) == [State.READY], within=10)
        job.change(queue="other" if taken else "nobody's")
        if taken:
            eventually(lambda: states(job) == [State.RUNNING])

        other.signal(signal.SIGCONT)

        line = eventually(lambda: line_with(other, "was refused"))
        if taken:
            job.wait(patient(10))
    assert f"#{job.id} was refused: its claim had lapsed (succeeded)" in line
    assert states(job) == [State.SUCCEEDED if taken else State.READY]
    assert (job.rescues, job.attempt) == (1, int(taken))


def line_with(other: object, text: str) -> str:
    """The next line that the process has logged, if it contains *text*."""
    line: str = other.popen.stderr.readline()  # type: ignore[attr-defined]
    return line if text in line else ""


def test_nobody_rescues_before_it_has_beaten_for_a_full_lapse(lite: Jobs) -> None:
    job = double.using(queue="dead").enqueue(1)
    wanted = Wanted("dead", 1, lite.store.lanes(Serving(("dead",))))
    lite.do(lambda: lite.store.turn([], wanted))
    lite.do(lambda: lite.store.beat(WorkerRow("dead", "dead", "host", 1, "[]", "0", lapse=0.1)))
    begun = time.monotonic()

    with worker(lite, lapse=timedelta(seconds=1.5)):
        eventually(lambda: job.refresh().rescues == 1)

    assert time.monotonic() - begun >= 1.5


@pytest.mark.dj(110)
def test_a_job_whose_workers_die_again_and_again_is_put_aside(
    jobs: Jobs, effects: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with process(jobs) as other:
        job = note_and_wait.enqueue(str(effects))
        eventually(effects.read_text)
        execute(jobs, "UPDATE belayed_jobs SET rescues = 9")
        other.kill()

    with worker(jobs):
        eventually(lambda: job.refresh().ended)

    assert (job.state, job.rescues) == (State.FAILED, 10)
    assert job.error is not None
    assert "poison" in job.error
    assert logged(caplog, f"job #{job.id} was put aside as poison")


def test_a_claim_whose_answer_was_lost_is_given_back(
    jobs: Jobs, effects: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with worker(jobs, queues=("served",)) as running:
        (row,) = eventually(jobs.workers)
        job = note.using(queue="lost").enqueue(str(effects))
        wanted = Wanted(row.id, 1, jobs.store.lanes(Serving(("lost",))))

        jobs.do(lambda: jobs.store.turn([], wanted))

        eventually(lambda: states(job) == [State.READY], within=2)
        assert running.loop is not None
    assert (job.attempt, job.rescues, job.failures) == (0, 0, 0)
    assert logged(caplog, "whose claims had not reached this worker")


def test_a_worker_whose_row_was_deleted_registers_anew(jobs: Jobs) -> None:
    with worker(jobs):
        (row,) = eventually(jobs.workers)

        execute(jobs, "DELETE FROM belayed_workers")

        assert [found.id for found in eventually(jobs.workers)] == [row.id]
        double.enqueue(1).wait(patient(10))
