"""A job that goes back waits as it was told to, and is charged for what it did."""

from __future__ import annotations

from datetime import timedelta

import pytest

from belayed.job import Outcome, State
from tests.store.factories import NOON, again, failed, finished, ids_of, released


@pytest.mark.dj(81, 167)
def test_a_retry_with_a_delay_is_scheduled(store):
    claim = store.running(queue="mail", priority=3)
    now = store.later(seconds=10)

    held = store.finish(again(claim, delay=60.0))

    job = store.job(claim.id)
    assert held == {claim.id}
    assert (job.state, job.run_at) == (State.SCHEDULED, now + timedelta(seconds=60))
    assert (job.queue, job.priority, job.worker, job.started_at) == ("mail", 3, None, None)


def test_a_retry_without_waiting_is_ready_from_now_on(store):
    claim = store.running()
    now = store.later(seconds=10)

    store.finish(again(claim, delay=0.0))

    job = store.job(claim.id)
    assert (job.state, job.run_at) == (State.READY, now)


@pytest.mark.dj(182)
def test_a_job_that_goes_back_without_a_delay_keeps_its_place(store):
    claim = store.running(run_at=timedelta(minutes=-5))
    store.later(seconds=10)

    store.finish(released(claim))

    job = store.job(claim.id)
    assert (job.state, job.run_at) == (State.READY, NOON - timedelta(minutes=5))


def test_a_retry_runs_after_jobs_that_waited_already(store):
    claim = store.running()
    (other,) = store.added()
    store.later(seconds=1)
    store.finish(again(claim, delay=0.0))

    claimed = store.claimed(2)

    assert ids_of(claimed) == [other, claim.id]


@pytest.mark.dj(182)
def test_a_release_costs_nothing(store):
    claim = store.running()

    store.finish(released(claim))

    job, attempts = store.get(claim.id)
    assert (job.attempt, job.failures, job.crashes, job.rescues, job.free_retries) == (0, 0, 0, 0, 0)
    assert (job.error, attempts) == (None, [])


@pytest.mark.parametrize(
    ("columns", "counters"),
    [
        ({"failed": True}, (1, 1, 0, 0)),
        ({"failed": True, "crashed": True}, (1, 1, 1, 0)),
        ({"failed": False, "free": True}, (1, 0, 0, 1)),
        ({"failed": False, "started": False}, (0, 0, 0, 0)),
        ({"failed": True, "started": False}, (0, 1, 0, 0)),
    ],
)
def test_what_goes_back_is_charged_for_what_it_did(store, columns, counters):
    claim = store.running()

    store.finish(again(claim, **columns))

    job = store.job(claim.id)
    assert (job.attempt, job.failures, job.crashes, job.free_retries) == counters


def test_counters_add_up_and_come_with_the_claim(store):
    claim = store.running()
    store.finish(again(claim, delay=0.0, crashed=True))
    (claim,) = store.claimed()
    store.finish(again(claim, delay=0.0, failed=False, free=True))
    store.later(seconds=1)

    (claim,) = store.claimed()

    assert (claim.attempt, claim.failures, claim.crashes, claim.free_retries, claim.rescues) == (2, 1, 1, 1, 0)


def test_the_error_of_the_last_attempt_stays_until_there_is_another(store):
    claim = store.running()
    store.finish(again(claim, delay=0.0, message="first"))
    (claim,) = store.claimed()
    store.finish(released(claim))
    kept = store.job(claim.id).error
    (claim,) = store.claimed()

    store.finish(again(claim, delay=5.0, error_type="KeyError", message="second"))

    assert kept == "ValueError: first"
    assert store.job(claim.id).error == "KeyError: second"


def test_each_attempt_is_recorded_with_its_number(store):
    claim = store.running()
    for message in ("first", "second"):
        store.later(seconds=10)
        store.finish(again(claim, delay=0.0, seconds=4.0, message=message))
        (claim,) = store.claimed(by="w2")
    now = store.later(seconds=10)

    store.finish(failed(claim, message="last"))

    attempts = store.attempts(claim.id)
    assert [(one.number, one.outcome, one.message, one.worker) for one in attempts] == [
        (1, Outcome.RETRY, "first", "w1"),
        (2, Outcome.RETRY, "second", "w2"),
        (3, Outcome.FAILED, "last", "w2"),
    ]
    assert attempts[0].started_at == NOON + timedelta(seconds=6)
    assert [one.ended_at for one in attempts] == [NOON + timedelta(seconds=10), NOON + timedelta(seconds=20), now]


@pytest.mark.parametrize("outcome", [Outcome.INTERRUPTED, Outcome.TIMED_OUT, Outcome.CRASHED, Outcome.RETRY])
def test_the_outcome_of_an_attempt_is_recorded(store, outcome):
    claim = store.running()

    store.finish(finished(claim, outcome, State.READY))

    (attempt,) = store.attempts(claim.id)
    assert (attempt.outcome, attempt.error_type, attempt.message, attempt.traceback) == (outcome, None, None, None)


def test_a_batch_of_retries_is_written_for_each_job(store):
    jobs = store.running(60)

    held = store.finish(*(again(job, delay=float(nth), message=f"m{nth}") for nth, job in enumerate(jobs)))

    assert held == set(ids_of(jobs))
    assert {store.attempts(job.id)[0].message for job in jobs} == {f"m{nth}" for nth in range(60)}
    assert [store.state(job.id) for job in jobs] == [State.READY, *[State.SCHEDULED] * 59]


class TestUnknown:
    """A job whose code no worker has goes back uncharged, and remembers since when."""

    def unknown(self, claim):
        return released(claim, unknown=True, delay=30.0, error_type="UnknownTask", message="no app.work here")

    def reclaimed(self, store):
        store.later(seconds=30)
        store.promote()
        return store.claimed()[0]

    def test_the_time_since_then_comes_with_the_claim(self, store):
        claim = store.running()
        store.finish(self.unknown(claim))

        claim = self.reclaimed(store)

        job = store.job(claim.id)
        assert (claim.unknown_for, claim.attempt, claim.failures) == (30.0, 0, 0)
        assert job.error == "UnknownTask: no app.work here"

    def test_the_time_goes_on_while_it_stays_unknown(self, store):
        claim = store.running()
        for _ in range(3):
            store.finish(self.unknown(claim))
            claim = self.reclaimed(store)

        assert claim.unknown_for == 90.0

    def test_the_time_ends_when_a_worker_knew_it(self, store):
        claim = store.running()
        store.finish(self.unknown(claim))
        claim = self.reclaimed(store)
        store.finish(again(claim))

        (claim,) = store.claimed()

        assert claim.unknown_for is None

    def test_the_time_goes_on_for_a_job_that_comes_back_unstarted(self, store):
        claim = store.running()
        store.finish(self.unknown(claim))
        claim = self.reclaimed(store)
        store.finish(released(claim))

        (claim,) = store.claimed()

        assert claim.unknown_for is not None
