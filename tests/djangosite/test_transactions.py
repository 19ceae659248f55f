"""Jobs in the transactions of a request, of another database, and of their own."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase, override_settings
from shop import tasks
from shop.models import Log, Post
from shop.tasks import enqueues, greet, leaves_open, like_once

from belayed import State, delay, enqueue_many
from belayed.config import current
from belayed.django.jobs import wrapped
from belayed.errors import BelayedError, ConfigError, StoreError, StoreUnavailable
from belayed.testing import adrain, assert_enqueued, drain, held, inline, isolated, refute_enqueued


def inline_run():
    with inline():
        greet.enqueue("ada")


ALL = pytest.mark.django_db(databases=["default", "other"])
COMMITS = pytest.mark.django_db(databases=["default", "other"], transaction=True)


@COMMITS
def test_a_job_is_there_when_its_transaction_is_committed():
    with transaction.atomic():
        job = greet.enqueue("ada")
        assert connection.in_atomic_block

    assert current().get(job.id).state is State.READY


@COMMITS
def test_a_job_of_a_transaction_that_is_rolled_back_was_never_there():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        greet.enqueue("ada")
        enqueue_many([greet.draft("bob"), greet.draft("eve")])
        raise ZeroDivisionError

    assert current().find() == []


@COMMITS
def test_a_savepoint_that_is_rolled_back_takes_its_jobs_along():
    with transaction.atomic():
        kept = greet.enqueue("ada")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            greet.enqueue("bob")
            raise ZeroDivisionError

    assert current().find() == [kept]


@COMMITS
def test_without_a_transaction_a_job_is_saved_at_once(django_assert_num_queries):
    with django_assert_num_queries(0):  # Django sees none: it is one statement of ours
        job = greet.enqueue("ada")

    assert job.refresh().state is State.READY
    assert not connection.in_atomic_block


@COMMITS
def test_many_are_saved_all_or_none():
    made = enqueue_many([greet.draft(number) for number in range(100)])

    assert len({job.id for job in made}) == 100
    assert connection.get_autocommit()


@COMMITS
def test_a_job_waits_for_the_commit_of_another_database():
    with transaction.atomic(using="other"):
        Log.objects.create(text="x")
        job = greet.enqueue("ada")
        before = (job.saved, current().find())

    assert before == (False, [])
    assert (job.saved, job.refresh().state) == (True, State.READY)


@COMMITS
def test_a_job_is_not_saved_when_the_other_transaction_is_rolled_back():
    with pytest.raises(ZeroDivisionError), transaction.atomic(using="other"):
        job = greet.enqueue("ada")
        raise ZeroDivisionError

    assert (job.saved, current().find()) == (False, [])


@COMMITS
def test_a_task_that_waits_for_another_commit_has_its_id_then():
    with transaction.atomic(using="other"):
        result = tasks.add.enqueue(1, 2)
        before = result.id
    drain()

    assert before == ""
    assert tasks.add.get_result(result.id).return_value == 3


@COMMITS
def test_many_wait_for_the_commit_of_another_database():
    with transaction.atomic(using="other"):
        made = enqueue_many([greet.draft("ada"), greet.draft("bob")])
        before = [job.saved for job in made]

    assert before == [False, False]
    assert [job.refresh().state for job in made] == [State.READY, State.READY]


@COMMITS
def test_a_job_joins_its_own_database_whatever_else_is_open():
    with transaction.atomic(using="other"), transaction.atomic():
        job = greet.enqueue("ada")

    assert job.saved


@COMMITS
def test_what_a_job_enqueues_in_a_transaction_that_fails_is_not_there():
    good, bad = enqueues.enqueue("a"), enqueues.using(max_attempts=1).enqueue("b", fail=True)

    drain(raises=False)

    assert (good.refresh().state, bad.refresh().state) == (State.SUCCEEDED, State.FAILED)
    assert [post.title for post in Post.objects.all()] == ["a"]
    assert len(current().find(tasks=["shop.tasks.greet"])) == 1


@COMMITS
@pytest.mark.parametrize("way", ["by Django", "by SQL", "in a block"])
def test_a_job_that_leaves_a_transaction_open_is_rolled_back_and_told(way, caplog):
    leaves_open.enqueue(way)

    drain()

    assert connection.get_autocommit()
    assert Post.objects.count() == 0
    assert "left a transaction open on the database 'default': it is rolled back" in caplog.text


@pytest.mark.django_db
def test_a_job_that_leaves_a_block_open_leaves_that_of_the_test_as_it_was(caplog):
    Post.objects.create(title="of the test")
    blocks = list(connection.atomic_blocks)
    leaves_open.enqueue("in a block")

    drain()

    assert connection.atomic_blocks == blocks
    assert [post.title for post in Post.objects.all()] == ["of the test"]
    assert "left a transaction open on the database 'default': it is rolled back" in caplog.text


@COMMITS
@pytest.mark.parametrize("run", [inline_run, drain], ids=["inline", "drain"])
def test_a_transaction_that_was_open_before_a_job_runs_in_it_is_left_to_whoever_began_it(run, caplog):
    greet.enqueue("bob")
    transaction.set_autocommit(False)
    try:
        Post.objects.create(title="kept")
        run()
        transaction.commit()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)

    assert [post.title for post in Post.objects.all()] == ["kept"]
    assert "left a transaction open" not in caplog.text


@COMMITS
def test_so_is_one_that_was_begun_in_sql(caplog):
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        Post.objects.create(title="kept")
        inline_run()
        cursor.execute("COMMIT")

    assert [post.title for post in Post.objects.all()] == ["kept"]
    assert "left a transaction open" not in caplog.text


@COMMITS
def test_a_connection_that_is_too_old_is_kept_to_the_end_of_such_a_transaction(monkeypatch):
    transaction.set_autocommit(False)
    try:
        Post.objects.create(title="kept")
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 1)
        connection.close_at = 0
        inline_run()
        transaction.commit()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)

    assert [post.title for post in Post.objects.all()] == ["kept"]


@COMMITS
def test_effects_and_completion_are_committed_together():
    post = Post.objects.create(title="news")
    job = like_once.enqueue(post)

    drain()

    assert (job.refresh().state, job.result) == (State.SUCCEEDED, "liked")
    assert Post.objects.get().likes == 1


@COMMITS
def test_effects_of_a_block_that_fails_are_rolled_back():
    post = Post.objects.create(title="news")
    job = like_once.using(max_attempts=1).enqueue(post, fail=True)

    drain(raises=False)

    assert (job.refresh().state, Post.objects.get().likes) == (State.FAILED, 0)


@COMMITS
def test_a_block_whose_commit_is_refused_says_so_and_not_that_no_answer_came():
    job = tasks.breaks_a_reference.enqueue()

    with pytest.raises(StoreError) as refusal:
        drain()

    assert not isinstance(refusal.value, StoreUnavailable)
    assert re.search("refused a statement: .*foreign key constraint", str(refusal.value), re.IGNORECASE | re.DOTALL)
    assert job.refresh().state is State.SCHEDULED
    assert not Permission.objects.filter(codename="broken").exists()


@COMMITS
def test_a_block_within_another_transaction_is_refused():
    post = Post.objects.create(title="news")
    job = like_once.using(max_attempts=1).enqueue(post)

    with transaction.atomic(), pytest.raises(BelayedError, match="one is open on this connection already"):
        drain()

    assert job.refresh().state is State.FAILED


@ALL
@pytest.mark.parametrize(
    ("given", "why"), [({"using": "other"}, "where jobs live"), ({}, "takes a connection, or using=")]
)
def test_a_transaction_elsewhere_is_refused(given, why):
    with inline(), pytest.raises(ConfigError, match=why):
        tasks.begins.enqueue(given)


@COMMITS
def test_a_transaction_of_a_thread_is_refused_in_a_coroutine():
    with inline(), pytest.raises(ConfigError, match=r"are of threads, not of coroutines; make the task a plain def"):
        tasks.abegins.enqueue()


@COMMITS
def test_a_coroutine_may_hand_its_transaction_to_a_thread():
    job = tasks.abegins_in_a_thread.enqueue()

    drain()

    assert job.refresh().result == "in a thread"


@pytest.mark.dj(242)
@COMMITS
def test_a_connection_that_was_idle_is_closed_before_the_next_job(monkeypatch):
    jobs = current()
    greet.enqueue("ada")
    drain()
    kept = connection.connection
    greet.enqueue("bob")
    drain()
    same = connection.connection is kept

    monkeypatch.setattr("belayed.django.connections.IDLE", 0.0)
    jobs.upkeep.freshen()

    assert same
    assert connection.connection is None


@pytest.mark.dj(242)
@COMMITS
def test_the_queries_that_debug_keeps_are_forgotten_between_jobs(settings):
    settings.DEBUG = True
    for _ in range(3):
        delay(Post.objects).like_all()
        drain()

    assert 0 < len(connection.queries) < 20


@COMMITS
def test_a_connection_in_a_transaction_is_left_alone(monkeypatch):
    monkeypatch.setattr("belayed.django.connections.IDLE", 0.0)
    with transaction.atomic():
        current().upkeep.freshen()

        assert greet.enqueue("ada").saved


def test_psycopg2_is_refused():
    class Connection:
        __module__ = "psycopg2.extensions"

    class Outer:
        connection = Connection()

    with pytest.raises(ConfigError, match="Belayed takes psycopg 3"):
        wrapped(Outer())


def test_another_url_is_refused():
    with pytest.raises(ConfigError, match=r"live where DATABASES .* say"), isolated():
        pass


class InTestCase(TestCase):
    """Nothing commits."""

    databases = {"default"}

    def test_jobs_are_seen_and_run_in_the_transaction_of_the_test(self):
        post = Post.objects.create(title="news")
        post.publish("friends")

        assert_enqueued(post.publish, args=["friends"], queue="likes")
        drain()

        refute_enqueued()

    def test_a_job_s_own_transaction_works_in_a_test(self):
        post = Post.objects.create(title="news")
        like_once.enqueue(post)

        drain()

        assert Post.objects.get().likes == 1

    def test_the_database_of_a_coroutine_is_that_of_the_test(self):
        post = Post.objects.create(title="news")
        with inline():
            first = tasks.alike.enqueue(post)
        second = tasks.alike.enqueue(post)

        drain()

        assert (first.result, second.refresh().result) == (1, 2)
        assert Post.objects.get().likes == 2

    async def test_coroutines_see_what_the_test_has_written(self):
        post = await Post.objects.acreate(title="news")
        job = await tasks.agreet.aenqueue(post)

        await adrain()

        assert (await job.arefresh()).result == f"hello {post}"

    def test_nothing_is_left_of_another_test(self):
        assert current().find() == []

    @override_settings(BELAYED={"MAX_ATTEMPTS": 1})
    def test_settings_can_be_overridden(self):
        post = Post.objects.create(title="news")
        job = tasks.likes_and_fails.enqueue(post)

        drain(raises=False)

        assert job.refresh().state is State.FAILED

    def test_jobs_can_be_held_and_run_inline(self):
        with held() as found:
            greet.enqueue("ada")
        with inline():
            assert greet.enqueue("bob").result == "hello bob"

        assert len(found) == 1


class InTransactionTestCase(TransactionTestCase):
    databases = {"default", "other"}
    available_apps = None

    def test_jobs_are_committed(self):
        job = greet.enqueue("ada")

        drain()

        assert job.refresh().result == "hello ada"

    def test_the_tables_are_emptied_between_tests(self):
        assert current().find() == []


@pytest.fixture
def refused_hint():
    """The next COMMIT is refused as if the NOTIFY queue were full."""
    if connection.vendor != "postgresql":
        pytest.skip("hints are PostgreSQL's")
    with connection.cursor() as cursor:
        cursor.execute("""
            CREATE SEQUENCE refusals;
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval('refusals') = 1 THEN
                    RAISE 'too many notifications in the NOTIFY queue' USING ERRCODE = '54000';
                END IF;
                RETURN NULL;
            END $$;
            CREATE CONSTRAINT TRIGGER refusing AFTER INSERT ON belayed_jobs DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION refuse()
        """)
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION refuse CASCADE; DROP SEQUENCE refusals")


@COMMITS
@pytest.mark.parametrize("number", [1, 2, 60])
def test_a_hint_that_is_refused_at_the_commit_is_left_out(refused_hint, number):
    current().hints.held.clear()  # It is not held back, nor kept silent by the last refusal.
    current().store.silent_until = 0.0

    jobs = enqueue_many([greet.draft("ada") for _ in range(number)])

    assert current().counts().live[0].jobs == len(jobs) == number
    assert not connection.in_atomic_block
