"""Django's connections in a worker: whose they are, how long they live, and what they are after an outage."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager

import psutil
import pytest
from django.db import connection, connections
from shop import tasks
from shop.models import Post

from belayed import State, Worker
from belayed.config import current
from belayed.django.connections import has_pool
from tests.patience import patient

pytestmark = pytest.mark.django_db(transaction=True)
SERVER = pytest.mark.skipif(not os.environ.get("SITE_URL"), reason="SQLite has no server that could be cut off")


@pytest.fixture
def jobs():
    tasks.met.clear()
    return current()


def worked(jobs, **settings):
    return Worker(jobs, **settings).run(until_empty=True)


def done(job):
    """The result of a job that a worker runs meanwhile."""
    return job.wait(timeout=patient(60)).result


def cut(pid):
    """Let the server end a connection, and wait until it has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        deadline = time.monotonic() + patient(30)
        while True:
            cursor.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid])
            if cursor.fetchone() is None:
                return
            assert time.monotonic() < deadline


@contextmanager
def working(jobs, **settings):
    with Worker(jobs, **settings):
        yield


@SERVER
@pytest.mark.parametrize(
    "task",
    [tasks.backend, tasks.abackend, tasks.backend_of_a_thread, tasks.backend_of_any_thread],
    ids=["def", "async def", "to_thread", "thread_sensitive=False"],
)
def test_a_connection_that_the_server_has_ended_charges_no_job(task, jobs):
    with working(jobs, threads=1):
        first = done(task.enqueue())
        cut(first)
        job = task.enqueue()
        second = done(job)

    assert second != first
    assert (job.refresh().attempt, job.failures) == (1, 0)


@SERVER
@pytest.mark.parametrize(
    ("asks", "task"), [(tasks.asks, tasks.backend), (tasks.aasks, tasks.abackend)], ids=["def", "async def"]
)
def test_a_connection_on_which_a_job_has_left_a_statement_charges_no_other_job(asks, task, jobs, caplog):
    with working(jobs, threads=1):
        left = asks.enqueue()
        try:
            done(left)
            job = task.enqueue()
            done(job)
        finally:
            cut(left.refresh().result)

    assert (job.refresh().attempt, job.failures) == (1, 0)
    assert f"{left.task} #{left.id} left a statement under way in the database 'default'" in caplog.text


@pytest.mark.parametrize("way", ["by Django", "by SQL", "in a block", "in a block that is cut off"])
@pytest.mark.parametrize(
    ("leaves", "creates"),
    [
        (tasks.leaves_open, tasks.creates_durably),
        (tasks.aleaves_open, tasks.acreates_durably),
        (tasks.leaves_open_in_a_thread, tasks.creates_durably_in_a_thread),
    ],
    ids=["def", "async def", "to_thread"],
)
def test_a_transaction_that_a_job_leaves_open_takes_no_other_job_along(leaves, creates, way, jobs, caplog):
    opened = leaves.enqueue(way)
    with working(jobs, threads=1):
        done(opened)
        committed = done(creates.enqueue("kept"))

    assert committed == ["kept"]
    assert [post.title for post in Post.objects.all()] == ["kept"]
    assert f"{leaves.name} #{opened.id} left a transaction open on the database 'default'" in caplog.text


def test_coroutines_at_the_same_time_have_connections_of_their_own(jobs):
    found = [tasks.ameet.enqueue(3) for _ in range(3)]

    worked(jobs, threads=1)

    assert [job.refresh().state for job in found] == [State.SUCCEEDED] * 3, [job.error for job in found]
    assert len({job.result for job in found}) == 3


def test_coroutines_one_after_the_other_share_a_connection(jobs):
    with working(jobs, threads=1):
        found = {done(tasks.aconnection.enqueue()) for _ in range(3)}

    assert len(found) == 1


