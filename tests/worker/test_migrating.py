"""The tables change while workers work, as a later version's migration will change them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from belayed import State
from belayed.jobs import Jobs
from tests.worker import wild
from tests.worker.helpers import eventually, execute
from tests.worker.tree import over, runs, tree

CHANGES = [
    "ALTER TABLE belayed_jobs ADD COLUMN extra text",
    "CREATE INDEX belayed_jobs_extra ON belayed_jobs (extra)",
    "ALTER TABLE belayed_history ADD COLUMN extra text",
    "ALTER TABLE belayed_attempts ADD COLUMN extra integer NOT NULL DEFAULT 0",
    "ALTER TABLE belayed_workers ADD COLUMN extra text",
    "DROP INDEX belayed_jobs_extra",
]


@pytest.mark.parametrize("processes", [0, 2], ids=["in one process", "in children"])
def test_jobs_are_enqueued_and_run_while_the_tables_change(
    processes: int, jobs: Jobs, tmp_path: Path, effects: Path
) -> None:
    saved = []

    def some() -> None:
        saved.extend(wild.ends.enqueue(str(effects)) for _ in range(20))

    with tree(jobs, tmp_path / "log", processes=processes) as worker:
        long = wild.ends.enqueue(str(effects), 3)
        some()
        for change in CHANGES:
            before = len(runs(effects))
            execute(jobs, change)
            some()
            eventually(lambda: len(runs(effects)) > before)  # noqa: B023
        retried = wild.ends.using(max_attempts=2).enqueue("/nowhere/at/all")
        eventually(lambda: retried.refresh().failures == 1)
        over(long, *saved)
        assert worker.logged("ERROR|refused") == []

    assert {(job.state, job.attempt) for job in (long, *saved)} == {(State.SUCCEEDED, 1)}
    assert Counter(line for line in effects.read_text().split("\n") if line == "done")["done"] == len(saved) + 1
