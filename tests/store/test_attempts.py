"""Of a job's attempts the first 5 and the last 20 are kept."""

from __future__ import annotations

import pytest

from belayed.job import State
from tests.store.factories import again, failed, ids_of


def tried(store, ids, times):
    """Let each of the jobs fail so many times, and go back at once."""
    for _ in range(times):
        store.later(seconds=1)
        claims = store.claimed(len(ids))
        assert sorted(ids_of(claims)) == sorted(ids)
        store.finish(*(again(claim, delay=0.0, message=f"m{claim.attempt + 1}") for claim in claims))


@pytest.mark.parametrize("times", [1, 5, 24, 25])
def test_up_to_25_attempts_are_all_kept(synced, times):
    (id,) = synced.added()

    tried(synced, [id], times)

    assert [one.number for one in synced.attempts(id)] == [*range(1, times + 1)]


@pytest.mark.parametrize("times", [26, 60])
def test_of_more_the_first_5_and_the_last_20_are_kept(synced, times):
    (id,) = synced.added()

    tried(synced, [id], times)

    job, attempts = synced.get(id)
    assert [one.number for one in attempts] == [*range(1, 6), *range(times - 19, times + 1)]
    assert [one.message for one in attempts] == [f"m{one.number}" for one in attempts]
    assert (job.attempt, job.failures) == (times, times)


def test_the_last_failure_is_among_them(synced):
    (id,) = synced.added()
    tried(synced, [id], 30)
    (claim,) = synced.claimed()

    synced.finish(failed(claim))

    job, attempts = synced.get(id)
    assert (job.state, job.attempt, len(attempts), attempts[-1].number) == (State.FAILED, 31, 25, 31)


def test_each_job_of_a_batch_keeps_its_own(synced):
    ids = synced.added(3)

    tried(synced, ids, 28)

    kept = [[one.number for one in synced.attempts(id)] for id in ids]
    assert kept == [[*range(1, 6), *range(9, 29)]] * 3


def test_attempts_come_oldest_first_and_only_those_of_the_job(store):
    first, second = store.running(2)
    store.finish(again(second, delay=0.0, message="other"), again(first, delay=0.0, message="one"))
    store.later(seconds=1)
    claims = {claim.id: claim for claim in store.claimed(2)}
    store.finish(failed(claims[first.id], message="two"))

    attempts = store.attempts(first.id)

    assert [one.message for one in attempts] == ["one", "two"]
    assert attempts == store.get(first.id)[1]
