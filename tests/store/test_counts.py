"""Counts tell how many jobs stand where, and since when the oldest waits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from belayed.job import State
from tests.store.factories import NOON, again, failed, succeeded


def test_an_empty_store_counts_nothing(store):
    counts = store.counts()

    assert counts.live == []
    assert counts.ended == {State.SUCCEEDED: 0, State.FAILED: 0, State.CANCELLED: 0}


@pytest.mark.dj(340)
def test_live_jobs_are_counted_by_queue_and_state_with_the_oldest(store):
    store.added(2, queue="b", run_at=timedelta(minutes=-5))
    store.added(1, queue="b", run_at=timedelta(minutes=-9))
    store.added(2, queue="a", run_at=timedelta(hours=1))
    store.added(1, queue="a", run_at=timedelta(hours=2))
    store.added(2, queue="c")
    store.claimed(2, lanes=store.lanes("b"))

    counts = store.counts()

    assert counts.live == [
        ("a", State.SCHEDULED, 3, NOON + timedelta(hours=1)),
        ("b", State.READY, 1, NOON - timedelta(minutes=5)),
        ("b", State.RUNNING, 2, NOON - timedelta(minutes=9)),
        ("c", State.READY, 2, NOON),
    ]


def test_ended_jobs_are_counted_by_state(store):
    store.ended(State.SUCCEEDED, 3)
    store.ended(State.FAILED, 2)
    store.ended(State.CANCELLED, 1)

    counts = store.counts()

    assert counts.ended == {State.SUCCEEDED: 3, State.FAILED: 2, State.CANCELLED: 1}


def test_counting_the_ended_ends_at_the_limit(store):
    jobs = store.running(5)
    store.finish(*map(succeeded, jobs[:3]), *map(failed, jobs[3:]))

    counts = store.counts(most=2)

    assert counts.ended == {State.SUCCEEDED: 2, State.FAILED: 2, State.CANCELLED: 0}


@pytest.mark.dj(325, 326)
def test_overdue_is_what_was_due_for_long_and_never_tried(store):
    store.added(2, queue="b", run_at=timedelta(minutes=-5))
    store.added(1, queue="b", run_at=timedelta(minutes=-9))
    store.added(1, queue="b", run_at=timedelta(minutes=-1))
    store.added(1, queue="a", run_at=timedelta(minutes=4))
    store.added(1, queue="later", run_at=timedelta(days=1))
    store.added(1, queue="running", run_at=timedelta(hours=-1))
    store.claimed(1, lanes=store.lanes("running"))
    store.added(1, queue="tried", run_at=timedelta(hours=-1))
    store.finish(*map(again, store.claimed(1, lanes=store.lanes("tried"))))
    store.pause("b")

    store.time += timedelta(minutes=10)

    assert store.overdue(300.0) == [
        ("a", 1, NOON + timedelta(minutes=4), False),
        ("b", 4, NOON - timedelta(minutes=9), True),
    ]
    assert store.overdue(18 * 60.0) == [("b", 1, NOON - timedelta(minutes=9), True)]
    assert store.overdue(3600.0) == []
