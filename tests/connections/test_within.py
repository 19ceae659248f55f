"""An enqueue within a write of its own thread, as from a signal handler: refused where it would wait for itself."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from belayed import Jobs
from belayed.config import address
from belayed.connections import forks
from belayed.connections.within import refuse_to_wait
from belayed.errors import StoreError
from belayed.steps import Ask
from tests.connections.conftest import at_most
from tests.patience import patient
from tests.worker.tasks import double


def within(jobs: Jobs, act: Callable[[], Any]) -> Any:
    """An operation of *jobs* that calls *act* when it has written."""
    yield Ask(jobs.store.calls("pause", queue="a", now=jobs.store.clock(None)))
    act()


def written_within(jobs: Jobs, act: Callable[[], Any]) -> None:
    jobs.connections.perform(within(jobs, act))


@pytest.fixture(params=["file", "memory"])
def jobs(request, sqlite_path) -> Iterator[Jobs]:
    jobs = Jobs(f"sqlite:///{sqlite_path}" if request.param == "file" else "sqlite:///:memory:")
    jobs.migrate()
    yield jobs
    jobs.close()


@pytest.mark.parametrize("number", [1, 2, 60])
def test_a_handler_that_would_wait_for_its_own_thread_is_refused_at_once(jobs, number):
    def enqueue() -> None:
        jobs.enqueue_many([double.draft(n) for n in range(number)]) if number > 1 else jobs.enqueue(double.draft(1))

    with at_most(5), pytest.raises(StoreError, match=r"signal handler .* enqueue afterwards"):
        written_within(jobs, enqueue)

    enqueue()
    assert len(jobs.find()) == number


def test_signal_handlers_that_enqueue_while_the_main_thread_does_end_soon(jobs):
    refused, saved = [], []

    def handler(*_: Any) -> None:
        try:
            saved.append(jobs.enqueue(double.draft(1)))
        except StoreError as error:
            refused.append(error)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with at_most(30):
            mine = []
            while len(saved) + len(refused) < 50:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-4))
                mine.append(jobs.enqueue(double.draft(1)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert jobs.counts().live[0].jobs == len(mine) + len(saved)
    assert all("signal handler" in str(error) for error in refused)


def test_a_handler_may_wait_for_others(sqlite_path):
    """Another process writes; the thread that the handler interrupts only reads, or waits itself."""
    url = f"sqlite:///{sqlite_path}"
    with closing(Jobs(url)) as jobs, closing(Jobs(url)) as others:
        jobs.migrate()
        holds, free = threading.Event(), threading.Event()

        def hold() -> None:
            holds.set()
            free.wait(patient(30))

        holder = threading.Thread(target=written_within, args=[others, hold])
        holder.start()
        holds.wait(patient(30))

        def read() -> Any:
            yield Ask(jobs.store.calls("paused"), read=True)
            threading.Timer(0.1, free.set).start()
            jobs.enqueue(double.draft(1))

        jobs.connections.perform(read())
        holder.join()

        assert len(jobs.find()) == 1


def test_postgresql_takes_it(postgres_url):
    assert address(postgres_url).dialect == "postgresql"
    with closing(Jobs(postgres_url)) as jobs:
        jobs.migrate()
        begun = time.monotonic()

        written_within(jobs, lambda: jobs.enqueue(double.draft(1)))

        assert len(jobs.find()) == 1
        assert time.monotonic() - begun < patient(10)


def test_a_look_for_other_connections_goes_on_while_threads_open_and_close_some(sqlite_path):
    interval, ended = sys.getswitchinterval(), threading.Event()
    jobs = Jobs(f"sqlite:///{sqlite_path}")
    own = jobs.connections.open()
    others = [jobs.connections.open() for _ in range(20)]

    def churn() -> None:
        while not ended.is_set():
            forks.known.discard(others[0])
            forks.known.add(others[0])

    thread = threading.Thread(target=churn)
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for _ in range(20_000):
            refuse_to_wait(own, str(sqlite_path))
    finally:
        sys.setswitchinterval(interval)
        ended.set()
        thread.join()
        for one in (own, *others):
            one.close()
        jobs.close()
