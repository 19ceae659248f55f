"""Several workers on one queue: every job runs, and none runs twice."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from belayed import State, enqueue_many
from belayed.jobs import Jobs
from tests.worker.helpers import eventually, process, worker
from tests.worker.tasks import note


def test_workers_in_one_process_share_a_queue(jobs: Jobs, effects: Path) -> None:
    enqueue_many(note.draft(str(effects), str(number)) for number in range(600))

    with worker(jobs), worker(jobs), worker(jobs):
        eventually(lambda: jobs.counts().ended[State.SUCCEEDED] == 600, within=30)

    ran = Counter(effects.read_text().split())
    assert (len(ran), max(ran.values())) == (600, 1)


def test_workers_in_several_processes_share_a_queue(jobs: Jobs, effects: Path) -> None:
    with ExitStack() as stack:
        others = [stack.enter_context(process(jobs)) for _ in range(3)]

        enqueue_many(note.draft(str(effects), str(number)) for number in range(1500))
        eventually(lambda: jobs.counts().ended[State.SUCCEEDED] == 1500, within=30)

        assert [other.popen.poll() for other in others] == [None] * 3
    ran = Counter(effects.read_text().split())
    assert (len(ran), max(ran.values())) == (1500, 1)
    assert len({job.worker for job in jobs.find(limit=1000)}) > 1
