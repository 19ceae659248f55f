"""What is inserted comes back as it was given, in order, and waits until it is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from belayed.config import address
from belayed.connections import Connections
from belayed.errors import StoreError
from belayed.job import State
from belayed.store import open_store
from tests.store.factories import NOON, draft, drafts, ids_of

# Below and above the number from which PostgreSQL uses COPY.
FEW, MANY = 3, 60
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@pytest.mark.dj(66)
def test_a_job_without_a_time_is_ready_now(store):
    job = store.insert(draft())

    assert (job.state, job.run_at, job.created_at) == (State.READY, NOON, NOON)


@pytest.mark.dj(67, 68, 69, 352)
@pytest.mark.parametrize(
    ("run_at", "state", "due"),
    [
        (NOON, State.READY, NOON),
        (NOON - timedelta(days=1), State.READY, NOON - timedelta(days=1)),
        (NOON + timedelta(microseconds=1), State.SCHEDULED, NOON + timedelta(microseconds=1)),
        (timedelta(0), State.READY, NOON),
        (timedelta(seconds=-5), State.READY, NOON - timedelta(seconds=5)),
        (timedelta(hours=2, microseconds=3), State.SCHEDULED, NOON + timedelta(hours=2, microseconds=3)),
        (datetime(2030, 6, 1, 16, 0, tzinfo=UTC).astimezone(), State.SCHEDULED, NOON + timedelta(hours=4)),
        (FIRST, State.READY, FIRST),
        (LAST, State.SCHEDULED, LAST),
    ],
)
@pytest.mark.parametrize("number", [1, FEW, MANY])
def test_a_job_runs_not_before_its_time(store, number, run_at, state, due):
    jobs = [store.insert(draft(run_at=run_at))] if number == 1 else store.insert_many(drafts(number, run_at=run_at))

    found = store.find({})
    assert {(job.state, job.run_at) for job in jobs} == {(state, due)}
    assert [(job.state, job.run_at) for job in found] == [(state, due)] * number


@pytest.mark.dj(92, 264)
@pytest.mark.parametrize("number", [1, FEW, MANY])
def test_the_columns_come_back_as_they_were_given(store, number):
    given = {
        "queue": "mail 📬 é",
        "priority": -7,
        "task": "app.mail:send",
        "text": '{"a":["ü","\\u0000",1]}',
        "max_attempts": 3,
        "max_run_time": timedelta(seconds=90.5),
        "keep_failed": False,
        "meta": {"trace": "00-1", "n": [1, None, "ß"]},
    }

    ids = store.added(number, **given)

    job = store.job(ids[-1])
    columns = {**{name: getattr(job, name) for name in given if name != "text"}, "text": job.payload}
    assert columns == given
    assert job.keep_failed is False


@pytest.mark.dj(92)
@pytest.mark.parametrize("number", [1, FEW, MANY])
def test_what_is_not_given_is_none(store, number):
    (*_, id) = store.added(number)

    job = store.job(id)
    assert (job.max_attempts, job.max_run_time, job.keep_failed) == (None, None, None)
    assert (job.error, job.worker, job.started_at, job.finished_at, job.result_text) == (None,) * 5
    assert (job.attempt, job.failures, job.crashes, job.rescues, job.free_retries) == (0,) * 5
    assert (job.meta, job.cancel_requested) == ({}, False)


@pytest.mark.parametrize("priority", [-(2**31), 2**31 - 1])
@pytest.mark.parametrize("number", [1, FEW, MANY])
def test_priorities_have_32_bits(store, number, priority):
    (*_, id) = store.added(number, priority=priority)

    assert store.job(id).priority == priority


@pytest.mark.dj(94, 221)
@pytest.mark.parametrize("number", [1, FEW, MANY])
def test_a_large_payload_is_kept_whole(store, number):
    text = '{"text":"' + "äöü\\n🎈" * 60_000 + '"}'

    ids = store.insert_many([*drafts(number - 1), draft(text=text)])

    assert store.job(ids[-1].id).payload == text


def test_ids_ascend_in_the_order_of_the_drafts(store):
    one = store.insert(draft())
    few = store.insert_many([draft(queue=f"q{nth}") for nth in range(FEW)])
    many = store.insert_many([draft(queue=f"q{nth}") for nth in range(MANY)])

    ids = ids_of([one, *few, *many])
    queues = [job.queue for job in store.find({})][::-1]
    assert ids == sorted(set(ids))
    assert queues == ["default", *(f"q{nth}" for nth in range(FEW)), *(f"q{nth}" for nth in range(MANY))]


def test_no_drafts_are_no_jobs(store):
    jobs = store.insert_many([])

    assert jobs == []


@pytest.mark.dj(72)
def test_100_000_jobs_are_saved_in_order(synced):
    jobs = synced.insert_many([draft(task=f"t{nth}") for nth in range(100_000)])

    ids = ids_of(jobs)
    assert len(ids) == 100_000
    assert ids == sorted(set(ids))
    assert [synced.job(ids[nth]).task for nth in (0, 1999, 2000, 99_999)] == ["t0", "t1999", "t2000", "t99999"]


@pytest.mark.dj(70)
@pytest.mark.parametrize("number", [FEW, MANY])
def test_many_are_saved_all_or_none(store, number):
    spoilt = [*drafts(number - 1), draft(text=None)]

    with pytest.raises(StoreError):
        store.insert_many(spoilt)

    assert store.find({}) == []


def test_an_id_is_never_given_again_after_its_job_is_gone(store):
    first, second = store.added(2)
    store.delete([second])
    third = store.added(1)[0]
    store.claimed(2)
    store.delete([first, third])

    fourth = store.added(1)[0]

    assert fourth > third > second


@pytest.mark.dj(66, 100)
def test_the_clock_of_the_database_counts_where_no_time_is_given(store):
    before = store.now()
    store.time = None
    job = store.insert(draft())
    many = store.insert_many(drafts(MANY))
    after = store.now()

    assert before <= job.created_at == job.run_at <= many[0].created_at <= after
    assert {one.state for one in many} == {State.READY}


@pytest.mark.parametrize("number", [1, FEW, MANY])
def test_a_hint_changes_nothing_that_is_saved(store, number):
    jobs = [store.insert(draft(), hint="0 q")] if number == 1 else store.insert_many(drafts(number), hint="0 q")

    assert len(store.find({})) == len(jobs) == number


def test_a_bulk_load_keeps_what_its_format_escapes(store):
    texts = ['{"v":"\\\\"}', '{"v":"\\t\\n"}', "\\N", "a\tb\nc\rd", "\\.", "🎈", ""]
    given = [draft(text=text, queue=f"q {text}" if text.isprintable() else "q") for text in texts * 10]

    inserted = store.insert_many(given)

    found = [store.job(one.id) for one in inserted]
    assert [job.payload for job in found] == texts * 10
    assert [job.queue for job in found] == [one.queue for one in given]


def test_ids_that_are_no_range_are_told_one_by_one(postgres_url):
    """Another session may have taken some of the numbers; here the sequence leaves every second one out."""
    connections, store = Connections(address(postgres_url)), open_store("postgresql")
    connections.perform(store.migrate())
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("ALTER SEQUENCE belayed_jobs_id_seq INCREMENT BY 2")

    made = connections.perform(store.insert_many(drafts(MANY)))

    assert ids_of(made) == list(range(made[0].id, made[0].id + 2 * MANY, 2))
    assert sorted(connections.perform(store.matching({}))) == ids_of(made)
    connections.close()
