"""A scheduled job is ready once it is due, and not before."""

from __future__ import annotations

from datetime import timedelta

import pytest

from belayed.job import State
from tests.store.factories import NOON, again, draft, ids_of


def test_due_jobs_become_ready(store):
    ids = ids_of(store.insert_many([draft(run_at=timedelta(seconds=nth)) for nth in range(1, 6)]))
    store.later(seconds=3)

    promoted = store.promote()

    assert promoted == (3, 1.0)
    assert [store.state(id) for id in ids] == [State.READY] * 3 + [State.SCHEDULED] * 2
    assert [store.job(id).run_at for id in ids] == [NOON + timedelta(seconds=nth) for nth in range(1, 6)]


def test_a_job_is_due_at_its_very_time(store):
    store.added(run_at=timedelta(seconds=1))

    early = store.promote(now=NOON + timedelta(microseconds=999_999))
    exact = store.promote(now=NOON + timedelta(seconds=1))

    assert (early.jobs, exact.jobs) == (0, 1)
    assert early.next_due == pytest.approx(1e-6, rel=0.01)


def test_nothing_scheduled_is_nothing_due(store):
    store.added()
    store.running(priority=-1)

    promoted = store.promote()

    assert promoted == (0, None)


def test_the_next_due_time_is_told_where_nothing_is_due(store):
    store.added(run_at=timedelta(hours=3))
    store.added(run_at=timedelta(hours=2))

    promoted = store.promote()

    assert promoted == (0, 7200.0)


def test_at_most_so_many_are_promoted_the_longest_due_first(store):
    ids = ids_of(store.insert_many([draft(run_at=timedelta(seconds=9 - nth)) for nth in range(9)]))
    store.later(seconds=20)

    promoted = store.promote(count=4)

    assert promoted == (4, -15.0)
    assert [store.state(id) for id in ids] == [State.SCHEDULED] * 5 + [State.READY] * 4
    assert store.promote() == (5, None)


def test_a_thousand_are_promoted_unless_told_otherwise(synced):
    synced.added(1200, run_at=timedelta(seconds=1))
    synced.later(seconds=1)

    counts = [synced.promote().jobs, synced.promote().jobs, synced.promote().jobs]

    assert counts == [1000, 200, 0]


def test_a_promoted_job_can_be_claimed_in_its_place(store):
    (late,) = store.added(run_at=timedelta(seconds=2))
    (early,) = store.added(run_at=timedelta(seconds=1))
    store.later(seconds=5)
    (now,) = store.added()
    store.promote()

    claimed = store.claimed(3)

    assert ids_of(claimed) == [early, late, now]


def test_a_retried_job_is_promoted_after_its_delay(store):
    claim = store.running()
    store.finish(again(claim, delay=60.0))
    store.later(seconds=60)

    promoted = store.promote()

    assert promoted == (1, None)
    assert ids_of(store.claimed()) == [claim.id]


def test_two_promoters_promote_each_job_once(stores):
    first, second = stores(), stores()
    first.added(10, run_at=timedelta(seconds=1))
    second.time = first.later(seconds=1)

    promoted = [first.promote(count=6).jobs, second.promote(count=6).jobs]

    assert promoted == [6, 4]


@pytest.mark.dj(100)
def test_the_clock_of_the_database_tells_what_is_due(store):
    store.time = None
    store.added(run_at=timedelta(microseconds=1))
    store.added(run_at=timedelta(hours=1))

    promoted = store.promote()

    assert promoted.jobs == 1
    assert promoted.next_due == pytest.approx(3600, abs=60)


@pytest.mark.parametrize("queues", [("*",), ("served",)])
def test_a_look_for_ready_jobs_tells_when_the_next_one_is_due(store, queues):
    lanes = store.lanes(*queues)
    store.added(queue="served")
    store.claimed(1, lanes=lanes)
    none = lanes.next_due
    store.added(run_at=timedelta(minutes=2))
    store.added(run_at=timedelta(seconds=2.5))
    lanes.forget()

    claimed = store.claimed(1, lanes=lanes)

    assert (none, lanes.next_due, claimed) == (None, 2.5, [])


MANY = 1500


@pytest.mark.parametrize("seconds", [1, 5, 10], ids=["before", "among", "behind"])
def test_the_most_urgent_do_not_wait_for_many_others(synced, seconds):
    """All become due at once, or one after the other; the next promotion takes the urgent job in any case."""
    synced.added(MANY, run_at=timedelta(seconds=5), priority=5)
    (urgent,) = synced.added(run_at=timedelta(seconds=seconds), priority=-1, queue="other")
    synced.added(MANY, run_at=timedelta(seconds=5), priority=5)
    synced.later(seconds=20)

    promoted = synced.promote()

    assert promoted == (1000, -15.0)
    assert synced.state(urgent) is State.READY


def test_of_several_priorities_the_smallest_come_first(synced):
    synced.added(MANY, run_at=timedelta(seconds=1), priority=9)
    ids = {priority: synced.added(100, run_at=timedelta(seconds=5), priority=priority) for priority in (3, 1, 2)}
    synced.later(seconds=20)

    synced.promote()

    ready = {priority: sum(synced.state(id) is State.READY for id in ids[priority]) for priority in ids}
    assert ready == {1: 100, 2: 100, 3: 50}


def test_urgent_jobs_for_later_keep_nobody_waiting(synced):
    synced.added(50, run_at=timedelta(hours=1), priority=-9)
    synced.added(MANY, run_at=timedelta(seconds=1), priority=9)
    (urgent,) = synced.added(run_at=timedelta(seconds=5), priority=1)
    synced.later(seconds=20)

    promoted = synced.promote()

    assert (promoted.jobs, synced.state(urgent)) == (1000, State.READY)


def test_more_priorities_than_are_looked_at_are_promoted_all_the_same(synced):
    for priority in range(-20, 0):
        synced.added(run_at=timedelta(hours=1), priority=priority)
    ids = synced.added(MANY, run_at=timedelta(seconds=1), priority=9)
    synced.later(seconds=20)

    counts = [synced.promote().jobs for _ in range(3)]

    assert counts == [750, 750, 0]
    assert {synced.state(id) for id in ids} == {State.READY}


def test_an_urgent_job_that_the_database_refuses_keeps_no_others_waiting(synced):
    if synced.dialect == "postgresql":
        pytest.skip("a trigger there is a function, too; the operation is the same")
    synced.added(MANY, run_at=timedelta(seconds=1), priority=9)
    (refused,) = synced.added(run_at=timedelta(seconds=5), priority=-1)
    synced.rows(
        "CREATE TRIGGER no BEFORE UPDATE ON belayed_jobs WHEN OLD.priority = -1 BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    synced.later(seconds=20)

    promoted = synced.promote()

    assert promoted.jobs == 750
    assert synced.state(refused) is State.SCHEDULED
