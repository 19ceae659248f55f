"""How many statements, trips and transactions things take: not more with more jobs."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from datetime import timedelta

import psycopg
import pytest

from belayed import Worker
from belayed.config import address
from belayed.store.answers import Wanted
from tests.patience import patient
from tests.store.factories import again, failed, succeeded, worker
from tests.worker.helpers import eventually
from tests.worker.tasks import double

FOR_EVER = timedelta(days=1)
POLLS = ("WITH RECURSIVE lane", "SELECT (run_at", "SELECT CAST(EXTRACT(EPOCH FROM run_at")
BEATS = ("WITH beaten", 'UPDATE "belayed_workers"', 'UPDATE "main"."belayed_workers"')
"""How the statements begin that look for jobs: for lanes, and for the next that is due; and those of a beat."""


def test_a_job_is_enqueued_by_one_statement_in_one_trip(jobs, wire, expected):
    for number in range(2):
        double.enqueue(number)  # The connection is opened, and both statements are prepared: with a hint and without.
    wire.take()

    double.enqueue(2)

    assert wire.take().cost == expected(sqlite=(1, 0, 1), postgresql=(1, 1, 1))


def test_a_job_in_the_transaction_of_the_application_is_one_statement_of_it(jobs, wire, url, expected):
    connect = expected(sqlite=sqlite3.connect, postgresql=psycopg.Connection.connect)
    with contextlib.closing(connect(address(url).target)) as raw:
        double.using(connection=raw).enqueue(0)
        wire.take()

        double.using(connection=raw).enqueue(1)

        assert wire.take().cost == expected(sqlite=(1, 0, 0), postgresql=(1, 1, 0))


@pytest.mark.parametrize("number", [100, 10_000])
def test_many_jobs_are_enqueued_in_as_many_trips_as_a_hundred(jobs, wire, expected, number):
    double.enqueue(0)
    wire.take()

    jobs.enqueue_many(double.draft(n) for n in range(number))

    traffic = wire.take()
    # SQLite runs one statement for each row, again and again. PostgreSQL is sent a hint, if it is time for one.
    assert len(traffic.statements) <= expected(sqlite=number + 4, postgresql=5)
    assert (traffic.trips, traffic.transactions) == expected(sqlite=(0, 1), postgresql=(4, 1))


@pytest.mark.parametrize("number", [1, 1000])
def test_a_turn_of_a_worker_is_one_trip_and_one_transaction(store, wire, expected, number):
    store.added(2 * number)
    lanes = store.lanes()
    jobs = store.claimed(number, lanes=lanes)
    lanes.scanned_at = float("inf")  # No other scan is due.
    wire.take()

    turn = store.turn([succeeded(job) for job in jobs], Wanted("w1", number, lanes))

    assert (len(turn.held), len(turn.claimed)) == (number, number)
    assert wire.take().cost == expected(sqlite=(7, 0, 1), postgresql=(4, 1, 1))


def test_a_turn_that_looks_for_lanes_is_one_trip_more(store, wire, expected):
    store.added(20)
    jobs = store.claimed(10)
    wire.take()

    store.turn([succeeded(job) for job in jobs], Wanted("w1", 10, store.lanes()))

    assert wire.take().cost == expected(sqlite=(7, 0, 1), postgresql=(5, 2, 2))


def test_a_turn_is_one_trip_whatever_has_become_of_the_jobs(store, wire, expected):
    for queue in ("a", "b", "c"):
        store.added(400, queue=queue)
    lanes = store.lanes()
    jobs = store.claimed(300, lanes=lanes)
    lanes.scanned_at = float("inf")
    outcomes = [succeeded, failed, lambda job: again(job, delay=5.0)]
    wire.take()

    turn = store.turn([outcomes[job.id % 3](job) for job in jobs], Wanted("w1", 300, lanes))

    statements, *rest = wire.take().cost
    assert (len(turn.held), len(turn.claimed)) == (300, 300)
    assert rest == expected(sqlite=[0, 1], postgresql=[1, 1])
    # SQLite looks into each of the lanes, at more and more of it.
    assert statements <= expected(sqlite=30, postgresql=7)


def test_a_drain_takes_far_fewer_statements_than_it_has_jobs(jobs, wire, expected):
    jobs.enqueue_many(double.draft(n) for n in range(1000))
    wire.take()

    summary = Worker(jobs).run(until_empty=True)

    traffic = wire.take()
    assert summary.succeeded == 1000
    # It is 20 statements at full speed. A slow machine claims fewer jobs at a time: the bound leaves it that.
    assert len(traffic.statements) < 250
    assert traffic.trips < 250


def test_a_beat_is_one_transaction(store, wire, expected):
    store.beat(worker("w1"))
    wire.take()

    store.beat(worker("w1"))

    assert wire.take().cost == expected(sqlite=(4, 0, 1), postgresql=(1, 1, 1))


def test_an_idle_worker_writes_nothing_but_its_beat(jobs, wire, expected):
    idle = Worker(jobs, beat=timedelta(seconds=0.05), lapse=timedelta(seconds=60), poll_interval=FOR_EVER)
    sent: list[str] = []

    def beats():
        sent.extend(wire.take().statements)
        return [text for text in sent if text.startswith(BEATS)]

    with idle:
        eventually(lambda: len(beats()) >= 2)
        sent.clear()
        eventually(lambda: len(beats()) >= 10)

    polls = [text for text in sent if text.startswith(POLLS)]
    others = [text for text in sent if not text.startswith(POLLS)]
    assert {text for text in others if not text.startswith(("BEGIN", "SELECT", "COMMIT"))} == set(beats())
    # Beside a beat: whether claims were lost, and whether other workers beat, in one question.
    assert len(others) <= expected(sqlite=5, postgresql=2) * (len(beats()) + 1)
    # On SQLite the file tells of the beats of others only.
    assert len(polls) <= 6


def test_workers_share_the_looks_for_jobs_whose_hints_were_held_back(postgres_jobs, wire):
    number = 6
    settings = {"beat": timedelta(seconds=0.2), "lapse": timedelta(seconds=60), "poll_interval": FOR_EVER}
    workers = [Worker(postgres_jobs, threads=1, **settings) for _ in range(number)]

    def idle(worker):
        loop = worker.loop
        return loop and loop.wakeup.hears and loop.upkeep.workers == number and loop.poll_at > time.monotonic() + 60

    with contextlib.ExitStack() as stack:
        for one in workers:
            stack.enter_context(one)
        eventually(lambda: all(map(idle, workers)), within=30)
        wire.take()

        double.enqueue(1).wait(patient(10))
        eventually(lambda: all(map(idle, workers)), within=30)

        looks = [text for text in wire.take().statements if text.startswith(POLLS[0])]
    # A worker alone looks 16 times within 80 ms, and then 8 times within half a second.
    assert number <= len(looks) <= 12 * number


async def test_a_job_that_is_awaited_is_one_statement_in_one_trip(jobs, wire, expected):
    try:
        for number in range(2):
            await double.aenqueue(number)
        wire.take()

        await double.aenqueue(2)

        assert wire.take().cost == expected(sqlite=(3, 0, 1), postgresql=(1, 1, 1))
    finally:
        await jobs.aclose()
