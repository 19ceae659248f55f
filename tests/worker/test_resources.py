"""What a worker opens it closes: no thread, descriptor or connection is left."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from belayed import enqueue_many
from belayed.errors import StoreUnavailable
from belayed.jobs import Jobs
from tests.servers import PostgresServer
from tests.worker.helpers import eventually, execute, worked, worker
from tests.worker.tasks import adouble, double


def used(jobs: Jobs) -> dict[str, int]:
    """What this process holds, and its connections at the server."""
    jobs.close()
    # Cancelled timers take a moment to end.
    eventually(lambda: not [one for one in threading.enumerate() if isinstance(one, threading.Timer)])
    sessions = 0
    if jobs.address.dialect == "postgresql":
        text = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        sessions = int(execute(jobs, text)[0][0])
    return {
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 (it counts itself the same each time)
        "sessions": sessions,
    }


@pytest.mark.parametrize("how", ["run", "with"])
def test_nothing_is_left_after_twenty_workers(how: str, jobs: Jobs) -> None:
    def cycle() -> None:
        saved = enqueue_many([double.draft(1), adouble.draft(2)])
        if how == "run":
            worked(jobs)
        else:
            with worker(jobs):
                saved[0].wait(10)
                saved[1].wait(10)

    cycle()
    before = used(jobs)

    for _ in range(20):
        cycle()

    # A session ends at the server a moment after its connection here.
    assert eventually(lambda: used(jobs) == before)


def test_nothing_is_left_of_a_worker_that_could_not_start(private_postgres: PostgresServer, opened: Any) -> None:
    jobs = opened(private_postgres.url())
    worked(jobs)
    private_postgres.stop()
    jobs.close()
    eventually(lambda: not [one for one in threading.enumerate() if isinstance(one, threading.Timer)])
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            worker(jobs).run()

    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before  # noqa: PTH208
    private_postgres.start()