def test_a_coroutine_that_is_cancelled_in_a_query_leaves_its_slot(jobs, caplog):
    tasks.gate.clear()
    try:
        with working(jobs, threads=1, async_slots=1):
            stuck = tasks.awaits_gate.enqueue()
            neighbour = tasks.aconnection.enqueue()
            done(neighbour)
            tasks.gate.set()
    finally:
        tasks.gate.set()

    assert stuck.refresh().state is State.FAILED
    assert f"#{stuck.id} left a thread at work in the database" in caplog.text


def ours():
    """The connections that this process has open to the jobs' database."""
    if connection.vendor == "sqlite":
        name = str(connection.settings_dict["NAME"])
        return sum(one.path == name for one in psutil.Process().open_files())
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return cursor.fetchone()[0]


@pytest.mark.parametrize("age", [0, 600, None])
def test_threads_that_end_leave_no_connection_open(age, jobs, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", age)
    Post.objects.count()
    before = ours()
    for _ in range(4):
        tasks.creates.enqueue("by a thread")
        tasks.acreates.enqueue("by a coroutine")
        tasks.creates_in_a_thread.enqueue("by a thread of a coroutine")

    worked(jobs, threads=3)
    connections.close_all()
    deadline = time.monotonic() + patient(30)
    while ours() > before:
        assert time.monotonic() < deadline, (ours(), before)
        time.sleep(0.05)

    assert Post.objects.count() == 12


@pytest.mark.parametrize(
    ("age", "passed", "is_kept"),
    [(0, 0.0, True), (0, 61.0, False), (600, 61.0, True), (600, 601.0, False), (None, 10**6, True)],
)
def test_a_connection_lives_as_long_as_the_settings_say(age, passed, is_kept, jobs, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", age)
    connection.close()
    Post.objects.count()
    kept = connection.connection
    with jobs.upkeep.around_attempt(tasks.greet.draft("ada")):
        pass

    later = time.monotonic() + passed
    monkeypatch.setattr("belayed.django.connections.time.monotonic", lambda: later)
    jobs.upkeep.freshen()
    is_same = connection.connection is kept
    jobs.upkeep.rest(has_ended=False)

    assert is_same is is_kept
    assert (connection.connection is kept) is (is_kept and age != 0)


def test_a_health_check_is_made_for_each_job_if_the_settings_say_so(jobs, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "CONN_HEALTH_CHECKS", True)
    connection.close()
    checks = []
    monkeypatch.setattr(type(connections["default"]), "is_usable", lambda _self: checks.append(1) or True)
    Post.objects.count()
    for _ in range(3):
        with jobs.upkeep.around_attempt(tasks.greet.draft("ada")):
            Post.objects.count()
            Post.objects.count()

    assert len(checks) == 3


def test_a_thread_without_work_closes_its_connection(jobs, monkeypatch):
    monkeypatch.setattr("belayed.worker.backlog.REST", 0.05)
    ended = []
    rest = jobs.upkeep.rest

    def watched(has_ended):
        rest(has_ended)
        ended.append((threading.current_thread().name, has_ended, connection.connection is None))

    monkeypatch.setattr(jobs, "resting", watched)

    with working(jobs, threads=1):
        done(tasks.creates.enqueue("news"))
        deadline = time.monotonic() + patient(30)
        while not ended:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    assert ended[0] == ("belayed-slot-1", False, True)


@SERVER
def test_a_pool_of_django_s_is_not_used_up_by_threads_that_wait(jobs, monkeypatch):
    connections.close_all()
    options = {**connection.settings_dict["OPTIONS"], "pool": {"min_size": 1, "max_size": 2, "timeout": 20}}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    monkeypatch.setitem(connections.databases["default"], "OPTIONS", options)
    found = [tasks.creates.enqueue(str(number)) for number in range(20)]
    found += [tasks.acreates.enqueue(str(number)) for number in range(20)]
    found += [tasks.creates_in_a_thread.enqueue(str(number)) for number in range(20)]
    connections.close_all()
    try:
        assert has_pool(connection)
        # The test's own thread has one of the two.
        worked(jobs, threads=6)
        assert {job.refresh().state for job in found} == {State.SUCCEEDED}, [job.error for job in found]
    finally:
        connection.close()
        connection.close_pool()
