"""A store that is far away, or slow: workers hold as much work ready as lasts until it has answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from belayed import enqueue_many
from belayed.jobs import Jobs
from belayed.worker.demand import PATIENCE, Demand
from tests.proxy import FaultProxy
from tests.worker.helpers import execute, worked
from tests.worker.tasks import act

Body = Callable[[Callable[..., Any]], str]

BRIEF = 0.005
"""Seconds of a job."""


@pytest.mark.parametrize(
    ("turn", "ready"),
    [(0.001, 20), (0.0125, 20), (0.1, 160), (0.15, 240), (5.0, 320)],
    ids=["near", "as near as it was taken to be", "far", "further", "stuck"],
)
def test_work_is_held_ready_for_a_few_turns_of_the_store(turn: float, ready: int) -> None:
    demand = Demand(threads=2, async_slots=2, most=1000)
    demand.took(False, BRIEF)
    demand.turns_pace.took(turn)

    room = demand.room(0, 0)

    assert room == 2 + ready


def test_the_read_ahead_bounds_what_is_held_ready_for_a_slow_store() -> None:
    demand = Demand(threads=2, async_slots=2, most=30)
    demand.took(False, BRIEF)
    demand.turns_pace.took(0.25)

    assert demand.room(0, 0) == 30


def test_a_job_that_would_go_back_before_its_turn_is_not_held_ready_for_a_slow_store() -> None:
    demand = Demand(threads=1, async_slots=1, most=1000)
    demand.took(False, PATIENCE)
    demand.turns_pace.took(10.0)

    assert demand.room(0, 0) == 1


def test_long_jobs_are_not_held_ready_for_a_slow_store() -> None:
    demand = Demand(threads=2, async_slots=2, most=1000)
    demand.took(False, 60.0)
    demand.turns_pace.took(0.25)

    assert demand.room(0, 0) == 2


def test_turns_through_a_slow_network_bring_more_jobs_each(
    postgres_url: str, opened: Callable[..., Jobs], body: Body
) -> None:
    opened(postgres_url)
    count, brief = 400, body(lambda: time.sleep(BRIEF))
    with FaultProxy(postgres_url) as proxy:
        jobs = opened(proxy.url)
        enqueue_many(act.draft(brief) for _ in range(count))
        proxy.delay(0.05)

        summary = worked(jobs, threads=2, beat=timedelta(seconds=5), lapse=timedelta(seconds=60))

        proxy.forward()
        claims = execute(jobs, "SELECT count(DISTINCT claimed_at) FROM belayed_history")
    assert summary.succeeded == count
    # More than 22 in each: so many jobs are 50 ms of work for two threads, and what they run.
    assert claims[0][0] < count / 22
