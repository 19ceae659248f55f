"""What the database passes over without an error is never reported as done, and nothing is lost by it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from belayed import Jobs
from belayed.errors import SchemaMissing, StoreError
from belayed.job import State
from belayed.store.answers import PASSED_OVER
from tests.store.factories import again, draft, drafts, failed, succeeded, worker
from tests.worker.refusing import hushed, miss

BAD = "NEW.queue = 'bad'"


@pytest.fixture
def passing(url):
    """Has the database pass over rows of a table at an event."""
    return lambda table, event, when="1 = 1": hushed(url, table, event, when)


@pytest.mark.parametrize("plain", [True, False])
def test_a_job_whose_row_is_passed_over_is_not_reported_as_saved(store, passing, plain):
    # What most enqueues are; and one that says when it is.
    store.time = None if plain else store.time

    with passing("jobs", "INSERT", BAD), pytest.raises(StoreError, match="the job was not saved") as caught:
        store.insert(draft(queue="bad"))

    assert PASSED_OVER in str(caught.value)
    assert store.rows("SELECT count(*) FROM belayed_jobs") == [(0,)]


@pytest.mark.parametrize("number", [3, 60])
def test_of_many_jobs_none_is_saved_if_one_is_passed_over(store, passing, number):
    several = [*drafts(number - 1), draft(queue="bad")]

    with passing("jobs", "INSERT", BAD), pytest.raises(StoreError) as caught:
        store.insert_many(several)

    assert f"1 of {number} jobs were not saved, nor were the others: {PASSED_OVER}" in str(caught.value)
    assert store.rows("SELECT count(*) FROM belayed_jobs") == [(0,)]


@pytest.mark.parametrize("number", [1, 3, 60])
async def test_an_enqueue_says_that_its_row_was_passed_over(url, passing, number):
    several = [*drafts(number - 1, queue="default"), draft(queue="bad")]
    jobs = Jobs(url)

    with passing("jobs", "INSERT", BAD):
        with pytest.raises(StoreError, match="not saved"):
            jobs.enqueue(draft(queue="bad")) if number == 1 else jobs.enqueue_many(several)
        with pytest.raises(StoreError, match="not saved"):
            await (jobs.aenqueue(draft(queue="bad")) if number == 1 else jobs.aenqueue_many(several))

    assert jobs.find() == []
    await jobs.aclose()


@pytest.mark.parametrize("number", [1, 3, 60])
async def test_an_enqueue_does_not_take_the_table_of_a_trigger_for_one_of_belayed_s(url, number):
    several = drafts(number, queue="bad")
    jobs = Jobs(url)

    with hushed(url, "jobs", "INSERT", BAD, by=miss):
        with pytest.raises(StoreError, match="audit") as caught:
            jobs.enqueue(several[0]) if number == 1 else jobs.enqueue_many(several)
        with pytest.raises(StoreError, match="audit") as awaited:
            await (jobs.aenqueue(several[0]) if number == 1 else jobs.aenqueue_many(several))

    assert SchemaMissing not in (type(caught.value), type(awaited.value))
    await jobs.aclose()


def test_a_worker_is_not_registered_by_a_row_that_is_passed_over(store, passing):
    with passing("workers", "INSERT"), pytest.raises(StoreError, match="the worker cannot be registered"):
        store.beat(worker("w1"))

    assert store.beat(worker("w1")).fresh
    assert not store.beat(worker("w1")).fresh


def test_a_beat_that_is_passed_over_is_an_error(store, passing):
    store.beat(worker("w1"))
    store.later(seconds=5)

    with passing("workers", "UPDATE"), pytest.raises(StoreError) as caught:
        store.beat(worker("w1"))

    assert PASSED_OVER in str(caught.value)


OUTCOMES = {
    "succeeded": (succeeded, "DELETE", "OLD.queue = 'bad'", State.SUCCEEDED),
    "failed": (failed, "DELETE", "OLD.queue = 'bad'", State.FAILED),
    "tried again": (again, "UPDATE", "OLD.queue = 'bad'", State.READY),
}


@pytest.mark.parametrize(("outcome", "event", "when", "state"), OUTCOMES.values(), ids=OUTCOMES)
def test_an_outcome_that_is_passed_over_is_not_held_and_its_claim_is(store, passing, outcome, event, when, state):
    bad, good = store.running(queue="bad"), store.running(queue="good")

    with passing("jobs", event, when):
        held = store.finish(outcome(bad), outcome(good))
        kept = [store.holds(outcome(job)) for job in (bad, good)]

    assert (held, kept) == ({good.id}, [True, False])
    assert store.state(bad.id) is State.RUNNING
    assert store.finish(outcome(bad)) == {bad.id}
    assert store.state(bad.id) is state


def test_a_due_job_that_is_passed_over_is_due_as_before(store, passing):
    (id,) = store.added(run_at=timedelta(seconds=1))
    store.later(seconds=2)

    with passing("jobs", "UPDATE"):
        promoted = store.promote()

    assert promoted.jobs == 0
    assert promoted.next_due is not None
    assert promoted.next_due <= 0
    assert store.state(id) is State.SCHEDULED


def test_a_job_whose_rescue_is_passed_over_is_rescued_later(store, passing):
    store.beat(worker("w1"))
    job = store.running(by="w1")
    store.later(seconds=60)

    with passing("jobs", "UPDATE"):
        early = store.rescue()

    assert early == ([], [], ["w1"])
    assert store.rescue().saved == [job.id]


def test_a_stray_whose_row_is_passed_over_is_not_reported_as_given_back(store, passing):
    job = store.running(by="w1")

    with passing("jobs", "UPDATE"):
        assert store.strays("w1", []) == []

    assert store.strays("w1", []) == [job.id]


@pytest.mark.parametrize("run_at", [None, timedelta(hours=1)])
def test_a_cancel_that_is_passed_over_is_not_reported_as_done(store, passing, run_at):
    (id,) = store.added(run_at=run_at)

    with passing("jobs", "DELETE"):
        assert store.cancel([id]) == []

    assert [job.state for job in store.find({})] == [State.SCHEDULED if run_at else State.READY]
    assert store.cancel([id]) == [id]
    assert [job.state for job in store.find({})] == [State.CANCELLED]


def test_a_cancelled_job_without_a_record_is_reported_as_cancelled(store, passing):
    (id,) = store.added()

    with passing("history", "INSERT"):
        assert store.cancel([id]) == [id]

    assert store.get(id) is None


def test_a_request_to_stop_that_is_passed_over_is_not_reported_as_made(store, passing):
    job = store.running()

    with passing("jobs", "UPDATE"):
        assert store.cancel([job.id]) == []

    assert store.cancel([job.id]) == [job.id]


def test_a_failed_job_is_not_lost_if_its_row_among_the_jobs_is_passed_over(store, passing):
    (id,) = store.ended(State.FAILED)

    with passing("jobs", "INSERT"):
        assert store.retry([id]) == []

    assert store.state(id) is State.FAILED
    assert store.retry([id]) == [id]
    assert [job.state for job in store.find({})] == [State.READY]


def test_a_failed_job_that_does_not_leave_the_history_runs_again_and_ends_once(store, passing):
    (id,) = store.ended(State.FAILED)

    with passing("history", "DELETE"):
        assert store.retry([id]) == [id]
    store.finish(*map(succeeded, store.claimed()))

    assert [(job.id, job.state) for job in store.find({})] == [(id, State.SUCCEEDED)]


def test_a_scheduled_job_that_is_passed_over_is_neither_tried_now_nor_changed_nor_deleted(store, passing):
    (id,) = store.added(run_at=timedelta(hours=1))

    with passing("jobs", "UPDATE"), passing("jobs", "DELETE"):
        assert (store.retry([id]), store.change([id], queue="mail"), store.delete([id])) == ([], [], [])

    job = store.job(id)
    assert (job.state, job.queue) == (State.SCHEDULED, "default")
    assert store.retry([id]) == [id]


def test_a_queue_whose_row_is_passed_over_is_not_reported_as_paused(store, passing):
    with passing("queues", "INSERT"), pytest.raises(StoreError, match="'mail' was not paused"):
        store.pause("mail")
    store.pause("mail")

    with passing("queues", "UPDATE"), pytest.raises(StoreError, match="'mail' is paused as before"):
        store.resume("mail")

    assert store.paused() == ["mail"]
    store.resume("mail")
    assert store.paused() == []


def test_pruning_that_is_passed_over_is_an_error_if_nothing_is_deleted(store, passing):
    store.ended(State.SUCCEEDED, 2, queue="bad")
    store.ended(State.SUCCEEDED, 3, queue="good")
    store.later(hours=1)

    with passing("history", "DELETE", "OLD.queue = 'bad'"):
        assert store.prune(State.SUCCEEDED, 60.0) == 3
        with pytest.raises(StoreError, match="no job was deleted"):
            store.prune(State.SUCCEEDED, 60.0)
        with pytest.raises(StoreError, match="no job was deleted"):
            store.prune_excess(0)

    assert store.prune_excess(0) == 2
    assert store.prune(State.SUCCEEDED, 60.0) == 0


def test_an_attempt_that_is_passed_over_keeps_no_job_from_being_tried_again(store, passing):
    job = store.running()

    with passing("attempts", "INSERT"):
        assert store.finish(again(job)) == {job.id}

    assert store.state(job.id) is State.READY
    assert store.attempts(job.id) == []
