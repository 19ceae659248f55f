"""Stops and time limits reach a job at any moment: also one that a thread has handed over to the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

import belayed
from belayed import Job
from belayed.claim import Claimed, Finished
from belayed.job import Outcome
from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.alone import Alone
from tests.worker.helpers import eventually
from tests.worker.tasks import aact, act

Body = Callable[[Callable[..., Any]], str]
BOTH = pytest.mark.parametrize("task", [act, aact], ids=["def", "async def"])


@pytest.fixture
def alone(lite: Jobs) -> Iterator[Alone]:
    one = Alone(lite)
    one.slots.open()
    # As long as no coroutine of the kind has been seen.
    one.slots.demand.kinds[aact.name] = False
    yield one
    one.slots.close()


@pytest.fixture
def busy(alone: Alone, body: Body) -> Iterator[Job]:
    """A job that keeps the only slot of the event loop."""
    begun, free = threading.Event(), threading.Event()

    async def waits() -> None:
        begun.set()
        await asyncio.to_thread(free.wait)

    job = aact.enqueue(body(waits))
    alone.run_all()
    assert begun.wait(patient(10))
    # The next one is taken for a function again.
    alone.slots.demand.kinds[aact.name] = False
    yield job
    free.set()


def ended(alone: Alone, job: Job) -> Finished:
    """How a job has ended, waited for."""

    def found() -> Finished | None:
        alone.slots.tend(time.monotonic())
        return next((one for one in alone.slots.ended if one.id == job.id), None)

    return eventually(found)  # type: ignore[return-value]


def never() -> None:
    raise AssertionError("it was stopped before")


async def anever() -> None:
    never()


def test_a_handed_over_job_that_waits_for_a_slot_can_be_stopped(alone: Alone, busy: Job, body: Body) -> None:
    job = aact.enqueue(body(anever))
    alone.run_all()
    eventually(lambda: alone.slots.loop.waiting)

    alone.slots.stop(job.id, Outcome.CANCELLED, "no longer wanted")

    finished = ended(alone, job)
    assert (finished.outcome, finished.message) == (Outcome.CANCELLED, "no longer wanted")
    assert job.id in alone.done


def test_a_handed_over_job_that_waits_for_a_slot_has_its_time_limit(alone: Alone, busy: Job, body: Body) -> None:
    job = aact.using(max_run_time=timedelta(seconds=0.05)).enqueue(body(anever))
    alone.run_all()
    eventually(lambda: alone.slots.loop.waiting)

    finished = eventually(lambda: alone.ended() and alone.slots.ended[0])

    assert (finished.id, finished.outcome) == (job.id, Outcome.TIMED_OUT)


def test_a_coroutine_that_waits_for_a_slot_and_has_not_begun_goes_back_at_once(
    alone: Alone, busy: Job, body: Body
) -> None:
    alone.slots.demand.kinds[aact.name] = True
    job = aact.enqueue(body(anever))
    alone.run_all()

    alone.slots.stop(job.id, Outcome.CANCELLED, "no longer wanted")

    finished = ended(alone, job)
    assert (finished.outcome, finished.started) == (Outcome.INTERRUPTED, False)


@BOTH
def test_a_stop_that_comes_while_the_start_is_logged_is_obeyed(alone: Alone, task: Any, body: Body) -> None:
    def stops(claimed: Claimed) -> None:
        alone.slots.stop(claimed.id, Outcome.CANCELLED, "no longer wanted")

    alone.slots.began = stops
    job = task.enqueue(body(anever if task is aact else never))

    alone.run_all()

    finished = ended(alone, job)
    assert (finished.outcome, finished.message) == (Outcome.CANCELLED, "no longer wanted")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_stop_that_comes_while_a_job_is_handed_over_is_obeyed(
    moment: str, alone: Alone, body: Body, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = aact.enqueue(body(anever))
    hand_over = alone.slots.hand_over

    def stopped(*handed: Any) -> None:
        if moment == "after":
            hand_over(*handed)
        alone.slots.stop(job.id, Outcome.CANCELLED, "no longer wanted")
        if moment == "before":
            hand_over(*handed)

    monkeypatch.setattr(alone.slots, "hand_over", stopped)

    alone.run_all()

    assert ended(alone, job).outcome is Outcome.CANCELLED


class Deaf:
    """What swallows a stop while it is loaded."""


def test_a_stop_that_is_swallowed_while_a_coroutine_is_loaded_is_obeyed(alone: Alone, body: Body) -> None:
    loading = threading.Event()

    def load(_: Any) -> Deaf:
        loading.set()
        try:
            while True:
                pass
        except BaseException:
            return Deaf()

    belayed.register_reference(Deaf, name="handed.deaf", key=lambda _: 1, load=load)
    alone.slots.demand.kinds[takes.name] = False
    job = takes.enqueue(Deaf())
    alone.run_all()
    assert loading.wait(patient(10))

    alone.slots.stop(job.id, Outcome.CANCELLED, "no longer wanted")

    assert ended(alone, job).outcome is Outcome.CANCELLED


@belayed.task(name="handed.takes")
async def takes(one: Deaf) -> None:
    never()
