"""A waiting job is cancelled at once, a running one by request, an ended one not at all."""

from __future__ import annotations

from datetime import timedelta

import pytest

from belayed.job import State
from tests.store.factories import NOON, again, failed, ids_of, released, succeeded, worker


@pytest.mark.parametrize("run_at", [None, timedelta(hours=1)])
def test_a_waiting_job_is_cancelled_now(store, run_at):
    (id,) = store.added(run_at=run_at, queue="mail", meta={"n": 1})
    now = store.later(seconds=5)

    cancelled = store.cancel([id])

    job, attempts = store.get(id)
    assert cancelled == [id]
    assert (job.state, job.finished_at, job.attempt, job.worker) == (State.CANCELLED, now, 0, None)
    assert (job.queue, job.meta, job.payload, job.created_at) == ("mail", {"n": 1}, '{"v":1}', NOON)
    assert attempts == []


def test_a_running_job_is_asked_to_stop(store):
    claim = store.running()

    cancelled = store.cancel([claim.id])

    job = store.job(claim.id)
    assert cancelled == [claim.id]
    assert (job.state, job.cancel_requested) == (State.RUNNING, True)


def test_asking_twice_is_no_harm(store):
    claim = store.running()
    (waiting,) = store.added()

    first, second = store.cancel([claim.id, waiting]), store.cancel([claim.id, waiting])

    assert sorted(first) == sorted([claim.id, waiting])
    assert second == [claim.id]


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_an_ended_job_stays_as_it_is(store, state):
    (id,) = store.ended(state)
    before = store.rows("SELECT * FROM {history}")

    cancelled = store.cancel([id])

    assert cancelled == []
    assert store.rows("SELECT * FROM {history}") == before


def test_the_ids_of_those_that_could_be_cancelled_come_back(store):
    (ended,) = store.ended()
    running = store.running().id
    scheduled, ready = *store.added(run_at=timedelta(hours=1)), *store.added()
    (untouched,) = store.added()

    cancelled = store.cancel([ready, ended, running, scheduled, 987_654, ready])

    assert sorted(cancelled) == sorted([running, scheduled, ready])
    assert store.state(untouched) is State.READY


def test_no_ids_are_nothing_to_cancel(store):
    store.added()

    cancelled = store.cancel([])

    assert cancelled == []


@pytest.mark.parametrize("write", [again, released])
@pytest.mark.parametrize("delay", [None, 0.0, 60.0])
def test_a_job_that_goes_back_after_the_request_is_cancelled(store, write, delay):
    claim = store.running()
    store.cancel([claim.id])

    held = store.finish(write(claim, delay=delay))

    job, attempts = store.get(claim.id)
    assert held == {claim.id}
    assert (job.state, job.finished_at) == (State.CANCELLED, NOON)
    assert (job.attempt, len(attempts)) == ((1, 1) if write is again else (0, 0))


def test_the_others_of_the_batch_go_back(store):
    first, second = store.running(2)
    store.cancel([second.id])

    store.finish(again(first, delay=5.0), again(second, delay=5.0))

    assert store.state(first.id) is State.SCHEDULED
    assert store.state(second.id) is State.CANCELLED


@pytest.mark.parametrize(("write", "state"), [(succeeded, State.SUCCEEDED), (failed, State.FAILED)])
def test_a_job_that_ends_after_the_request_ends_as_it_did(store, write, state):
    claim = store.running()
    store.cancel([claim.id])

    store.finish(write(claim))

    assert store.state(claim.id) is state


def test_a_job_of_a_dead_worker_is_cancelled_when_it_is_rescued(store):
    store.beat(worker())
    claim = store.running()
    store.cancel([claim.id])
    store.later(minutes=1)

    store.rescue()

    job = store.job(claim.id)
    assert (job.state, job.rescues, job.finished_at) == (State.CANCELLED, 1, store.time)


def test_a_cancelled_job_that_is_retried_is_not_cancelled_again(store):
    claim = store.running()
    store.cancel([claim.id])
    store.finish(again(claim))
    store.retry([claim.id])
    (claim,) = store.claimed()

    store.finish(released(claim))

    job = store.job(claim.id)
    assert (job.state, job.cancel_requested) == (State.READY, False)


def test_the_token_of_a_cancelled_job_is_worthless(store):
    claim = store.running()
    store.cancel([claim.id])
    store.finish(again(claim))

    held = store.finish(succeeded(claim))

    assert held == set()
    assert store.state(claim.id) is State.CANCELLED


def test_a_thousand_jobs_are_cancelled_in_one_go(store):
    waiting = store.added(700)
    running = ids_of(store.claimed(300))

    cancelled = store.cancel(waiting)

    assert sorted(cancelled) == waiting
    assert store.counts().ended[State.CANCELLED] == 400
    assert store.find({"ids": running, "states": [State.RUNNING]}, count=1)[0].cancel_requested
