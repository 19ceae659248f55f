"""Jobs are found by any condition, live or ended, newest first, a page at a time."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations

import pytest

from belayed.job import State
from tests.store.factories import NOON, draft, failed, ids_of, succeeded

MINUTE = timedelta(minutes=1)


@pytest.fixture
def jobs(store):
    """Jobs of each state, queue and task, created a second apart."""
    for nth in range(24):
        store.insert(draft(queue="abc"[nth % 3], task=f"t{nth % 2}", run_at=timedelta(hours=nth % 4 // 3)))
        store.later(seconds=1)
    claims = store.claimed(12, lanes=store.lanes("a", "b"))
    store.finish(*map(succeeded, claims[:4]), *map(failed, claims[4:6]))
    (*_, last) = store.find({"states": [State.SCHEDULED]})
    store.cancel([last.id])
    return store.find({}, count=100)


CONDITIONS = {
    "ids": ([1, 2, 3, 5, 8, 13, 21, 99], lambda job, value: job.id in value),
    "states": ([State.SCHEDULED, State.SUCCEEDED, State.RUNNING], lambda job, value: job.state in value),
    "queues": (["a", "c"], lambda job, value: job.queue in value),
    "tasks": (["t1", "none"], lambda job, value: job.task in value),
    "created_after": (NOON + timedelta(seconds=3), lambda job, value: job.created_at > value),
    "created_before": (NOON + timedelta(seconds=20), lambda job, value: job.created_at < value),
}


def test_all_jobs_come_newest_first(jobs):
    ids = ids_of(jobs)

    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 24
    assert {job.state for job in jobs} == set(State)


@pytest.mark.dj(97)
@pytest.mark.parametrize("number", range(1, len(CONDITIONS) + 1))
def test_jobs_are_found_by_each_condition_and_by_all_together(store, jobs, number):
    for names in combinations(CONDITIONS, number):
        wanted = jobs
        for name in names:
            value, holds = CONDITIONS[name]
            wanted = [job for job in wanted if holds(job, value)]

        found = store.find({name: CONDITIONS[name][0] for name in names})
        matching = store.matching({name: CONDITIONS[name][0] for name in names})

        assert ids_of(found) == ids_of(wanted), names
        assert matching == ids_of(wanted)[::-1], names


@pytest.mark.parametrize("state", State)
def test_jobs_are_found_by_state(store, jobs, state):
    found = store.find({"states": [state]})

    assert ids_of(found) == [job.id for job in jobs if job.state is state]
    assert found


@pytest.mark.parametrize("name", ["ids", "states", "queues", "tasks"])
@pytest.mark.usefixtures("jobs")
def test_an_empty_list_matches_nothing(store, name):
    found, matching = store.find({name: []}), store.matching({name: []})

    assert (found, matching) == ([], [])


@pytest.mark.parametrize("count", [1, 5, 23, 24, 100])
def test_pages_follow_one_another_over_live_and_ended_jobs(store, jobs, count):
    ids, before = [], None
    while page := store.find({}, before=before, count=count):
        ids += ids_of(page)
        before = page[-1].id

    assert ids == ids_of(jobs)


@pytest.mark.parametrize("count", [1, 5, 24])
def test_pages_of_ids_follow_one_another_upwards(store, jobs, count):
    ids, after = [], 0
    while page := store.matching({"tasks": ["t0"]}, after=after, count=count):
        ids += page
        after = page[-1]

    assert ids == [job.id for job in reversed(jobs) if job.task == "t0"]


def test_a_found_job_shows_what_get_shows(store, jobs):
    different = [
        (name, job.id)
        for job in jobs
        for name in type(job).__slots__
        if getattr(job, name) != getattr(store.job(job.id), name)
    ]

    assert different == []


def test_a_job_that_is_not_there_is_not_found(store):
    got, found, attempts = store.get(123), store.find({"ids": [123]}), store.attempts(123)

    assert (got, found, attempts) == (None, [], [])


def test_names_are_taken_literally(store):
    store.added(queue="a'b", task='x"%:y')

    found = store.find({"queues": ["a'b"], "tasks": ['x"%:y']})

    assert len(found) == 1
    assert store.find({"queues": ["a%"]}) == []


def test_the_clock_of_the_database_is_that_of_this_machine(store):
    first, second = store.now(), store.now()

    assert first <= second
    assert first.utcoffset() == timedelta(0)
