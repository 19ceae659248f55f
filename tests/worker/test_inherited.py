"""A worker that starts after another has died says whose jobs are still held, and until when: once."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from belayed.jobs import Jobs
from belayed.store.answers import Wanted, WorkerRow
from belayed.store.lanes import Serving
from tests.worker.helpers import eventually, execute, logged, process, worker
from tests.worker.tasks import double, note_and_wait

HELD = "still held by"
LONG = {"beat": timedelta(seconds=5), "lapse": timedelta(seconds=60)}


def registered(jobs: Jobs, name: str, host: str, pid: int, lapse: float = 60.0) -> None:
    """A worker that has claimed a job and says no more."""
    double.using(queue="theirs").enqueue(1)
    jobs.do(lambda: jobs.store.beat(WorkerRow(name, name, host, pid, '["theirs"]', "1", lapse=lapse)))
    lanes = jobs.store.lanes(Serving(("theirs",)))
    assert jobs.do(lambda: jobs.store.turn([], Wanted(name, 1, lanes))).claimed


def test_the_jobs_of_a_killed_worker_are_named_at_the_start_of_the_next(
    jobs: Jobs, effects: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with process(jobs, **LONG) as other:
        note_and_wait.enqueue(str(effects))
        eventually(effects.read_text)
        other.kill()

    with worker(jobs, **LONG):
        (line,) = eventually(lambda: logged(caplog, HELD))

    assert line.startswith(f"1 job is still held by {socket.gethostname()}:{other.pid} (pid {other.pid} on ")
    assert "which seems dead: given back in 60 s" in line or "given back in 59 s" in line


def test_several_are_summed_up_and_the_living_are_not_named(
    lite: Jobs, gone: int, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        registered(lite, f"dead{number}", socket.gethostname(), gone)
    registered(lite, "elsewhere", "another.example", gone)

    with worker(lite, **LONG):
        (line,) = eventually(lambda: logged(caplog, HELD))

    named = ", ".join(f"dead{number} (pid {gone} on {socket.gethostname()})" for number in range(3))
    assert line.startswith(f"5 jobs are still held by {named} and 2 more, which seem dead: given back in")


def test_one_of_another_machine_is_named_when_it_has_been_silent_for_a_third_of_its_lapse(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    registered(jobs, "elsewhere", "another.example", 1, lapse=3.0)

    with worker(jobs, beat=timedelta(seconds=0.2), lapse=timedelta(seconds=600)):
        (line,) = eventually(lambda: logged(caplog, HELD))

    assert line.startswith("1 job is still held by elsewhere (pid 1 on another.example), which seems dead")


def test_one_whose_beat_is_old_at_the_start_is_named_at_once(
    jobs: Jobs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(jobs, "elsewhere", "another.example", 1, lapse=3000.0)
    ago = "beat_at - 1500000000" if jobs.address.dialect == "sqlite" else "beat_at - interval '1500 s'"
    execute(jobs, f"UPDATE belayed_workers SET beat_at = {ago} WHERE id = 'elsewhere'")

    with worker(jobs, **LONG):
        assert eventually(lambda: logged(caplog, HELD))


def test_nothing_is_asked_or_said_where_nobody_else_is(
    lite: Jobs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = counted(lite, monkeypatch)

    with worker(lite, beat=timedelta(seconds=0.1), lapse=timedelta(seconds=0.6)) as one:
        eventually(lambda: one.loop and one.loop.upkeep.may_rescue())

    assert asked == []
    assert logged(caplog, HELD) == []


def test_it_is_asked_once_and_said_once(
    lite: Jobs, gone: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(lite, "dead", socket.gethostname(), gone, lapse=600.0)
    asked = counted(lite, monkeypatch)
    begun = time.monotonic()

    with worker(lite, beat=timedelta(seconds=0.1), lapse=timedelta(seconds=0.6)) as one:
        eventually(lambda: one.loop and one.loop.upkeep.watch.silent("dead") > 1)

    assert time.monotonic() > begun + 1
    assert len(asked) == 1
    assert len(logged(caplog, HELD)) == 1


def counted(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows with each question who the workers are."""
    asked: list[bool] = []
    workers: Callable[..., Any] = jobs.store.workers
    monkeypatch.setattr(jobs.store, "workers", lambda: asked.append(True) or workers())
    return asked


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    import subprocess
    import sys

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid
