"""A tenant's rows: jobs read those of the tenant that has enqueued them, and never another's of the same key."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from conftest import eventually
from django.test import override_settings
from django.utils import translation
from shop import tenancy
from shop.models import Post
from shop.tasks import alike
from shop.tenancy import Review, atakes, atitle, of, takes, title

from belayed import Plugin, State, Worker, enqueue
from belayed.config import current
from belayed.django.compat import signals
from belayed.errors import AttemptCrashed
from belayed.testing import drain
from tests.patience import patient

pytestmark = pytest.mark.django_db(transaction=True)
PLUGINS = {"PLUGINS": ["shop.tenancy.Tenants"]}


@pytest.fixture(autouse=True)
def tenants():
    """A post of the same key for everybody."""
    tenancy.make_tables()
    tenancy.entered.clear()
    Post.objects.create(pk=1, title="public's")
    for name in tenancy.TENANTS:
        with of(name):
            Post.objects.create(pk=1, title=f"{name}'s")
    with override_settings(BELAYED=PLUGINS):
        yield
    tenancy.drop_tables()


def saved(name):
    """A job of each kind, of a tenant."""
    with of(name):
        post = Post.objects.get(pk=1)
        return {
            "def": title.enqueue(post),
            "async def": atitle.enqueue(post),
            "method": post.publish(),
            "writes": alike.enqueue(post),
        }


def expected(name):
    read = [f"{name}'s", f"{name}'s", name, name]
    return {"def": read, "async def": read, "method": f"{name}'s to all", "writes": 1}


def results(found):
    return {kind: job.refresh().result for kind, job in found.items()}


def likes(name):
    with of(name):
        return Post.objects.get(pk=1).likes


@pytest.mark.parametrize("threads", [1, 3])
def test_a_job_has_the_rows_of_its_tenant(threads, caplog):
    found = {name: saved(name) for name in tenancy.TENANTS}

    Worker(current(), threads=threads).run(until_empty=True)

    assert {name: results(jobs) for name, jobs in found.items()} == {name: expected(name) for name in tenancy.TENANTS}
    assert [likes(name) for name in ("public", "acme", "globex")] == [0, 1, 1]
    assert len(tenancy.entered) == 8
    assert "plugin hook" not in caplog.text


def test_what_django_keeps_for_a_request_reaches_a_coroutine_from_a_plugin():
    class Speaks(Plugin):
        @contextmanager
        def around_attempt(self, job):
            with translation.override("pl"):
                yield

    with override_settings(BELAYED={"PLUGINS": [Speaks()]}):
        job = tenancy.alanguage.enqueue()
        Worker(current()).run(until_empty=True)

    assert job.refresh().result == "pl"


@pytest.mark.parametrize("processes", ["0", "1"])
def test_so_it_has_in_a_worker_of_an_operators(manage, processes):
    found = {name: saved(name) for name in tenancy.TENANTS}

    ended = manage("belayed", "workoff", "--processes", processes, SITE_PLUGINS="shop.tenancy.Tenants")

    assert ended.returncode == 0, ended.stderr
    assert {name: results(jobs) for name, jobs in found.items()} == {name: expected(name) for name in tenancy.TENANTS}


def test_so_it_has_where_it_runs_in_the_test_itself():
    found = {name: saved(name) for name in tenancy.TENANTS}

    drain()

    assert {name: results(jobs) for name, jobs in found.items()} == {name: expected(name) for name in tenancy.TENANTS}


def test_the_hook_of_a_failure_writes_into_its_tenants_rows():
    with of("acme"):
        enqueue(Review(Post.objects.get(pk=1)))

    Worker(current()).run(until_empty=True)

    with of("acme"):
        assert Post.objects.get(pk=1).error == "failed"
    assert Post.objects.get(pk=1).error == ""


@override_settings(TASKS={"default": {"BACKEND": "belayed.django.TasksBackend", "OPTIONS": {"ANY_ARGUMENTS": True}}})
@pytest.mark.parametrize("fail", [False, True], ids=["succeeds", "fails"])
@pytest.mark.parametrize("task", [takes, atakes], ids=["def", "async def"])
def test_receivers_of_signals_are_given_the_rows_of_the_tenant(task, fail):
    heard = []

    def receiver(signal, task_result, **kwargs):
        heard.append((task_result.status.value, task_result.args[0].title))

    with of("acme"):
        task.using(max_attempts=1).enqueue(Post.objects.get(pk=1), fail=fail)
    for signal in (signals.task_started, signals.task_finished):
        signal.connect(receiver)
    try:
        Worker(current()).run(until_empty=True)
    finally:
        for signal in (signals.task_started, signals.task_finished):
            signal.disconnect(receiver)

    assert heard == [("RUNNING", "acme's"), ("FAILED" if fail else "SUCCESSFUL", "acme's")]


def test_a_coroutine_that_is_cancelled_while_its_tenant_is_looked_up_leaves_no_tenant_behind():
    plugin = tenancy.SlowTenants(patient(30))
    with override_settings(BELAYED={"PLUGINS": [plugin]}):
        jobs = current()
        with of("acme"):
            job = atitle.enqueue(Post.objects.get(pk=1))
        with Worker(jobs):
            assert plugin.begun.wait(patient(20))
            job.cancel()
            eventually(lambda: job.refresh().ended)
            plugin.goes_on.set()
            assert plugin.left.wait(patient(20))
            with of("globex"):
                other = atitle.enqueue(Post.objects.get(pk=1))
            result = other.wait(timeout=patient(30)).result

    assert job.state is State.CANCELLED
    assert result == expected("globex")["async def"]


@override_settings(TASKS={"default": {"BACKEND": "belayed.django.TasksBackend", "OPTIONS": {"ANY_ARGUMENTS": True}}})
def test_receivers_are_given_no_rows_where_no_plugin_says_whose_they_are():
    heard = []

    def receiver(signal, task_result, **kwargs):
        heard.append((task_result.status.value, task_result.args, task_result.kwargs))

    with of("acme"):
        found = [takes.enqueue(Post.objects.get(pk=1)), takes.enqueue("a text", fail=True)]
    signals.task_finished.connect(receiver)
    try:
        for one in found:
            # As a worker tells of a crash, in another process than the job's.
            current().plugins.notify("on_failure", current().get(int(one.id)), AttemptCrashed("it died"))
    finally:
        signals.task_finished.disconnect(receiver)

    assert heard == [("FAILED", [], {}), ("FAILED", ["a text"], {"fail": True})]
