"""Nothing is claimed from a paused queue; what runs goes on."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from belayed.job import State
from tests.store.factories import again, ids_of, succeeded


@pytest.mark.parametrize("others", [0, 1, 5], ids=["alone", "of two", "of six"])
def test_a_paused_queue_is_passed_over(store, others):
    paused = store.added(3, queue="paused", priority=-1)
    rest = [store.added(queue=f"q{nth}")[0] for nth in range(others)]

    store.pause("paused")

    assert ids_of(store.claimed(10)) == rest
    assert {store.state(id) for id in paused} == {State.READY}


def test_a_claimer_that_had_claimed_from_it_stops_too(store):
    lanes = store.lanes()
    store.added(3, queue="a")
    store.added(3, queue="b")
    store.claimed(2, lanes=lanes)
    store.pause("a")

    claimed = store.claimed(10, lanes=lanes)

    assert {job.queue for job in claimed} == {"b"}


@pytest.mark.parametrize("others", [0, 1])
def test_a_resumed_queue_goes_on_in_order(store, others):
    ids = store.added(3, queue="a")
    store.added(others, queue="b", priority=1)
    lanes = store.lanes()
    store.pause("a")
    store.claimed(10, lanes=lanes)

    store.resume("a")

    assert ids_of(store.claimed(10, lanes=lanes)) == ids


def test_the_paused_queues_are_listed(store):
    for queue in ("b", "é", "a", "c"):
        store.pause(queue)
    store.resume("c")

    paused = store.paused()

    assert paused == ["a", "b", "é"]


def test_pausing_and_resuming_twice_is_no_harm(store):
    store.pause("a")
    store.later(seconds=1)
    store.pause("a")
    twice = store.paused()
    store.resume("a")
    store.resume("a")
    store.resume("never")

    assert twice == ["a"]
    assert store.paused() == []


def test_a_queue_without_jobs_can_be_paused(store):
    store.pause("later")
    store.added(queue="later")

    claimed = store.claimed()

    assert claimed == []


def test_what_runs_may_finish_and_go_back(store):
    first, second = store.running(2, queue="a")
    store.pause("a")

    held = store.finish(succeeded(first), again(second, delay=0.0))

    assert held == {first.id, second.id}
    assert store.claimed() == []


def test_jobs_of_a_paused_queue_are_promoted_and_cancelled_as_any(store):
    first, second = store.added(2, queue="a", run_at=timedelta(seconds=1))
    store.pause("a")
    store.later(seconds=1)

    promoted = store.promote()
    cancelled = store.cancel([first])

    assert promoted.jobs == 2
    assert cancelled == [first]
    assert store.state(second) is State.READY


@pytest.mark.parametrize("queues", ["a", "ab"])
def test_once_paused_a_queue_gives_no_job_to_claims_that_begin_later(stores, queues):
    pauser = stores()
    for queue in queues:
        pauser.added(400, queue=queue)
    claimers = [stores() for _ in range(4)]
    paused, late = threading.Event(), []

    def claim(claimer):
        lanes = claimer.lanes()
        while True:
            after = paused.is_set()
            claimed = claimer.claimed(1, lanes=lanes)
            if after:
                late.extend(job.id for job in claimed if job.queue == "a")
                return

    threads = [threading.Thread(target=claim, args=(claimer,)) for claimer in claimers]
    for thread in threads:
        thread.start()
    pauser.pause("a")
    paused.set()
    for thread in threads:
        thread.join()

    assert late == []


@pytest.mark.parametrize("count", [1, 10])
def test_hundreds_of_paused_queues_hide_no_other(store, count):
    for number in range(300):
        store.added(queue=f"paused {number}", priority=-1)
        store.pause(f"paused {number}")
    ids = store.added(2 * count, queue="open")

    claimed = store.claimed(count)

    assert ids_of(claimed) == ids[:count]
