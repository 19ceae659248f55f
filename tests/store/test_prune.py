"""The history forgets what is old, the oldest first, a piece at a time, with its attempts."""

from __future__ import annotations

import pytest

from belayed.job import State
from tests.store.factories import again, ids_of, succeeded

ENDED = [State.SUCCEEDED, State.FAILED, State.CANCELLED]


@pytest.mark.parametrize("state", ENDED)
def test_what_ended_longer_ago_than_that_is_forgotten(store, state):
    (old,) = store.ended(state)
    store.later(seconds=60)
    (young,) = store.ended(state)
    store.later(seconds=1)

    number = store.prune(state, 60.0)

    assert number == 1
    assert store.get(old) is None
    assert store.state(young) is state


def test_what_is_exactly_so_old_stays(store):
    store.ended()
    store.later(seconds=60)

    number = store.prune(State.SUCCEEDED, 60.0)

    assert number == 0


@pytest.mark.parametrize("state", ENDED)
def test_other_states_stay(store, state):
    ids = {other: store.ended(other)[0] for other in ENDED}
    store.added()
    store.later(days=1)

    number = store.prune(state, 1.0)

    assert number == 1
    assert {other for other in ENDED if store.state(ids[other])} == set(ENDED) - {state}
    assert len(store.counts().live) == 1


def test_at_most_so_many_are_forgotten_the_oldest_first(store):
    ids = []
    for _ in range(5):
        ids += store.ended()
        store.later(seconds=1)
    store.later(days=1)

    number = store.prune(State.SUCCEEDED, 1.0, count=3)

    assert number == 3
    assert [store.state(id) for id in ids] == [None, None, None, State.SUCCEEDED, State.SUCCEEDED]


def test_their_attempts_are_forgotten_and_those_of_others_stay(store):
    (old,) = store.ended(State.FAILED)
    store.later(seconds=60)
    (young,) = store.ended(State.FAILED)
    live = store.running()
    store.finish(again(live, delay=5.0))

    store.prune(State.FAILED, 30.0)

    assert store.get(old) is None
    assert sorted(store.rows("SELECT job_id FROM {attempts}")) == [(young,), (live.id,)]


def test_the_succeeded_beyond_the_newest_so_many_are_forgotten(store):
    ids = []
    for _ in range(3):
        ids += store.ended(number=2)
        store.later(seconds=1)
    others = [*store.ended(State.FAILED), *store.ended(State.CANCELLED)]

    number = store.prune_excess(3)

    assert number == 3
    assert [store.state(id) for id in ids] == [None] * 3 + [State.SUCCEEDED] * 3
    assert all(store.state(id) for id in others)


@pytest.mark.parametrize("most", [2, 3])
def test_there_is_no_excess_up_to_the_limit(store, most):
    store.ended(number=2)

    number = store.prune_excess(most)

    assert number == 0


def test_all_succeeded_are_excess_where_none_may_stay(store):
    store.ended(number=5)

    numbers = [store.prune_excess(0, count=3), store.prune_excess(0, count=3), store.prune_excess(0, count=3)]

    assert numbers == [3, 2, 0]


def test_the_attempts_of_the_excess_are_forgotten(store):
    first, second = store.running(2)
    store.finish(again(first, delay=0.0), again(second, delay=0.0))
    claims = {job.id: job for job in store.claimed(2)}
    store.finish(succeeded(claims[first.id]))
    store.later(seconds=1)
    store.finish(succeeded(claims[second.id]))

    number = store.prune_excess(1)

    assert number == 1
    assert store.rows("SELECT job_id FROM {attempts}") == [(second.id,)]


def test_an_empty_history_has_nothing_to_forget(store):
    store.added()

    numbers = [store.prune(State.SUCCEEDED, 0.0), store.prune_excess(0)]

    assert numbers == [0, 0]


def test_pruning_goes_on_piece_by_piece(synced):
    jobs = synced.running(2500)
    synced.finish(*map(succeeded, jobs))
    synced.later(seconds=2)

    numbers = [synced.prune(State.SUCCEEDED, 1.0) for _ in range(4)]

    assert numbers == [1000, 1000, 500, 0]
    assert synced.matching({"ids": ids_of(jobs)}) == []
