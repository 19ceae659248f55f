"""An idle worker hears of new jobs at once, and finds them soon where it cannot hear."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from belayed import Worker
from belayed.hints import ALERT
from belayed.jobs import Jobs
from belayed.worker.wakeup import CLOSELY, LATELY, WATCH, Wakeup
from tests.patience import patient
from tests.worker.helpers import eventually, execute, logged, program, worker
from tests.worker.tasks import double, stamp

SELDOM = timedelta(seconds=30)
SOON = 10
"""Seconds: so little that no poll has done it, on a machine as busy as it likes."""


def hears(running: Worker) -> bool:
    """Whether the worker has proved that hints arrive."""
    return running.loop is not None and running.loop.wakeup.hears


def rests(running: Worker) -> bool:
    """Whether the worker has looked at the store and found nothing."""
    loop = running.loop
    return loop is not None and loop.poll_at > time.monotonic() > loop.heard_at + ALERT


def waited(running: Worker) -> list[float]:
    """How long jobs waited for an idle worker, in seconds."""
    waits = []
    for _ in range(5):
        eventually(lambda: rests(running))
        job = stamp.enqueue().wait(patient(5))
        waits.append((job.result - job.created_at).total_seconds())
    return waits


@pytest.mark.dj(117)
def test_an_idle_worker_starts_a_new_job_at_once(jobs: Jobs) -> None:
    with worker(jobs, poll_interval=SELDOM) as running:
        waits = []
        for _ in range(5):
            eventually(lambda: rests(running))
            begun = time.monotonic()
            double.enqueue(1).wait(patient(10))
            waits.append(time.monotonic() - begun)

    assert max(waits) < patient(SOON), waits


@pytest.mark.dj(146)
def test_an_idle_worker_stops_at_once(jobs: Jobs) -> None:
    with worker(jobs, poll_interval=SELDOM) as running:
        eventually(lambda: rests(running))
        begun = time.monotonic()

        running.stop()

    assert time.monotonic() - begun < patient(SOON)


def test_a_hint_comes_from_another_process_too(jobs: Jobs) -> None:
    with worker(jobs, poll_interval=SELDOM) as running:
        eventually(lambda: rests(running))
        with program(jobs, "tests.worker.tasks.stamp.enqueue()") as other:
            assert other.ended() == 0

            (job,) = jobs.find()
            job.wait(patient(5))

    assert (job.result - job.created_at).total_seconds() < patient(SOON)


@pytest.mark.dj(117)
def test_on_postgresql_hints_are_proved_at_the_start(postgres: Jobs) -> None:
    with worker(postgres, poll_interval=SELDOM) as running:
        eventually(lambda: hears(running), within=SOON)
        eventually(lambda: running.loop and running.loop.poll_at > time.monotonic() + 20, within=SOON)


@pytest.mark.dj(117)
def test_a_worker_that_hears_nothing_polls_ten_times_a_second(postgres: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres.connections, "listener", lambda channel, timeout, beside: None)
    with worker(postgres, poll_interval=SELDOM) as running:
        waits = waited(running)

    assert max(waits) < 0.3, waits


def test_a_lost_listener_is_opened_again(postgres: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    with worker(postgres, poll_interval=SELDOM) as running:
        eventually(lambda: hears(running))

        execute(
            postgres,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND query LIKE 'SELECT CASE WHEN pg_notification_queue_usage()%'",
        )

        eventually(lambda: logged(caplog, "the connection that hears of new jobs was lost"), within=SOON)
        double.enqueue(1).wait(patient(5))
        eventually(lambda: hears(running), within=SOON)


def test_hints_of_queues_that_are_not_served_wake_nobody(postgres: Jobs) -> None:
    with worker(postgres, queues=("mine", "!other"), min_priority=0, poll_interval=SELDOM) as running:
        eventually(lambda: hears(running) and rests(running))
        assert running.loop is not None
        before = running.loop.poll_at

        double.using(queue="other").enqueue(1)
        double.using(queue="mine", priority=-1).enqueue(1)
        double.using(queue="mine").enqueue(1)

        eventually(lambda: running.loop and running.loop.poll_at != before)
        assert running.loop.summary.succeeded <= 1


@pytest.mark.parametrize("hint", ["", "@@", "x default", "\N{SUPERSCRIPT TWO} default", "--1 default", "9" * 500, "0"])
def test_strange_hints_hurt_nobody(hint: str, postgres: Jobs) -> None:
    with worker(postgres, poll_interval=SELDOM) as running:
        eventually(lambda: hears(running) and rests(running))

        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("SELECT pg_notify(%s, %s)", (postgres.store.channel, hint))  # type: ignore[attr-defined]

        assert double.enqueue(1).wait(patient(5)).result == 2


def test_a_worker_of_a_database_in_memory_polls_ten_times_a_second(opened: Callable[..., Jobs]) -> None:
    jobs = opened("sqlite://")
    with worker(jobs, poll_interval=SELDOM) as running:
        waits = waited(running)

    assert max(waits) < 0.3, waits


def test_an_idle_worker_finds_jobs_in_a_file_that_has_been_replaced(lite: Jobs, opened: Callable[..., Jobs]) -> None:
    path = Path(lite.address.target)
    other = opened(f"sqlite:///{path.with_name('other.db')}")
    job = double.enqueue(1)
    other.close()
    with worker(lite, poll_interval=SELDOM, beat=SELDOM, lapse=3 * SELDOM) as running:
        eventually(lambda: rests(running))
        begun = time.monotonic()
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        path.with_name("other.db").rename(path)

        eventually(lambda: running.loop and running.loop.summary.succeeded == 1, within=20)

    assert time.monotonic() - begun < patient(SOON)
    assert lite.get(job.id).result == 2


def test_a_worker_waits_in_a_program_with_more_than_a_thousand_descriptors(lite: Jobs) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1500:
        pytest.skip("too few descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1500), hard))
    many = [socket.socketpair() for _ in range(515)]
    try:
        with worker(lite) as running:
            eventually(lambda: rests(running))

            job = double.enqueue(1).wait(patient(5))
    finally:
        for one, other in many:
            one.close()
            other.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert job.result == 2


@pytest.mark.parametrize("how", ["resume", "change", "retry"])
def test_a_job_that_is_made_ready_by_hand_starts_at_once(jobs: Jobs, how: str) -> None:
    jobs.pause("paused")
    job = double.using(queue="paused").enqueue(1)
    if how != "resume":
        jobs.resume("paused")
        job.change(run_at=timedelta(hours=1))
    ready = {
        "resume": lambda: jobs.resume("paused"),
        "change": lambda: job.change(run_at=timedelta()),
        "retry": job.retry,
    }
    with worker(jobs, poll_interval=SELDOM) as running:
        eventually(lambda: rests(running))
        begun = time.monotonic()

        ready[how]()

        job.wait(patient(10))
        assert time.monotonic() - begun < patient(SOON)


def test_many_jobs_of_several_queues_wake_workers_of_each(jobs: Jobs) -> None:
    with worker(jobs, poll_interval=SELDOM, queues=("second",)) as running:
        eventually(lambda: rests(running))
        begun = time.monotonic()

        enqueued = jobs.enqueue_many([double.using(queue=queue).draft(1) for queue in ("first", "second")])

        enqueued[1].wait(patient(10))
        assert time.monotonic() - begun < patient(SOON)


def test_a_file_is_watched_closely_while_others_write(monkeypatch: pytest.MonkeyPatch) -> None:
    wakeup, pauses = Wakeup(lambda: None, 5.0, watched=True), []
    monkeypatch.setattr(wakeup.selector, "select", pauses.append)
    try:
        for written in ([False, True], [True]):
            told = iter(written)
            wakeup.wait(60.0, lambda: True, lambda: next(told))  # noqa: B023 (asked within the call)
        wakeup.changed_at -= LATELY
        wakeup.wait(60.0, lambda: True, lambda: True)
    finally:
        wakeup.close()

    assert pauses == [WATCH, WATCH, CLOSELY, WATCH]
