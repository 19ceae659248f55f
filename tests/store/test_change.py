"""A waiting job takes another queue, priority or time; what is not given stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from belayed.job import State
from tests.store.factories import NOON, ids_of


def shown(job):
    return job.queue, job.priority, job.run_at, job.state


@pytest.mark.parametrize(
    ("changes", "after"),
    [
        ({}, ("a", 1, NOON, State.READY)),
        ({"queue": "b"}, ("b", 1, NOON, State.READY)),
        ({"priority": 0}, ("a", 0, NOON, State.READY)),
        ({"priority": -9, "queue": "é"}, ("é", -9, NOON, State.READY)),
        ({"run_at": NOON + timedelta(hours=1)}, ("a", 1, NOON + timedelta(hours=1), State.SCHEDULED)),
        ({"run_at": NOON - timedelta(hours=1)}, ("a", 1, NOON - timedelta(hours=1), State.READY)),
        ({"run_at": datetime.max.replace(tzinfo=UTC)}, ("a", 1, datetime.max.replace(tzinfo=UTC), State.SCHEDULED)),
        ({"delay": 0.0}, ("a", 1, NOON + timedelta(seconds=10), State.READY)),
        ({"delay": 1.5}, ("a", 1, NOON + timedelta(seconds=11.5), State.SCHEDULED)),
    ],
)
def test_a_ready_job_is_changed(store, changes, after):
    (id,) = store.added(queue="a", priority=1)
    store.later(seconds=10)

    changed = store.change([id], **changes)

    assert changed == [id]
    assert shown(store.job(id)) == after


@pytest.mark.parametrize(
    ("changes", "run_at", "state"),
    [
        ({"queue": "b"}, NOON + timedelta(hours=1), State.SCHEDULED),
        ({"run_at": NOON}, NOON, State.READY),
        ({"delay": 0.0}, NOON, State.READY),
        ({"delay": 5.0}, NOON + timedelta(seconds=5), State.SCHEDULED),
    ],
)
def test_a_scheduled_job_is_changed(store, changes, run_at, state):
    (id,) = store.added(run_at=timedelta(hours=1))

    store.change([id], **changes)

    job = store.job(id)
    assert (job.run_at, job.state) == (run_at, state)


def test_only_waiting_jobs_are_changed(store):
    (ended,) = store.ended(State.FAILED)
    running = store.running().id
    waiting, untouched = store.added(2)

    changed = store.change([ended, running, waiting, 987_654], priority=7)

    assert changed == [waiting]
    assert [store.job(id).priority for id in (ended, running, waiting, untouched)] == [0, 0, 7, 0]


def test_a_changed_job_is_claimed_in_its_new_place(store):
    first, second, third = store.added(3)
    store.change([third], priority=-1)
    store.change([first], delay=-60.0, priority=5)

    claimed = store.claimed(3)

    assert ids_of(claimed) == [third, second, first]
