"""No worker sees what an open transaction has enqueued: a wait for it is refused, and so is a worker of its thread."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.test import TestCase
from shop.models import Post
from shop.tasks import greet

from belayed import State, Worker, enqueue_many
from belayed.config import current
from belayed.errors import ConfigError, JobNotFound, WaitTimeout
from belayed.testing import drain

COMMITS = pytest.mark.django_db(transaction=True, databases=["default", "other"])
TIME = 60.0
"""Seconds after which a wait that should end has not."""


@pytest.fixture(params=["sync", "async"])
def wait(request):
    """Waits for a job, or awaits its end, on the connections of this thread."""
    if request.param == "sync":
        return lambda job, timeout=TIME: job.wait(timeout)
    return lambda job, timeout=TIME: async_to_sync(job.await_)(timeout)


@pytest.fixture
def deferred():
    """Transactions on SQLite begin without the lock for writing, as they do by default."""
    connection.ensure_connection()
    before = getattr(connection, "transaction_mode", None)
    connection.transaction_mode = "DEFERRED"
    yield
    connection.transaction_mode = before


@COMMITS
def test_a_wait_in_the_transaction_that_has_enqueued_the_job_is_refused_at_once(wait):
    with transaction.atomic():
        job = greet.enqueue("ada")
        with pytest.raises(JobNotFound, match=f"no worker sees job {job.id} [^;]*; wait after the block") as caught:
            wait(job)

    assert "belayed.testing" not in str(caught.value)
    assert job.refresh().state is State.READY


@COMMITS
def test_a_wait_in_a_savepoint_or_for_many_is_refused_too(wait):
    with transaction.atomic():
        [job, _] = enqueue_many([greet.draft("ada"), greet.draft("bob")])
        with transaction.atomic(), pytest.raises(JobNotFound, match="wait after the block"):
            wait(job)


@COMMITS
def test_a_wait_without_autocommit_is_refused_too(wait):
    transaction.set_autocommit(False)
    try:
        Post.objects.create(title="news")  # On SQLite, Django's savepoints commit where nothing was written before.
        job = greet.enqueue("ada")
        with pytest.raises(JobNotFound, match="wait after the commit"):
            wait(job)
        transaction.commit()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@COMMITS
def test_a_wait_in_a_transaction_sees_the_end_of_a_job_that_was_committed_before(wait, deferred):
    job = greet.enqueue("ada")
    with Worker(current()), transaction.atomic():
        if connection.vendor == "postgresql":
            connection.cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        current().get(job.id)
        ended = wait(job)

    assert ended.result == "hello ada"


@COMMITS
def test_a_wait_says_that_the_transaction_may_keep_workers_from_writing(wait):
    job = greet.enqueue("ada")

    with transaction.atomic(), pytest.raises(WaitTimeout) as caught:
        wait(job, 0)

    says = "the transaction that is open here may keep workers from writing: wait after its end" in str(caught.value)
    assert says is (connection.vendor == "sqlite")


@COMMITS
def test_a_wait_for_a_job_that_a_transaction_has_cancelled_ends(wait):
    job = greet.enqueue("ada")

    with transaction.atomic():
        job.cancel()

        assert wait(job).state is State.CANCELLED


@COMMITS
@pytest.mark.parametrize("until_empty", [True, False])
def test_a_worker_within_a_transaction_is_refused(until_empty):
    with transaction.atomic():
        greet.enqueue("ada")
        with pytest.raises(ConfigError, match=r"a worker sees none of .*; run the worker after the block"):
            Worker().run(until_empty)
        with pytest.raises(ConfigError, match="run the worker after the block"), Worker():
            pass

    assert Worker().run(until_empty=True).succeeded == 1


class InTestCase(TestCase):
    def test_a_worker_names_what_runs_jobs_in_a_test(self):
        job = greet.enqueue("ada")

        with self.assertRaisesMessage(ConfigError, "run jobs by belayed.testing.drain()"):
            Worker().run(until_empty=True)
        with self.assertRaisesMessage(ConfigError, "run jobs by belayed.testing.drain()"), Worker():
            pass

        assert job.refresh().state is State.READY

    def test_a_wait_names_what_runs_jobs_in_a_test(self):
        job = greet.enqueue("ada")

        with self.assertRaisesMessage(JobNotFound, "run jobs by belayed.testing.drain()"):
            job.wait(TIME)

    async def test_so_does_one_that_is_awaited(self):
        job = await greet.aenqueue("ada")

        with self.assertRaisesMessage(JobNotFound, "run jobs by belayed.testing.drain()"):
            await job.await_(TIME)

    def test_a_wait_for_a_job_that_the_test_has_run_returns_it(self):
        job = greet.enqueue("ada")
        drain()

        assert job.wait(TIME).result == "hello ada"
