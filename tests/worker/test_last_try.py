"""At a stop the outcomes that a lock of a job's keeps from being written are written once its process is gone."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from belayed import State
from belayed.jobs import Jobs
from tests.worker import lasting
from tests.worker.helpers import eventually
from tests.worker.tree import tree

LASTING = "tests.worker.lasting"
LONG: dict[str, Any] = {"beat": "5s", "lapse": "30s", "grace": "1s", "kill_after": "5s"}
"""So that one answer of the database may take longer than the grace."""


@pytest.mark.parametrize(
    ("task", "twice"),
    [(lasting.holds_the_database, False), (lasting.leaves_the_database_locked, True)],
    ids=["a job that runs", "what a job has left"],
)
def test_a_stop_writes_outcomes_after_the_child_that_locks_sqlite_is_gone(
    task: Any, twice: bool, lite: Jobs, tmp_path: Path, effects: Path
) -> None:
    holder = task.enqueue(str(effects))
    other = lasting.ends_under_the_lock.enqueue(str(effects))

    with tree(lite, tmp_path / "log", app=LASTING, **LONG) as worker:
        eventually(lambda: "ended" in effects.read_text("utf-8"), 30)
        code = worker.stopped() if not twice else stopped_twice(worker)

    assert code == 0
    assert other.refresh().state is State.SUCCEEDED
    assert holder.refresh().state in (State.READY, State.SUCCEEDED)


def stopped_twice(worker: Any) -> int:
    # Two of one kind at once would be one.
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGINT)
    return int(worker.ended())
