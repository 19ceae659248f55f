"""The jobs of a worker that stopped beating come back, blamed on nobody; the living keep theirs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from belayed.job import Outcome, State
from tests.store.factories import NOON, again, failed, ids_of, released, succeeded, worker


def died(store, number=1, *, by="w1", **options):
    """The ids of jobs whose worker registered, claimed them and was not seen again for a minute."""
    store.beat(worker(by))
    jobs = store.running(number, by=by, **options)
    store.later(minutes=1)
    return ids_of(jobs)


@pytest.mark.dj(343)
def test_the_first_beat_registers_a_worker(store):
    beat = store.beat(worker("w1", name="one", host="h", pid=7, queues="a,b", version="1.2", lapse=12.0))

    (row,) = store.workers()
    assert (beat.fresh, beat.cancels) == (True, [])
    assert row == worker("w1", name="one", host="h", pid=7, queues="a,b", version="1.2", started_at=NOON, beat_at=NOON)


def test_a_later_beat_moves_its_time(store):
    store.beat(worker())
    now = store.later(seconds=5)

    beat = store.beat(worker())

    (row,) = store.workers()
    assert not beat.fresh
    assert (row.started_at, row.beat_at) == (NOON, now)


def test_workers_are_listed_oldest_first_with_what_they_run(store):
    store.beat(worker("w2"))
    store.later(seconds=1)
    store.beat(worker("w1"))
    store.running(3, by="w1")

    rows = store.workers()

    assert [(row.id, row.running, row.alive) for row in rows] == [("w2", 0, True), ("w1", 3, True)]


def test_a_worker_is_alive_for_as_long_as_it_said(store):
    store.beat(worker("short", lapse=10.0))
    store.beat(worker("long", lapse=100.0))
    store.later(seconds=11)

    rows = store.workers()

    assert {row.id: row.alive for row in rows} == {"short": False, "long": True}


def test_a_retired_worker_is_forgotten(store):
    store.beat(worker("w1"))
    store.beat(worker("w2"))

    store.retire("w1")

    assert [row.id for row in store.workers()] == ["w2"]
    assert store.beat(worker("w1")).fresh


def test_a_beat_tells_which_running_jobs_are_to_be_cancelled(store):
    store.beat(worker("w1"))
    first, _ = store.running(2, by="w1")
    other = store.running(by="w2")
    store.cancel([first.id, other.id])

    beat = store.beat(worker("w1"))
    store.finish(succeeded(first))

    assert beat.cancels == [first.id]
    assert store.beat(worker("w1")).cancels == []


def test_a_registering_beat_tells_cancels_too(store):
    claim = store.running(by="w1")
    store.cancel([claim.id])

    beat = store.beat(worker("w1"))

    assert (beat.fresh, beat.cancels) == (True, [claim.id])


@pytest.mark.dj(111, 343)
def test_the_jobs_of_a_dead_worker_are_ready_again_in_their_place(store):
    (id,) = died(store, run_at=timedelta(minutes=-5))

    rescued = store.rescue()

    job, (attempt,) = store.get(id)
    assert (rescued.saved, rescued.poisoned, rescued.workers) == ([id], [], ["w1"])
    assert (job.state, job.run_at, job.worker) == (State.READY, NOON - timedelta(minutes=5), None)
    assert (job.attempt, job.failures, job.crashes, job.rescues) == (0, 0, 0, 1)
    assert (attempt.number, attempt.outcome, attempt.started_at, attempt.worker) == (1, Outcome.LOST, None, "w1")
    assert attempt.ended_at == store.time
    assert attempt.message == "the worker stopped beating"


@pytest.mark.dj(111)
def test_the_living_keep_their_jobs(store):
    store.beat(worker("w1"))
    store.beat(worker("w2"))
    theirs = store.running(3, by="w1")
    saved = store.running(2, by="w2")
    store.later(seconds=25)
    store.beat(worker("w1"))
    store.later(seconds=25)

    rescued = store.rescue()

    assert sorted(rescued.saved) == ids_of(saved)
    assert rescued.workers == ["w2"]
    assert {store.state(job.id) for job in theirs} == {State.RUNNING}
    assert [row.id for row in store.workers()] == ["w1"]


@pytest.mark.dj(108)
def test_a_worker_lapses_after_its_own_time(store):
    store.beat(worker("short", lapse=10.0))
    store.beat(worker("long", lapse=100.0))
    short, long = store.running(by="short"), store.running(by="long")
    store.later(seconds=10)
    not_yet = store.rescue()
    store.later(seconds=1)
    first = store.rescue(lapse=1.0)
    store.later(seconds=90)

    second = store.rescue(lapse=1000.0)

    assert not_yet.saved == []
    assert (first.saved, first.workers) == ([short.id], ["short"])
    assert (second.saved, second.workers) == ([long.id], ["long"])


def test_nobody_dead_is_nothing_to_rescue(store):
    store.beat(worker())
    store.running()

    rescued = store.rescue()

    assert rescued == ([], [], [])


def test_a_second_rescue_finds_nothing(store):
    died(store, 3)
    store.rescue()

    rescued = store.rescue()

    assert rescued == ([], [], [])
    assert store.workers() == []


def test_a_worker_that_comes_back_after_its_burial_is_fresh(store):
    died(store)
    store.rescue()

    beat = store.beat(worker("w1"))

    assert beat.fresh
    assert not store.beat(worker("w1")).fresh


def test_a_worker_that_comes_back_before_anyone_noticed_keeps_its_jobs(store):
    (id,) = died(store)

    beat = store.beat(worker("w1"))
    rescued = store.rescue()

    assert not beat.fresh
    assert rescued.saved == []
    assert store.state(id) is State.RUNNING


def test_jobs_of_a_worker_that_is_not_registered_are_rescued_after_a_while(store):
    claim = store.running(by="ghost")
    store.later(seconds=30)
    not_yet = store.rescue(lapse=30.0)
    store.later(seconds=1)

    rescued = store.rescue(lapse=30.0)

    assert not_yet.saved == []
    assert (rescued.saved, rescued.workers) == ([claim.id], ["ghost"])


@pytest.mark.dj(110)
def test_a_job_that_goes_on_killing_its_workers_is_put_aside_as_poison(store):
    (id,) = store.added()
    for _ in range(9):
        assert ids_of(store.claimed()) == [id]
        store.later(minutes=1)
        assert store.rescue().saved == [id]
    store.claimed()
    now = store.later(minutes=1)

    rescued = store.rescue()

    job, attempts = store.get(id)
    assert (rescued.saved, rescued.poisoned) == ([], [id])
    assert (job.state, job.rescues, job.finished_at, job.failures) == (State.FAILED, 10, now, 0)
    assert "poison" in (job.error or "")
    assert "10 times" in (job.error or "")
    assert [attempt.outcome for attempt in attempts] == [Outcome.LOST] * 10


def test_the_limit_of_rescues_can_be_smaller(store):
    (id,) = died(store)

    rescued = store.rescue(most=1)

    assert (rescued.saved, rescued.poisoned) == ([], [id])


def test_poison_and_the_rest_are_sorted_out_in_one_rescue(store):
    (old,) = died(store)
    store.rescue(most=2)
    store.beat(worker("w1"))
    (new,) = store.added()
    assert len(store.claimed(2)) == 2
    store.later(minutes=1)

    rescued = store.rescue(most=2)

    assert (rescued.saved, rescued.poisoned) == ([new], [old])
    assert store.workers() == []


def test_poison_does_not_stay_poison_when_it_is_retried(store):
    (id,) = died(store)
    store.rescue(most=1)
    store.retry([id])
    store.claimed()
    store.later(minutes=1)

    rescued = store.rescue(most=2)

    assert rescued.saved == [id]


def test_a_rescued_job_that_was_to_be_cancelled_is_cancelled(store):
    cancelled, other = died(store, 2)
    store.cancel([cancelled])

    store.rescue()

    assert store.state(cancelled) is State.CANCELLED
    assert store.state(other) is State.READY


def test_counters_live_through_a_rescue(store):
    claim = store.running()
    store.finish(again(claim, delay=0.0, crashed=True))
    store.later(seconds=1)
    store.claimed()
    store.later(minutes=1)

    store.rescue()

    job = store.job(claim.id)
    assert (job.attempt, job.failures, job.crashes, job.rescues) == (1, 1, 1, 1)
    assert job.error == "ValueError: no"


@pytest.mark.parametrize("number", [1001, 2500])
def test_a_worker_with_many_jobs_is_rescued_in_pieces(synced, number):
    ids = died(synced, number)
    rescued = []

    while saved := synced.rescue().saved:
        assert len(saved) <= 1000
        rescued += saved

    assert sorted(rescued) == ids
    assert synced.workers() == []


def test_two_rescuers_at_once_rescue_each_job_once(stores):
    first, second = stores(), stores()
    ids = died(first, 10)
    second.time = first.time

    rescued = [*first.rescue().saved, *second.rescue().saved]

    assert sorted(rescued) == ids
    assert {first.job(id).rescues for id in ids} == {1}


def test_poison_that_was_to_be_cancelled_is_cancelled(store):
    (id,) = died(store)
    store.cancel([id])

    store.rescue(most=1)

    assert store.state(id) is State.CANCELLED


def test_claims_that_a_worker_does_not_know_of_are_given_back_uncharged(store):
    known, stray, to_be_cancelled = store.running(3, by="w1", run_at=timedelta(minutes=-5))
    other = store.running(by="w2")
    store.cancel([to_be_cancelled.id])

    strays = store.strays("w1", [known.id, 987_654])

    job, attempts = store.get(stray.id)
    assert sorted(strays) == [stray.id, to_be_cancelled.id]
    assert (job.state, job.run_at, job.attempt, job.rescues) == (State.READY, NOON - timedelta(minutes=5), 0, 0)
    assert attempts == []
    assert store.state(to_be_cancelled.id) is State.CANCELLED
    assert store.finish(succeeded(stray), succeeded(known), succeeded(other)) == {known.id, other.id}


@pytest.mark.parametrize("running", [0, 2])
def test_a_worker_that_knows_all_its_claims_has_no_strays(store, running):
    store.added()
    claims = [store.running(by="w1", priority=-1) for _ in range(running)]

    strays = store.strays("w1", ids_of(claims))

    assert strays == []


def test_a_worker_is_told_which_jobs_it_holds(store):
    jobs = store.running(3, by="w1")
    store.running(by="w2")
    store.beat(worker("w3"))

    signs = store.signs("w1")

    assert sorted(signs.held) == ids_of(jobs)
    assert {one.worker for one in signs.workers} == {"w1", "w2", "w3"}
    assert store.signs("w3").held == []


def test_a_running_job_of_no_worker_is_given_back(store):
    store.beat(worker("w1"))
    known, orphan = store.running(2)
    store.rows(f"UPDATE belayed_jobs SET worker = NULL WHERE id IN ({known.id}, {orphan.id})")

    signs = store.signs("w1")
    strays = store.strays("w1", [known.id])

    assert sorted(signs.held) == [known.id, orphan.id]
    assert [sign for sign in signs.workers if sign.worker is None] == []
    assert list(strays) == [orphan.id]
    assert [store.state(known.id), store.state(orphan.id)] == [State.RUNNING, State.READY]


@pytest.mark.parametrize("counter", ["attempt", "failures", "crashes", "rescues", "free_retries"])
def test_a_counter_at_its_end_keeps_no_job_from_its_own(store, counter):
    most = 1_000_000_000 if store.dialect == "sqlite" else 2**31 - 1
    store.beat(worker("w1"))
    jobs = store.running(5)
    store.rows(f"UPDATE belayed_jobs SET {counter} = {most}")
    outcomes = [
        succeeded(jobs[0]),
        failed(jobs[1], failed=True, crashed=True),
        again(jobs[2], failed=True, crashed=True, free=True),
        released(jobs[3]),
    ]

    held = store.finish(*outcomes)
    store.later(minutes=1)
    rescued = store.rescue(most=2**31)

    assert held == {job.id for job in jobs[:4]}
    assert [*rescued.saved, *rescued.poisoned] == [jobs[4].id]
