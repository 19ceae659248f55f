"""An event loop that starts nothing, as it is full or blocked: what waits for it goes back, and others run it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from belayed import Outcome, State
from belayed.jobs import Jobs
from belayed.worker.attempt import Attempts
from belayed.worker.slots import Slots
from belayed.worker.vigil import worker_watched
from tests.patience import patient
from tests.worker import wild
from tests.worker.helpers import ended, eventually, logged, worker
from tests.worker.puppets import job
from tests.worker.tasks import aact, adouble, double
from tests.worker.tree import over, runs, tree

Body = Callable[[Callable[..., Any]], str]


@pytest.fixture
def goes_on() -> Any:
    """Set, it ends what blocks an event loop."""
    event = threading.Event()
    yield event
    event.set()


def blocking(goes_on: threading.Event, left: list[Any]) -> Callable[[], Any]:
    """A job that ends and leaves a task which blocks the event loop."""

    async def blocks() -> None:
        left.append("blocks")
        goes_on.wait(patient(30))

    async def careless() -> None:
        left.append(asyncio.create_task(blocks()))

    return careless


def test_what_waits_for_a_blocked_event_loop_runs_elsewhere(
    jobs: Jobs, body: Body, goes_on: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    left: list[Any] = []
    careless = aact.enqueue(body(blocking(goes_on, left)))
    with worker(jobs, queues=["default"]) as one:
        eventually(lambda: "blocks" in left and ended(careless))
        watched = worker_watched(one)
        before = watched.no_slots()
        waiting = [adouble.enqueue(number) for number in range(3)]
        eventually(watched.no_slots)
        function = double.enqueue(1)
        eventually(lambda: ended(function))

        with worker(jobs):
            eventually(lambda: ended(*waiting), within=20)
        told = watched.no_slots()
        goes_on.set()
        eventually(lambda: not watched.no_slots())
        last = adouble.enqueue(1)
        eventually(lambda: ended(last))

    assert (before, told) == ("", "the event loop is blocked")
    assert {(one.state, one.attempt) for one in waiting} == {(State.SUCCEEDED, 1)}
    assert len(logged(caplog, "the event loop is blocked")) == 1


def test_a_worker_whose_event_loop_is_blocked_by_no_job_is_not_alive_after_the_lapse(
    lite: Jobs, body: Body, goes_on: threading.Event
) -> None:
    left: list[Any] = []
    aact.enqueue(body(blocking(goes_on, left)))
    with worker(lite) as one:
        eventually(lambda: "blocks" in left)
        adouble.enqueue(1)
        watched = worker_watched(one)

        eventually(lambda: "the event loop has been blocked for" in watched.broken(), within=20)
        goes_on.set()
        eventually(lambda: watched.broken() == "")


def slots_of(jobs: Jobs, *, apart: bool) -> Slots:
    one = Slots(Attempts(jobs), threads=1, async_slots=1, read_ahead=10, patience=0.0, apart=apart)
    one.open()
    one.demand.learn({"t": True})
    return one


@pytest.mark.parametrize("apart", [True, False], ids=["in one process", "in a child"])
def test_what_waits_behind_a_job_that_fills_the_event_loop_goes_back(lite: Jobs, apart: bool) -> None:
    one = slots_of(lite, apart=apart)
    begun, goes_on = threading.Event(), asyncio.Event()

    async def fills(run: Any, loaded: Any) -> Any:
        begun.set()
        await goes_on.wait()
        return None, None, None

    one.attempts.arun = fills  # type: ignore[method-assign]
    one.attempts.aload = nothing_loaded  # type: ignore[method-assign]
    one.start([job(1, task="t")], 0.0)
    assert begun.wait(patient(10))
    one.start([job(2, task="t")], 0.0)
    one.tend(time.monotonic() + 100)

    one.tend(time.monotonic() + 200)

    assert [(found.id, found.outcome, found.started) for found in one.ended] == [(2, Outcome.INTERRUPTED, False)]
    assert one.demand.loop_pace.seconds == 1.0
    assert one.loop.loop is not None
    one.loop.loop.call_soon_threadsafe(goes_on.set)
    eventually(lambda: len(one.ended) == 2)
    one.close()


async def nothing_loaded(run: Any) -> Any:
    return None


@pytest.mark.parametrize("apart", [True, False], ids=["in one process", "in a child"])
def test_a_job_that_has_been_scheduled_in_a_loop_that_is_blocked_then_starts_once_or_not_at_all(
    lite: Jobs, apart: bool, goes_on: threading.Event
) -> None:
    one = slots_of(lite, apart=apart)
    one.loop.size = 5
    one.start([], 0.0)
    one.loop.add([])
    assert one.loop.loop is not None
    blocked = threading.Event()

    def pumped_and_blocked() -> None:
        one.loop.pump()
        blocked.set()
        goes_on.wait(patient(30))

    one.claimed_at[1] = 0.0
    one.loop.waiting.append((job(1, task="t"), None, None))
    began = []
    one.began = lambda claimed: began.append(claimed.id)
    one.loop.loop.call_soon_threadsafe(pumped_and_blocked)
    assert blocked.wait(patient(10))
    one.tend(time.monotonic() + 100)

    one.tend(time.monotonic() + 200)

    back = [found.id for found in one.ended]
    goes_on.set()
    eventually(lambda: not one.loop.made)
    assert (back, began) == (([1], []) if apart else ([], [1]))
    assert not one.loop.tasks
    assert not one.loop.unbegun
    one.close()


def test_children_give_back_what_waits_behind_a_full_event_loop(lite: Jobs, tmp_path: Path, effects: Path) -> None:
    with tree(lite, tmp_path / "log", processes=1, async_slots=2) as worker:
        # So short that more of them are handed over than there are slots.
        quick = [wild.aends.enqueue(str(effects)) for _ in range(40)]
        over(*quick)
        children = worker.children()
        long = [wild.aends.enqueue(str(effects), 60) for _ in range(6)]
        eventually(lambda: len(runs(effects)) == 42)
        eventually(lambda: sum(one.refresh().state is State.READY for one in long) == 4)

        assert worker.children() == children
