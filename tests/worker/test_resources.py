"""What a worker opens it closes: no thread, descriptor or connection is left."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from belayed import enqueue_many
from belayed.errors import StoreUnavailable
from belayed.jobs import Jobs
from tests.patience import patient
from tests.servers import PostgresServer
from tests.worker.helpers import eventually, execute, worked, worker
from tests.worker.tasks import adouble, double


@pytest.fixture(autouse=True)
def strangers() -> set[threading.Thread]:
    """The threads that other tests have left to end in their own time, such as the timers of idle connections."""
    return set(threading.enumerate())


def new_threads(strangers: set[threading.Thread]) -> list[threading.Thread]:
    """The threads of this test. Cancelled timers take a moment to end."""
    eventually(lambda: not [one for one in set(threading.enumerate()) - strangers if isinstance(one, threading.Timer)])
    return list(set(threading.enumerate()) - strangers)


def used(jobs: Jobs, strangers: set[threading.Thread]) -> tuple[int, int, int]:
    """What this process holds: threads, descriptors, and its sessions at the server."""
    jobs.close()
    sessions = 0
    if jobs.address.dialect == "postgresql":
        text = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        sessions = int(execute(jobs, text)[0][0])
    return len(new_threads(strangers)), descriptors(), sessions


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 (it counts itself the same each time)


def no_more(now: tuple[int, ...], before: tuple[int, ...]) -> bool:
    """Whether nothing has come on top; what strangers held may have gone meanwhile."""
    return all(left <= right for left, right in zip(now, before, strict=True))


@pytest.mark.parametrize("how", ["run", "with"])
def test_nothing_is_left_after_twenty_workers(how: str, jobs: Jobs, strangers: set[threading.Thread]) -> None:
    def cycle() -> None:
        saved = enqueue_many([double.draft(1), adouble.draft(2)])
        if how == "run":
            worked(jobs)
        else:
            with worker(jobs):
                saved[0].wait(patient(10))
                saved[1].wait(patient(10))

    cycle()
    before = used(jobs, strangers)

    for _ in range(20):
        cycle()

    # A session ends at the server a moment after its connection here.
    assert eventually(lambda: no_more(used(jobs, strangers), before))


def test_nothing_is_left_of_a_worker_that_could_not_start(
    private_postgres: PostgresServer, opened: Any, strangers: set[threading.Thread]
) -> None:
    jobs = opened(private_postgres.url())
    worked(jobs)
    private_postgres.stop()
    jobs.close()
    before = len(new_threads(strangers)), descriptors()

    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            worker(jobs).run()

    assert no_more((len(new_threads(strangers)), descriptors()), before)
    private_postgres.start()
