"""An outcome is written once, by the claim that holds: everything else is refused and changes nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from belayed.job import Outcome, State
from tests.store.factories import NOON, again, cancelled, failed, ids_of, released, succeeded

WRITERS = [succeeded, failed, cancelled, again, released]
LARGE = '{"text":"' + "ä" * 2500 + '"}'


def everything(store):
    """All that the tables hold of jobs."""
    return [store.rows(f"SELECT * FROM {{{table}}} ORDER BY id") for table in ("jobs", "history", "attempts")]


@pytest.mark.dj(115, 156)
def test_a_succeeded_job_moves_to_the_history_with_its_result(store):
    claim = store.running(queue="mail", priority=3, meta={"n": 1}, max_attempts=2)
    now = store.later(seconds=5)

    held = store.finish(succeeded(claim, seconds=4.5, result='{"v":1,"value":"ü"}'))

    job = store.job(claim.id)
    assert held == {claim.id}
    assert (job.state, job.result_text, job.run_time) == (
        State.SUCCEEDED,
        '{"v":1,"value":"ü"}',
        timedelta(seconds=4.5),
    )
    assert (job.finished_at, job.started_at, job.created_at, job.run_at) == (now, NOON, NOON, NOON)
    assert (job.attempt, job.failures, job.error, job.worker) == (1, 0, None, "w1")
    assert (job.queue, job.priority, job.meta, job.max_attempts) == ("mail", 3, {"n": 1}, 2)
    assert store.attempts(claim.id) == []


@pytest.mark.dj(80, 82, 126, 363)
def test_a_failed_job_moves_to_the_history_with_its_attempt(store):
    claim = store.running()
    now = store.later(seconds=5)

    held = store.finish(failed(claim, seconds=2.0, message="no\nway"))

    job, (attempt,) = store.get(claim.id)
    assert held == {claim.id}
    assert (job.state, job.error, job.finished_at) == (State.FAILED, "ValueError: no\nway", now)
    assert (job.attempt, job.failures, job.crashes, job.result_text) == (1, 1, 0, None)
    assert (attempt.number, attempt.outcome, attempt.worker) == (1, Outcome.FAILED, "w1")
    assert (attempt.started_at, attempt.ended_at) == (now - timedelta(seconds=2), now)
    assert (attempt.error_type, attempt.message, attempt.traceback) == ("ValueError", "no\nway", "Traceback: no")


def test_a_crash_is_counted(store):
    claim = store.running()

    store.finish(failed(claim, crashed=True))

    job = store.job(claim.id)
    assert (job.failures, job.crashes, job.attempt) == (1, 1, 1)


def test_a_cancelled_job_moves_to_the_history(store):
    claim = store.running()

    held = store.finish(cancelled(claim))

    job, attempts = store.get(claim.id)
    assert held == {claim.id}
    assert (job.state, job.attempt, job.failures, job.error) == (State.CANCELLED, 1, 0, None)
    assert [attempt.outcome for attempt in attempts] == [Outcome.CANCELLED]


def test_a_job_that_ends_without_having_started_has_no_attempt(store):
    claim = store.running()

    store.finish(failed(claim, started=False, message="no worker knows it"))

    job, attempts = store.get(claim.id)
    assert (job.state, job.attempt, attempts) == (State.FAILED, 0, [])


@pytest.mark.parametrize("text", ["x" * 4097, LARGE])
def test_large_arguments_of_a_succeeded_job_are_dropped(store, text):
    first, second = store.running(2, text=text)

    store.finish(succeeded(first), failed(second))

    assert store.job(first.id).payload is None
    assert store.job(second.id).payload == text


@pytest.mark.parametrize("text", ["x" * 4096, "ä" * 2048])
def test_small_arguments_of_a_succeeded_job_are_kept(store, text):
    claim = store.running(text=text)

    store.finish(succeeded(claim))

    assert store.job(claim.id).payload == text


@pytest.mark.dj(109)
@pytest.mark.parametrize("write", WRITERS)
def test_a_foreign_token_changes_nothing(store, write):
    claim = store.running()
    before = everything(store)

    held = store.finish(write(claim._replace(token="0" * 16)))

    assert held == set()
    assert everything(store) == before


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("first", WRITERS)
def test_a_second_outcome_changes_nothing(store, first, write):
    claim = store.running()
    store.finish(first(claim))
    before = everything(store)

    held = store.finish(write(claim))

    assert held == set()
    assert everything(store) == before


@pytest.mark.parametrize("write", WRITERS)
def test_the_claim_of_a_worker_that_was_given_up_is_stale(store, write):
    stale = store.running(by="w1")
    store.later(minutes=1)
    store.rescue()
    between = everything(store)
    held_between = store.finish(write(stale))
    unchanged = everything(store)
    (claim,) = store.claimed(by="w2")
    before = everything(store)

    held = store.finish(write(stale))

    assert (held_between, held) == (set(), set())
    assert unchanged == between
    assert everything(store) == before
    assert store.finish(succeeded(claim)) == {claim.id}


@pytest.mark.dj(99)
@pytest.mark.parametrize("write", WRITERS)
def test_a_claim_of_the_same_worker_is_told_from_its_earlier_one(store, write):
    stale = store.running()
    store.finish(released(stale))
    (claim,) = store.claimed()

    held = store.finish(write(stale))

    assert held == set()
    assert store.finish(write(claim)) == {claim.id}


@pytest.mark.parametrize("write", WRITERS)
def test_a_job_that_never_was_changes_nothing(store, write):
    claim = store.running()

    held = store.finish(write(claim._replace(id=claim.id + 100)))

    assert held == set()
    assert store.state(claim.id) is State.RUNNING


def test_a_batch_is_sorted_out_job_by_job(store):
    good = store.running(5)
    stale = store.running(5)
    outcomes = [write(job) for write, job in zip(WRITERS, good, strict=True)]
    refused = [write(job._replace(token="stale")) for write, job in zip(WRITERS, stale, strict=True)]

    held = store.finish(*refused, *outcomes)

    assert held == set(ids_of(good))
    assert [store.state(job.id) for job in good] == [
        State.SUCCEEDED,
        State.FAILED,
        State.CANCELLED,
        State.READY,
        State.READY,
    ]
    assert {store.state(job.id) for job in stale} == {State.RUNNING}


def test_a_job_twice_in_a_batch_ends_once(store):
    claim = store.running()

    held = store.finish(succeeded(claim), failed(claim))

    assert held == {claim.id}
    assert store.state(claim.id) in (State.SUCCEEDED, State.FAILED)
    assert store.rows("SELECT count(*) FROM {history}") == [(1,)]


def test_a_large_batch_ends_in_one_turn(store):
    jobs = store.running(500)

    held = store.finish(*map(succeeded, jobs))

    assert held == set(ids_of(jobs))
    assert store.counts().ended[State.SUCCEEDED] == 500
    assert store.counts().live == []


@pytest.mark.parametrize("write", [succeeded, failed, cancelled])
def test_what_is_not_kept_leaves_nothing_behind(store, write):
    claim = store.running()
    store.finish(again(claim, delay=0.0))
    (claim,) = store.claimed()
    assert len(store.attempts(claim.id)) == 1

    held = store.finish(write(claim, keep=False))

    assert held == {claim.id}
    assert everything(store) == [[], [], []]


def test_what_is_not_kept_leaves_no_lost_attempts_behind(store):
    store.running()
    store.later(minutes=1)
    store.rescue()
    (claim,) = store.claimed()

    store.finish(succeeded(claim, keep=False))

    assert everything(store) == [[], [], []]


def test_not_keeping_one_job_leaves_the_others_of_the_batch(store):
    first, second = store.running(2)
    store.finish(again(first, delay=0.0), again(second, delay=0.0))
    first, second = store.claimed(2)

    store.finish(failed(first, keep=False), failed(second))

    assert store.get(first.id) is None
    assert len(store.attempts(second.id)) == 2


def test_a_success_after_failures_keeps_the_attempts(store):
    claim = store.running()
    store.finish(again(claim, delay=0.0))
    (claim,) = store.claimed()

    store.finish(succeeded(claim))

    job, attempts = store.get(claim.id)
    assert (job.state, job.attempt, job.failures, job.error) == (State.SUCCEEDED, 2, 1, None)
    assert [attempt.number for attempt in attempts] == [1]


def test_texts_of_errors_come_back_as_they_were(store):
    claim = store.running()
    text = "Grüße \\ ' \" % :name {jobs} \n\t🎈 $1 %(id)s"

    store.finish(failed(claim, error_type=text, message=text, traceback=text))

    (attempt,) = store.attempts(claim.id)
    assert (attempt.error_type, attempt.message, attempt.traceback) == (text, text, text)


def test_the_error_of_a_job_is_a_line_with_the_start_of_a_long_message(store):
    claim = store.running()

    store.finish(failed(claim, message="m" * 2000))

    assert store.job(claim.id).error == "ValueError: " + "m" * 500
    assert store.attempts(claim.id)[0].message == "m" * 2000
