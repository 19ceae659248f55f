"""Ids at the end of what 64 bits hold: more than a float tells apart, and all the way through the worker's JSON."""

from __future__ import annotations

from pathlib import Path

from belayed import State, enqueue_many
from belayed.jobs import Jobs
from tests.worker import wild
from tests.worker.helpers import execute, states
from tests.worker.tree import over, tree

LARGE = 2**63 - 1000


def test_jobs_with_the_largest_ids_run_each_once(jobs: Jobs, tmp_path: Path, effects: Path) -> None:
    wild.pid.enqueue()
    if jobs.address.dialect == "sqlite":
        execute(jobs, f"UPDATE sqlite_sequence SET seq = {LARGE} WHERE name = 'belayed_jobs'")
    else:
        execute(jobs, f"ALTER TABLE belayed_jobs ALTER COLUMN id RESTART WITH {LARGE}")
    one = wild.ends.enqueue(str(effects))
    few = enqueue_many(wild.ends.draft(str(effects)) for _ in range(10))
    many = enqueue_many(wild.ends.draft(str(effects)) for _ in range(100))
    failing = wild.ends.using(max_attempts=1).enqueue("/nowhere/at/all")
    waiting = wild.ends.using(queue="later").enqueue(str(effects))
    jobs.pause("later")

    with tree(jobs, tmp_path / "log"):
        over(one, *few, *many, failing)

    assert one.id >= LARGE
    assert [job.id for job in many] == list(range(many[0].id, many[0].id + 100))
    assert set(states(one, *few, *many)) == {State.SUCCEEDED}
    assert effects.read_text().count("done") == 111
    assert (failing.state, len(failing.attempts)) == (State.FAILED, 1)
    assert [job.id for job in jobs.find(limit=2)] == [waiting.id, failing.id]
    assert jobs.retry(failing.id) == 1
    assert jobs.cancel(waiting.id) == 1
    assert jobs.delete(waiting.id) == 1
