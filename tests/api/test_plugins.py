"""Plugins, as far as they meet what is enqueued and run."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

import belayed
from belayed import Draft, Job, Plugin, State, current_job, task
from belayed.errors import ConfigError, OptionError

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


@task
def say() -> str:
    return f"{tenant.get()} {current_job().meta.get('tenant')}"


@task(max_attempts=1)
def fail() -> None:
    raise ValueError("no")


@task
async def asay() -> str:
    return tenant.get()


@dataclass
class Newsletter:
    def enqueue(self, draft: Draft) -> None:
        draft.meta["hook"] = draft.queue

    def perform(self) -> None: ...


class Tenant(Plugin):
    """Carries a context variable to where the job runs."""

    def on_enqueue(self, draft: Draft) -> None:
        draft.meta["tenant"] = tenant.get()

    @contextmanager
    def around_attempt(self, job: Job) -> Iterator[None]:
        token = tenant.set(f"{job.meta['tenant']}'s")
        try:
            yield
        finally:
            tenant.reset(token)


class Changes(Plugin):
    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def on_enqueue(self, draft: Draft) -> None:
        for name, value in self.changes.items():
            setattr(draft, name, value)


class Raises(Plugin):
    def on_enqueue(self, draft: Draft) -> None:
        raise RuntimeError("the plugin is broken")


class Notes(Plugin):
    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_error(self, job: Job, error: BaseException) -> None:
        self.seen.append(("error", job.id, repr(error)))

    def on_failure(self, job: Job, error: BaseException) -> None:
        self.seen.append(("failure", job.id, repr(error)))

    @contextmanager
    def around_attempt(self, job: Job) -> Iterator[None]:
        self.seen.append(("begin", job.id, job.attempt))
        try:
            yield
        except ValueError as error:
            self.seen.append(("raised", job.id, str(error)))
            raise

    @contextmanager
    def around_work(self, worker: Any) -> Iterator[None]:
        self.seen.append("work begins")
        yield
        self.seen.append("work ends")


def test_a_plugin_may_change_the_draft(make_jobs, url, do):
    changes = {"queue": "changed", "priority": -4, "run_at": timedelta(hours=1), "max_attempts": 2}
    make_jobs(url, plugins=[Changes(**changes)])

    job = do(say, "enqueue")

    saved = do(job, "refresh")
    assert (saved.queue, saved.priority, saved.state, saved.max_attempts) == ("changed", -4, State.SCHEDULED, 2)


def test_each_job_of_many_passes_the_plugins(make_jobs, sqlite_url, do):
    make_jobs(sqlite_url, plugins=[Changes(queue="changed")])

    made = do(belayed, "enqueue_many", [say.draft(), say.draft()])

    assert [job.queue for job in made] == ["changed", "changed"]


def test_what_a_plugin_changes_is_checked(make_jobs, sqlite_url):
    jobs = make_jobs(sqlite_url, plugins=[Changes(queue="*")])

    with pytest.raises(OptionError, match=r"queue='\*'"):
        say.enqueue()

    assert jobs.find() == []


@pytest.mark.parametrize(
    "meta",
    [{"x": object()}, {"x": float("nan")}, {"x": "\udc80"}, {1: 2}, [1]],
    ids=["object", "nan", "surrogate", "key", "list"],
)
def test_meta_that_has_no_text_form_is_refused(make_jobs, url, meta):
    jobs = make_jobs(url, plugins=[Changes(meta=meta)])

    with pytest.raises(OptionError, match=r"the meta of .*\.say takes a dict of plain JSON values"):
        say.enqueue()

    assert jobs.find() == []


def test_the_hook_of_a_custom_job_sees_what_plugins_have_changed(make_jobs, sqlite_url):
    make_jobs(sqlite_url, plugins=[Changes(queue="changed")])

    job = belayed.enqueue(Newsletter())

    assert job.refresh().meta == {"hook": "changed"}


@pytest.mark.parametrize("drafted", [say, asay], ids=["def", "async def"])
def test_meta_travels_with_the_job_and_context_reaches_it(make_jobs, url, work_off, drafted):
    jobs = make_jobs(url, plugins=[Tenant()])
    token = tenant.set("acme")
    job = drafted.enqueue()
    tenant.reset(token)

    work_off(jobs)

    assert job.refresh().meta == {"tenant": "acme"}
    assert job.result.startswith("acme's")


def test_a_plugin_that_raises_is_logged_and_the_job_is_saved(make_jobs, sqlite_url, caplog, do):
    make_jobs(sqlite_url, plugins=[Raises(), Changes(queue="changed")])

    job = do(say, "enqueue")

    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "plugin hook on_enqueue" in record.message
    assert "the plugin is broken" in str(record.exc_info)
    assert job.refresh().queue == "changed"


def test_plugins_hear_of_attempts_errors_and_failures_in_their_order(make_jobs, sqlite_url, work_off):
    notes = Notes()
    jobs = make_jobs(sqlite_url, plugins=[notes])
    job = fail.enqueue()

    work_off(jobs)

    assert notes.seen == [
        "work begins",
        ("begin", job.id, 1),
        ("raised", job.id, "no"),
        ("error", job.id, "ValueError('no')"),
        ("failure", job.id, "ValueError('no')"),
        "work ends",
    ]


def test_a_misspelt_hook_is_refused_when_the_class_is_made():
    with pytest.raises(ConfigError, match=r"Wrong\.on_enqueued is no hook of a plugin: there are on_enqueue, on_error"):

        class Wrong(Plugin):
            def on_enqueued(self, draft: Draft) -> None: ...


@pytest.mark.parametrize("plugin", [Notes, 3, object()], ids=["class", "value", "object"])
def test_what_is_no_plugin_is_refused(plugin):
    with pytest.raises(ConfigError, match="is no Plugin instance"):
        belayed.Jobs("sqlite:///jobs.db", plugins=[plugin])
