"""Pools that run so many jobs at once, whatever their kind: `--pool snapshots:1x1 --pool '*, !snapshots:1x4'`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from belayed import Draft, State, enqueue_many
from belayed.jobs import Jobs
from tests.worker import wild
from tests.worker.helpers import eventually, states
from tests.worker.tree import over, tree

POOLS = {"pool": ["snapshots:1x1", "*, !snapshots:1x4"]}
KINDS = pytest.mark.parametrize("kind", ["def", "async def", "both"])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def most_at_once(path: Path) -> Counter[str]:
    """How many jobs of each kind have run at once, at most."""
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        sign, _, kind = line.partition(" ")
        running[kind] += 1 if sign == "+" else -1
        most[kind] = max(most[kind], running[kind])
    return most


def running(path: Path, kind: str) -> int:
    lines = path.read_text().splitlines()
    return lines.count(f"+ {kind}") - lines.count(f"- {kind}")


def drafts(kind: str, count: int, queue: str, *args: Any, **named: Any) -> list[Draft]:
    """Jobs of a kind, or of both in turns."""
    tasks = {"def": [wild.works], "async def": [wild.aworks], "both": [wild.works, wild.aworks]}[kind]
    return [tasks[number % len(tasks)].using(queue=queue).draft(*args, **named) for number in range(count)]


@KINDS
def test_one_snapshot_runs_at_a_time_while_four_others_do(
    kind: str, jobs: Jobs, log: Path, effects: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    snapshots = enqueue_many(drafts(kind, 3, "snapshots", str(effects), "snapshot", str(go_on)))
    others = enqueue_many(drafts(kind, 9, "mail", str(effects), "other", str(go_on)))

    with tree(jobs, log, **POOLS):
        # All at the same moment, as none ends before.
        eventually(lambda: (running(effects, "snapshot"), running(effects, "other")) == (1, 4))
        go_on.touch()
        over(*snapshots, *others)

    assert set(states(*snapshots, *others)) == {State.SUCCEEDED}
    assert most_at_once(effects) == {"snapshot": 1, "other": 4}


@KINDS
def test_jobs_at_once_are_of_each_process(kind: str, jobs: Jobs, log: Path, effects: Path, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    saved = enqueue_many(drafts(kind, 12, "mail", str(effects), "job", str(go_on)))

    with tree(jobs, log, pool="mail:2x3"):
        eventually(lambda: running(effects, "job") == 6)
        go_on.touch()
        over(*saved)

    assert most_at_once(effects) == {"job": 6}


def test_a_pool_without_jobs_at_once_has_the_threads_of_the_others(
    lite: Jobs, log: Path, effects: Path, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    saved = enqueue_many(drafts("def", 3, "mail", str(effects), "job", str(go_on)))

    with tree(lite, log, pool=["snapshots:1x1", "mail:1"], threads=2):
        eventually(lambda: running(effects, "job") == 2)
        go_on.touch()
        over(*saved)

    assert most_at_once(effects) == {"job": 2}


def test_a_snapshot_that_has_crashed_runs_again_when_no_other_does(
    jobs: Jobs, log: Path, effects: Path, tmp_path: Path
) -> None:
    crashed = tmp_path / "crashed"
    crashed.touch()
    guilty = wild.crashes_once.using(queue="snapshots", priority=-1).enqueue(str(crashed), str(effects), "snapshot")
    others = enqueue_many(drafts("both", 8, "snapshots", str(effects), "snapshot"))

    with tree(jobs, log, **POOLS):
        over(guilty, *others, within=40)

    assert states(guilty, *others) == [State.SUCCEEDED] * 9
    assert guilty.crashes == 1
    assert most_at_once(effects) == {"snapshot": 1}


def test_a_process_that_is_replaced_ends_its_job_before_the_next_one_begins(
    lite: Jobs, log: Path, effects: Path
) -> None:
    saved = enqueue_many(drafts("both", 6, "snapshots", str(effects), "snapshot", seconds=0.3))

    with tree(lite, log, pool="snapshots:1x1", max_jobs=1):
        over(*saved, within=40)

    assert most_at_once(effects) == {"snapshot": 1}
    assert {job.refresh().state for job in saved} == {State.SUCCEEDED}


def test_no_other_snapshot_begins_while_one_ignores_its_stop(
    lite: Jobs, log: Path, effects: Path, tmp_path: Path
) -> None:
    swallowing = tmp_path / "swallowing"
    stuck = wild.swallows.using(queue="snapshots").enqueue(str(swallowing))
    with tree(lite, log, pool="snapshots:1x1", kill_after="1s") as worker:
        eventually(swallowing.exists)
        stuck.cancel()
        other = wild.works.using(queue="snapshots").enqueue(str(effects), "snapshot")
        worker.says("does not end")
        begun_before = effects.read_text()
        over(stuck, other)

    assert begun_before == ""
    assert states(stuck, other) == [State.CANCELLED, State.SUCCEEDED]


def test_short_jobs_of_a_pool_run_in_their_order(lite: Jobs, log: Path, effects: Path) -> None:
    saved = enqueue_many(
        task.using(queue="snapshots").draft(str(effects), str(number), seconds=0.0)
        for number, task in enumerate([wild.works, wild.aworks] * 100)
    )

    with tree(lite, log, pool="snapshots:1x1"):
        over(*saved)

    expected = [f"{sign} {number}" for number in range(200) for sign in "+-"]
    assert effects.read_text().splitlines() == expected


def test_a_snapshot_that_has_seen_two_workers_die_runs_in_its_pool(
    jobs: Jobs, log: Path, effects: Path, tmp_path: Path
) -> None:
    go_on, others_effects = tmp_path / "go on", tmp_path / "others"
    long = wild.works.using(queue="snapshots", priority=-1).enqueue(str(effects), "long", str(go_on))
    others = enqueue_many(drafts("both", 4, "snapshots", str(others_effects), "snapshot"))

    for number in (1, 2):
        with tree(jobs, log, **POOLS) as worker:
            eventually(lambda count=number: running(effects, "long") == count)
            worker.popen.kill()
    go_on.touch()
    with tree(jobs, log, **POOLS):
        over(long, *others, within=40)

    assert states(long, *others) == [State.SUCCEEDED] * 5
    assert long.rescues == 2
    assert most_at_once(others_effects) == {"snapshot": 1}
