"""Jobs that fork: what they fork is theirs alone, and nothing of their worker is in it."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from belayed import State
from belayed.jobs import Jobs
from tests.worker import forking
from tests.worker.helpers import states
from tests.worker.tree import over, tree

FORKING = "tests.worker.forking"
DOUBLED = [2 * number for number in range(20)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("task", [forking.forks, forking.aforks], ids=["def", "async def"])
@pytest.mark.parametrize("processes", [0, 1])
def test_what_a_job_forks_behaves_as_without_a_worker(
    processes: int, task: Any, lite: Jobs, log: Path, effects: Path, port: int
) -> None:
    expected = {
        "pooled": DOUBLED,
        "executed": DOUBLED,
        "terminated": [-signal.SIGTERM],
        "interrupted": 7,
        "prepared": -signal.SIGTERM,
        "opens_sqlite": [0],
        "open_transaction": [1],
        "codes": [0, 1, 0],
        "belongings": [],
    }
    saved = {way: task.using(max_attempts=1).enqueue(way) for way in expected}

    variables = {"AT_EXIT": str(effects)}
    with tree(lite, log, app=FORKING, processes=processes, threads=1, health=port, variables=variables) as worker:
        over(*saved.values(), within=60)
        code = worker.stopped()

    assert {way: job.result for way, job in saved.items()} == expected
    assert worker.logged("ZeroDivisionError: in a copy")
    assert code == 0
    assert len(effects.read_text("utf-8").splitlines()) == 1, "only the process itself comes to its end"


@pytest.mark.parametrize("processes", [0, 1])
def test_the_neighbours_of_a_coroutine_that_forks_do_not_go_on_in_the_copy(
    processes: int, lite: Jobs, log: Path, effects: Path, tmp_path: Path
) -> None:
    until = str(tmp_path / "until")
    neighbours = [forking.notes_until.enqueue(str(effects), until) for _ in range(3)]
    job = forking.forks_and_awaits.using(max_attempts=1).enqueue(str(effects), until)

    with tree(lite, log, app=FORKING, processes=processes) as worker:
        over(job, *neighbours, within=60)

    assert job.result == [1, 1, 5]
    assert set(states(*neighbours)) == {State.SUCCEEDED}
    assert len(set(effects.read_text("utf-8").splitlines())) == 1
    assert worker.logged("RuntimeError: no running event loop")
    assert worker.logged("ended where it awaited something")


@pytest.mark.parametrize("processes", [0, 1])
def test_hooks_of_a_job_are_not_called_in_its_copy(processes: int, lite: Jobs, log: Path, effects: Path) -> None:
    job = lite.enqueue(forking.Hooked(str(effects)))

    with tree(lite, log, app=FORKING, processes=processes):
        over(job)

    assert effects.read_text("utf-8").splitlines() == [f"success {job.id}", "after"]


def test_a_copy_that_stays_does_not_keep_the_port_of_its_worker(lite: Jobs, log: Path, port: int) -> None:
    first, last = forking.leaves_a_copy.enqueue(), forking.forks.using(queue="other").enqueue("codes")

    with tree(lite, log, app=FORKING, processes=0, health=port) as worker:
        over(first)
        worker.stopped()
    try:
        with tree(lite, log, app=FORKING, processes=0, health=port):
            over(last)
    finally:
        os.kill(first.result, signal.SIGKILL)

    assert last.state is State.SUCCEEDED
