"""Jobs that take no time run in one thread; a longer one among them keeps none of the others waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from belayed import State, enqueue_many
from belayed.jobs import Jobs
from belayed.worker.backlog import SHORT, Backlog
from tests.patience import patient
from tests.worker.helpers import eventually, states, worker
from tests.worker.tasks import act

Body = Callable[[Callable[..., Any]], str]


def test_short_jobs_are_for_one_thread_and_longer_ones_for_as_many_as_there_are_jobs() -> None:
    backlog = Backlog(5)
    jobs: list[Any] = [object() for _ in range(3)]

    backlog.add(jobs, pace=SHORT / 2)
    assert backlog.calls.qsize() == 1
    backlog.add(jobs, pace=SHORT * 2)
    assert backlog.calls.qsize() == 3
    backlog.add(jobs * 3, pace=None)
    assert backlog.calls.qsize() == 5

    assert [backlog.take() for _ in range(3)] == jobs
    assert len(backlog.release()) == 12
    assert len(backlog) == 0


def test_a_thread_that_finds_nothing_waits_and_ends_when_it_is_told_to() -> None:
    backlog = Backlog(2)
    taken: list[Any] = []
    threads = [threading.Thread(target=lambda: taken.append(backlog.take())) for _ in range(2)]
    for thread in threads:
        thread.start()
    job: Any = object()

    backlog.add([job], pace=None)
    eventually(lambda: taken == [job])
    backlog.close()

    for thread in threads:
        thread.join(patient(10))
    assert taken == [job, None]


def test_a_long_job_among_short_ones_keeps_none_of_them_waiting(jobs: Jobs, body: Body) -> None:
    running, gate = threading.Event(), threading.Event()
    short, long = body(lambda: None), body(lambda: running.set() or gate.wait(patient(20)))
    with worker(jobs, threads=2) as busy:
        # What is quick at first is taken for quick.
        enqueue_many(act.draft(short) for _ in range(300))
        eventually(lambda: jobs.counts().ended.get(State.SUCCEEDED) == 300)
        assert busy.loop is not None
        pace = busy.loop.slots.demand.threads_pace.seconds
        first, *others = enqueue_many([act.draft(long), *(act.draft(short) for _ in range(100))])

        eventually(lambda: set(states(*others)) == {State.SUCCEEDED})

        assert running.is_set()
        assert states(first) == [State.RUNNING]
        gate.set()
    assert pace is not None
    assert states(first) == [State.SUCCEEDED]
