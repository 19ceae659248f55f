"""However many claim, finish, cancel and rescue at once: each job runs once, and nothing is lost or waits for ever."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier, Event

import psycopg
import pytest

from belayed.connections import wrap
from belayed.job import State
from belayed.store.answers import Wanted
from tests.patience import patient
from tests.store.factories import NOON, Driven, again, draft, ids_of, of_threads, succeeded, worker

PATIENCE = patient(60)
"""Seconds after which a race that does not end has failed."""


def worked_off(store, name, count):
    """Claims and finishes in turns until there is nothing left; the ids of what it claimed."""
    lanes, finished, ran = store.lanes(), [], []
    while True:
        turn = store.turn(finished, Wanted(name, count, lanes))
        assert turn.held == {one.id for one in finished}
        if not turn.claimed:
            return ran
        ran += ids_of(turn.claimed)
        finished = [succeeded(claim) for claim in turn.claimed]


def works_off_in_a_process(url, name, barrier, results):
    store, connections = of_threads(url)
    barrier.wait(PATIENCE)
    results.put(worked_off(store, name, 50))
    connections.close()


def at_once(*functions):
    """What the functions return, begun together in threads of their own."""
    barrier = Barrier(len(functions))

    def begun(function):
        barrier.wait(PATIENCE)
        return function()

    with ThreadPoolExecutor(len(functions)) as threads:
        return [future.result(PATIENCE) for future in [threads.submit(begun, function) for function in functions]]


def filled(store, number, queues=5):
    """The ids of so many jobs in several queues and priorities."""
    return ids_of(store.insert_many([draft(queue=f"q{nth % queues}", priority=nth % 3) for nth in range(number)]))


@pytest.mark.dj(86, 102, 106, 356)
@pytest.mark.parametrize("queues", [1, 5])
def test_processes_that_claim_at_once_run_each_job_once(stores, url, queues):
    store = stores()
    ids = filled(store, 10_000, queues)
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(3), spawn.Queue()
    processes = [
        spawn.Process(target=works_off_in_a_process, args=(url, f"w{nth}", barrier, results)) for nth in range(3)
    ]

    for process in processes:
        process.start()
    ran = [results.get(timeout=PATIENCE) for _ in processes]
    for process in processes:
        process.join(PATIENCE)

    # A claimer that comes short for the others' locks may leave early; what is left, is ready.
    ran.append(worked_off(store, "last", 1000))
    assert sorted(id for some in ran for id in some) == ids
    assert store.counts(most=20_000).ended[State.SUCCEEDED] == 10_000
    assert store.counts().live == []


@pytest.mark.dj(86, 102)
@pytest.mark.parametrize("queues", [1, 5])
def test_threads_that_claim_at_once_run_each_job_once(stores, queues):
    store = stores()
    ids = filled(store, 10_000, queues)
    claimers = [stores() for _ in range(8)]

    ran = at_once(*(partial(worked_off, one, f"w{nth}", 100) for nth, one in enumerate(claimers)))

    ran.append(worked_off(store, "last", 1000))
    assert sorted(id for some in ran for id in some) == ids
    assert store.counts(most=20_000).ended[State.SUCCEEDED] == 10_000


def test_each_claimer_of_a_queue_gets_its_jobs_in_order(stores):
    stores().insert_many([draft(run_at=timedelta(seconds=-(nth * 7 % 1999))) for nth in range(2000)])

    ran = at_once(*(partial(claims_until_none, stores()) for _ in range(4)))

    for claims in ran:
        order = [(claim.run_at, claim.id) for claim in claims]
        assert order == sorted(order)


def claims_until_none(store):
    lanes, claims = store.lanes(), []
    while claimed := store.claimed(20, lanes=lanes):
        claims += claimed
    return claims


def test_enqueuers_claimers_and_finishers_do_not_disturb_one_another(stores):
    each, enqueuers = 500, 3
    done = Event()

    def enqueue(store):
        ids = []
        for nth in range(each // 10):
            ids += store.added(1 if nth % 2 else 9, queue=f"q{nth % 3}")
            if nth % 2:
                ids += store.added(60)
        return ids

    def work(store, name):
        lanes, finished, ran = store.lanes(), [], []
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            last = done.is_set()
            turn = store.turn(finished, Wanted(name, 30, lanes))
            assert turn.held == {one.id for one in finished}
            ran += ids_of(turn.claimed)
            finished = [succeeded(claim) for claim in turn.claimed]
            if last and not finished:
                break
        return ran

    with ThreadPoolExecutor(8) as threads:
        workers = [threads.submit(work, stores(), f"w{nth}") for nth in range(3)]
        made = [threads.submit(enqueue, stores()) for _ in range(enqueuers)]
        ids = [id for future in made for id in future.result(PATIENCE)]
        done.set()
        ran = [id for future in workers for id in future.result(PATIENCE)]

    # Claimers of a moment ago may have come short for each other's locks.
    ran += worked_off(stores(), "last", 1000)
    assert sorted(ran) == sorted(ids)


@pytest.mark.parametrize("write", [succeeded, again])
def test_jobs_are_cancelled_in_bulk_while_they_finish(stores, write):
    for _ in range(3):
        store = stores()
        ids = filled(store, 1200)
        # Claimed in pieces, so that the rows lie in another order than their ids.
        claims = [claim for _ in range(12) for claim in store.claimed(100)]
        pieces = [claims[start::4] for start in range(4)]

        def finish(one, piece):
            held = set()
            for start in range(0, len(piece), 100):
                held |= one.finish(*(write(claim, delay=60.0) for claim in piece[start : start + 100]))
            return held

        *held, first, second = at_once(
            *(partial(finish, stores(), piece) for piece in pieces),
            partial(stores().cancel, ids[::-1]),
            partial(stores().cancel, ids),
        )

        states = Counter(job.state for job in store.find({"ids": ids}, count=2000))
        assert set().union(*held) == set(ids)
        if write is again:
            # Each was cancelled by request before it came back, or when it was back.
            assert set(first) | set(second) == set(ids)
            assert states == {State.CANCELLED: 1200}
        else:
            assert states == {State.SUCCEEDED: 1200}
        store.delete(ids)


def test_rescuers_at_once_rescue_each_job_once(stores):
    store = stores()
    store.beat(worker())
    ids = filled(store, 800)
    store.claimed(800)
    now = store.later(minutes=1)
    rescuers = [stores() for _ in range(4)]
    for one in rescuers:
        one.time = now

    rescued = at_once(*(one.rescue for one in rescuers))

    assert sorted(id for one in rescued for id in one.saved) == ids
    assert {job.rescues for job in store.find({}, count=1000)} == {1}


@pytest.mark.dj(109)
def test_rescue_and_late_finish_agree_on_who_holds_the_job(stores):
    store = stores()
    store.beat(worker())
    ids = filled(store, 600)
    claims = store.claimed(600)
    rescuer, finisher = stores(), stores()
    rescuer.time = store.later(minutes=1)

    def finish():
        held = set()
        for start in range(0, 600, 20):
            held |= finisher.finish(*map(succeeded, claims[start : start + 20]))
        return held

    rescued, held = at_once(rescuer.rescue, finish)

    assert set(rescued.saved) & held == set()
    assert set(rescued.saved) | held == set(ids)
    assert store.counts().ended[State.SUCCEEDED] == len(held)


def test_promoters_at_once_promote_each_job_once(stores):
    store = stores()
    store.added(2000, run_at=timedelta(seconds=1))
    now = store.later(seconds=1)
    promoters = [stores() for _ in range(4)]
    for one in promoters:
        one.time = now

    promoted = at_once(*(one.promote for one in promoters))

    left = store.promote(count=5000).jobs
    assert sum(one.jobs for one in promoted) + left == 2000
    assert store.find({"states": [State.SCHEDULED]}) == []


def test_pruners_at_once_forget_each_job_once(stores):
    store = stores()
    filled(store, 1000)
    worked_off(store, "w1", 500)
    now = store.later(days=1)
    pruners = [stores() for _ in range(4)]
    for one in pruners:
        one.time = now

    numbers = at_once(*(partial(one.prune, State.SUCCEEDED, 60.0, count=300) for one in pruners))

    left = store.prune(State.SUCCEEDED, 60.0)
    assert sum(numbers) + left == 1000


def test_workers_that_register_at_once_are_one_row_each(stores):
    beats = at_once(*(partial(stores().beat, worker(f"w{nth % 2}")) for nth in range(6)))

    assert len(beats) == 6
    assert [row.id for row in stores().workers()] == ["w0", "w1"]


@pytest.mark.parametrize("write", [again, succeeded])
def test_a_cancel_waits_for_an_outcome_that_is_not_committed_yet(shared_postgres, write):
    shared_postgres.empty()
    store = Driven(shared_postgres.of_threads.store, shared_postgres.of_threads.perform)
    claim = store.running()
    with psycopg.connect(shared_postgres.url) as raw, ThreadPoolExecutor(1) as threads:
        wrap(raw).perform(store.store.turn([write(claim)], now=NOON))
        cancelling = threads.submit(store.cancel, [claim.id])
        until_one_waits(shared_postgres.cleaner)
        raw.commit()
        cancelled = cancelling.result(PATIENCE)

    if write is again:
        assert cancelled == [claim.id]
        assert store.state(claim.id) is State.CANCELLED
    else:
        assert cancelled == []
        assert store.state(claim.id) is State.SUCCEEDED


def test_rescuers_pass_over_a_job_whose_end_is_not_committed_yet(shared_postgres):
    shared_postgres.empty()
    store = Driven(shared_postgres.of_threads.store, shared_postgres.of_threads.perform)
    store.beat(worker("w1"))
    ending, stray = store.running(2)
    with psycopg.connect(shared_postgres.url) as raw, ThreadPoolExecutor(1) as threads:
        wrap(raw).perform(store.store.turn([succeeded(ending)], now=NOON))
        strays = threads.submit(store.strays, "w1", []).result(PATIENCE)
        store.later(minutes=5)
        rescued = threads.submit(store.rescue).result(PATIENCE)
        raw.commit()

    assert strays == [stray.id]
    assert rescued.saved == []
    assert store.state(ending.id) is State.SUCCEEDED


def test_the_victim_of_a_deadlock_asks_again(shared_postgres, way):
    shared_postgres.empty()
    driven = shared_postgres.of_threads if way == "sync" else shared_postgres.of_loop
    store = Driven(driven.store, driven.perform)
    first, second = store.added(2)
    lock = "SELECT FROM belayed_jobs WHERE id = %s FOR UPDATE"

    def cross(raw):
        until_one_waits(shared_postgres.cleaner)
        raw.execute(lock, [first])
        raw.commit()

    with psycopg.connect(shared_postgres.url) as raw, ThreadPoolExecutor(1) as threads:
        # It is the other that finds the deadlock, and gives way.
        raw.execute("SET deadlock_timeout = '60s'")
        raw.execute(lock, [second])
        crossing = threads.submit(cross, raw)
        cancelled = store.cancel([first, second])
        crossing.result(PATIENCE)

    assert cancelled == [first, second]
    assert store.state(first) is store.state(second) is State.CANCELLED


def until_one_waits(connection):
    """Waits until a statement in this database waits for another transaction's lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    until = time.monotonic() + PATIENCE
    while connection.execute(waiting).fetchone() == (0,):
        assert time.monotonic() < until, "nothing waits"
