"""What is deleted is gone with its attempts; a running job stays. What is retried starts anew."""

from __future__ import annotations

from datetime import timedelta

import pytest

from belayed.job import State
from tests.store.factories import NOON, again, failed, ids_of, released, succeeded


@pytest.mark.parametrize("run_at", [None, timedelta(hours=1)])
def test_a_waiting_job_is_deleted(store, run_at):
    (id,) = store.added(run_at=run_at)

    deleted = store.delete([id])

    assert deleted == [id]
    assert store.get(id) is None


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_an_ended_job_is_deleted(store, state):
    (id,) = store.ended(state)

    deleted = store.delete([id])

    assert deleted == [id]
    assert store.get(id) is None


def test_its_attempts_go_with_it_and_those_of_others_stay(store):
    first, second, third = store.running(3)
    store.finish(again(first, delay=5.0), failed(second), failed(third))

    store.delete([first.id, second.id])

    assert store.rows("SELECT job_id FROM {attempts}") == [(third.id,)]


def test_a_running_job_stays(store):
    claim = store.running()
    store.finish(again(claim, delay=0.0))
    (claim,) = store.claimed()

    deleted = store.delete([claim.id])

    assert deleted == []
    assert store.state(claim.id) is State.RUNNING
    assert len(store.attempts(claim.id)) == 1
    assert store.finish(succeeded(claim)) == {claim.id}


def test_the_ids_of_those_that_are_gone_come_back(store):
    (ended,) = store.ended()
    running = store.running().id
    waiting = store.added(2)

    deleted = store.delete([*waiting, running, ended, 987_654])

    assert sorted(deleted) == sorted([*waiting, ended])
    assert store.delete([]) == []


@pytest.mark.dj(170)
@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_a_job_that_did_not_succeed_is_ready_again_with_its_counters_at_zero(store, state):
    claim = store.running(queue="mail", priority=4, max_attempts=2, max_run_time=timedelta(seconds=3), meta={"n": 1})
    store.finish(again(claim, delay=0.0, crashed=True))
    (claim,) = store.claimed()
    store.finish(again(claim, delay=0.0, failed=False, free=True))
    store.later(minutes=1)
    (claim,) = store.claimed()
    store.later(minutes=1)
    store.rescue()
    if state is State.FAILED:
        (claim,) = store.claimed()
        store.finish(failed(claim))
    else:
        store.cancel([claim.id])
    now = store.later(hours=1)

    retried = store.retry([claim.id])

    job = store.job(claim.id)
    assert retried == [claim.id]
    assert (job.state, job.run_at, job.finished_at, job.created_at) == (State.READY, now, None, NOON)
    assert (job.failures, job.crashes, job.rescues, job.free_retries) == (0, 0, 0, 0)
    assert (job.queue, job.priority, job.max_attempts, job.meta) == ("mail", 4, 2, {"n": 1})
    assert (job.max_run_time, job.payload) == (timedelta(seconds=3), '{"v":1}')


def test_attempts_are_numbered_on_after_a_retry(store):
    claim = store.running()
    store.finish(failed(claim, message="first"))
    store.retry([claim.id])
    (claim,) = store.claimed()

    store.finish(failed(claim, message="second"))

    attempts = store.attempts(claim.id)
    assert [(attempt.number, attempt.message) for attempt in attempts] == [(1, "first"), (2, "second")]
    assert store.job(claim.id).attempt == 2


def test_a_scheduled_job_is_ready_now_with_its_counters_at_zero(store):
    claim = store.running()
    store.finish(again(claim, delay=60.0))
    now = store.later(seconds=1)

    retried = store.retry([claim.id])

    job = store.job(claim.id)
    assert retried == [claim.id]
    assert (job.state, job.run_at, job.failures) == (State.READY, now, 0)
    assert ids_of(store.claimed()) == [claim.id]


@pytest.mark.dj(342)
def test_a_job_that_runs_or_has_succeeded_is_not_retried(store):
    (ended,) = store.ended()
    running = store.running().id

    retried = store.retry([ended, running, 987_654])

    assert retried == []
    assert store.state(ended) is State.SUCCEEDED
    assert store.state(running) is State.RUNNING


@pytest.mark.dj(82)
def test_the_token_of_an_ended_job_is_worthless_after_its_retry(store):
    claim = store.running()
    store.finish(failed(claim))
    store.retry([claim.id])

    held = store.finish(released(claim))

    assert held == set()
