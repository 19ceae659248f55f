"""`--processes 0`: what a job does to its process does not keep that from ending after a stop."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from belayed import State
from belayed.jobs import Jobs
from tests.worker import lasting
from tests.worker.helpers import eventually, program, states
from tests.worker.tree import since, tree

LASTING = "tests.worker.lasting"
BEYOND = 3
"""Seconds after the grace at which a worker has ended."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.mark.parametrize(
    ("task", "state", "reason"),
    [
        (lasting.ignores_stops, State.RUNNING, r"unfinished, .*: tests.worker.lasting.ignores_stops #1"),
        (lasting.closes_the_loop_and_stays, State.RUNNING, r"unfinished, .*closes_the_loop_and_stays #1"),
        (lasting.leaves_a_thread, State.SUCCEEDED, "threads that are no daemons: left-behind"),
        (lasting.hangs_at_exit, State.SUCCEEDED, "the program has ended, but for functions that `atexit` calls"),
    ],
)
def test_a_process_that_does_not_end_after_its_grace_is_ended_by_force(
    task: Any, state: State, reason: str, lite: Jobs, log: Path, effects: Path
) -> None:
    job = task.enqueue(str(effects))

    with tree(lite, log, app=LASTING, processes=0, grace="1s") as worker:
        eventually(lambda: effects.read_text("utf-8"), 20)
        begun = time.monotonic()
        code = worker.stopped()

    assert code == 1
    assert 1 + BEYOND <= since(begun) < 10
    assert worker.logged(f"this process did not end after its stop, so it is ended by force; {reason}")
    assert job.refresh().state is state


def test_a_second_signal_ends_a_process_that_does_not_end_within_seconds(lite: Jobs, log: Path, effects: Path) -> None:
    lasting.ignores_stops.enqueue(str(effects))

    with tree(lite, log, app=LASTING, processes=0, grace="1h") as worker:
        eventually(lambda: effects.read_text("utf-8"), 20)
        worker.signal(signal.SIGTERM)
        worker.signal(signal.SIGINT)

        assert worker.ended() == 1


def test_a_patient_stop_ends_no_process_by_force(lite: Jobs, log: Path, effects: Path) -> None:
    job = lasting.takes_longer.enqueue(str(effects), 5.0)

    with tree(lite, log, app=LASTING, processes=0, grace="0.1s") as worker:
        eventually(lambda: effects.read_text("utf-8"), 20)
        worker.signal(signal.SIGQUIT)

        assert worker.ended() == 0
    assert job.refresh().state is State.SUCCEEDED


def test_a_worker_whose_threads_all_get_a_system_exit_does_not_end_with_0(lite: Jobs, log: Path, effects: Path) -> None:
    job = lasting.exits_everywhere.enqueue(str(effects))

    with tree(lite, log, app=LASTING, processes=0) as worker:
        code = worker.ended()

    assert code == 1
    assert worker.logged("Error: the worker ended, as SystemExit was raised")
    assert not job.refresh().ended


def test_a_closed_event_loop_ends_the_worker_and_charges_no_neighbour(lite: Jobs, log: Path, effects: Path) -> None:
    neighbours = [lasting.awaits.enqueue(str(effects)) for _ in range(3)]

    with tree(lite, log, app=LASTING, processes=0) as worker:
        eventually(lambda: len(effects.read_text("utf-8").splitlines()) == 3, 20)
        lasting.closes_the_loop.enqueue(str(effects))
        code = worker.ended()

    assert code == 1
    assert states(*neighbours) == [State.READY] * 3
    assert [one.refresh().failures for one in neighbours] == [0] * 3


def test_an_event_loop_that_a_job_stops_goes_on(lite: Jobs, log: Path, effects: Path) -> None:
    job = lasting.stops_the_loop.enqueue(str(effects))

    with tree(lite, log, app=LASTING, processes=0, grace="0.2s") as worker:
        eventually(lambda: effects.read_text("utf-8"), 20)
        code = worker.stopped()

    assert code == 0
    assert (job.refresh().state, job.failures) == (State.READY, 0)


CALLS_IT = """
import time
from belayed.cli import main
main(["work", "--processes", "0", "--grace", "0.1s", "--url", jobs.url], standalone_mode=False)
time.sleep(5)
print("it goes on", file=sys.stderr)
"""


def test_a_program_that_calls_the_command_goes_on_after_it(lite: Jobs) -> None:
    with program(lite, CALLS_IT) as other:
        eventually(lambda: other.pid in [row.pid for row in lite.workers()], 30)
        other.signal(signal.SIGTERM)
        code = other.ended(30)

    assert code == 0
    assert "it goes on" in other.errors
