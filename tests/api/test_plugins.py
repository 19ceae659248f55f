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
from belayed import Cancel, Draft, Fail, Job, Plugin, Retry, State, current_job, task
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


@pytest.mark.dj(74, 206)
def test_a_plugin_may_change_the_draft(make_jobs, url, do):
    changes = {"queue": "changed", "priority": -4, "run_at": timedelta(hours=1), "max_attempts": 2}
    make_jobs(url, plugins=[Changes(**changes)])

    job = do(say, "enqueue")

    saved = do(job, "refresh")
    assert (saved.queue, saved.priority, saved.state, saved.max_attempts) == ("changed", -4, State.SCHEDULED, 2)


@pytest.mark.dj(277)
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


@pytest.mark.dj(74)
def test_the_hook_of_a_custom_job_sees_what_plugins_have_changed(make_jobs, sqlite_url):
    make_jobs(sqlite_url, plugins=[Changes(queue="changed")])

    job = belayed.enqueue(Newsletter())

    assert job.refresh().meta == {"hook": "changed"}


@pytest.mark.dj(281)
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


@pytest.mark.dj(199, 350)
def test_a_hook_that_takes_other_arguments_is_logged_with_what_is_wrong(make_jobs, sqlite_url, caplog, do):
    class Wrong(Plugin):
        def on_enqueue(self) -> None: ...

    make_jobs(sqlite_url, plugins=[Wrong()])

    job = do(say, "enqueue")

    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "plugin hook on_enqueue" in record.message
    assert "takes 1 positional argument but 2 were given" in str(record.exc_info)
    assert job.refresh().state is State.READY


@pytest.mark.dj(197)
def test_what_a_hook_returns_keeps_no_job_from_being_saved(make_jobs, sqlite_url, do):
    class Vetoes(Plugin):
        def on_enqueue(self, draft: Draft) -> Any:
            return False

    jobs = make_jobs(sqlite_url, plugins=[Vetoes()])

    job = do(say, "enqueue")

    assert jobs.find() == [job]


@pytest.mark.dj(203)
def test_a_plugin_inherits_the_hooks_of_its_class_and_may_override_them(make_jobs, sqlite_url, work_off):
    class Quiet(Notes):
        def on_error(self, job: Job, error: BaseException) -> None:
            self.seen.append("quietly")

    plugin = Quiet()
    jobs = make_jobs(sqlite_url, plugins=[plugin])
    job = fail.enqueue()

    work_off(jobs)

    assert plugin.seen[-3:] == ["quietly", ("failure", job.id, "ValueError('no')"), "work ends"]


@pytest.mark.dj(191, 282)
@pytest.mark.dj(83)
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


@pytest.mark.dj(200, 226)
@pytest.mark.parametrize("name", ["on_enqueued", "around_job", "before_attempt", "after_attempt"])
def test_a_misspelt_hook_is_refused_when_the_class_is_made(name):
    with pytest.raises(ConfigError, match=rf"Wrong\.{name} is no hook of a plugin: there are around_enq"):
        type("Wrong", (Plugin,), {"__qualname__": "Wrong", name: lambda self, draft: None})


@pytest.mark.dj(132, 202)
@pytest.mark.parametrize("plugin", [Notes, 3, object()], ids=["class", "value", "object"])
def test_what_is_no_plugin_is_refused(plugin):
    with pytest.raises(ConfigError, match="is no Plugin instance"):
        belayed.Jobs("sqlite:///jobs.db", plugins=[plugin])


class Unwanted(Plugin):
    """Does not want any job: says so where it is told to."""

    def __init__(self, hook: str) -> None:
        self.hook = hook

    def on_enqueue(self, draft: Draft) -> None:
        if self.hook == "on_enqueue":
            raise Cancel("the tenant is suspended")

    @contextmanager
    def around_enqueue(self, draft: Draft) -> Iterator[None]:
        if self.hook == "around_enqueue":
            raise Cancel("the tenant is suspended")
        yield


class Around(Plugin):
    """Notes what goes on around an enqueue."""

    def __init__(self, name: str, seen: list[str], *, fails: str = "") -> None:
        self.name, self.seen, self.fails = name, seen, fails

    @contextmanager
    def around_enqueue(self, draft: Draft) -> Iterator[None]:
        if self.fails == "before":
            raise RuntimeError("the plugin is broken")
        self.seen.append(f"into {self.name}")
        try:
            yield
        finally:
            self.seen.append(f"out of {self.name}")
        if self.fails == "after":
            raise RuntimeError("the plugin is broken")

    def on_enqueue(self, draft: Draft) -> None:
        self.seen.append(f"on_enqueue of {self.name}")


@pytest.mark.dj(47, 269)
@pytest.mark.parametrize("hook", ["on_enqueue", "around_enqueue"])
def test_a_plugin_may_say_that_a_job_is_not_wanted(make_jobs, url, do, hook):
    jobs = make_jobs(url, plugins=[Unwanted(hook)])

    job = do(say, "enqueue")

    assert (job.saved, job.state, job.error) == (False, State.CANCELLED, "the tenant is suspended")
    assert do(jobs, "find") == []


def test_a_job_of_many_that_is_not_wanted_is_left_out(make_jobs, url, do):
    class NoMail(Plugin):
        def on_enqueue(self, draft: Draft) -> None:
            if draft.queue == "mail":
                raise Cancel("no mail today")

    jobs = make_jobs(url, plugins=[NoMail()])

    made = do(belayed, "enqueue_many", [say.draft(), say.using(queue="mail").draft(), say.draft()])

    assert [job.state for job in made] == [State.READY, State.CANCELLED, State.READY]
    assert {job.id for job in do(jobs, "find")} == {made[0].id, made[2].id}


@pytest.mark.dj(188, 189, 190, 192, 352)
def test_what_is_around_an_enqueue_is_entered_in_order_and_left_in_the_opposite_one(make_jobs, sqlite_url, do):
    seen: list[str] = []
    make_jobs(sqlite_url, plugins=[Around("a", seen), Around("b", seen)])

    do(belayed, "enqueue", Newsletter())

    assert seen == ["into a", "into b", "on_enqueue of a", "on_enqueue of b", "out of b", "out of a"]


def test_what_is_around_an_enqueue_of_many_is_left_when_all_are_saved(make_jobs, sqlite_url, do):
    seen: list[str] = []
    make_jobs(sqlite_url, plugins=[Around("a", seen)])

    do(belayed, "enqueue_many", [say.draft(), say.draft()])

    assert seen == ["into a", "on_enqueue of a"] * 2 + ["out of a"] * 2


def test_what_is_around_an_enqueue_that_is_cancelled_is_left_at_once(make_jobs, sqlite_url, do):
    class NoMail(Plugin):
        def on_enqueue(self, draft: Draft) -> None:
            if draft.queue == "mail":
                raise Cancel("no mail today")

    seen: list[str] = []
    make_jobs(sqlite_url, plugins=[Around("a", seen), NoMail()])

    do(belayed, "enqueue_many", [say.using(queue="mail").draft(), say.draft()])

    assert seen == ["into a", "on_enqueue of a", "out of a"] * 2


def test_what_is_around_an_enqueue_sees_its_error(make_jobs, sqlite_url):
    seen: list[str] = []
    make_jobs(sqlite_url, plugins=[Around("a", seen)])

    with pytest.raises(OptionError, match="priority='urgent'"):
        say.using(priority="urgent").enqueue()

    assert seen == ["into a", "on_enqueue of a", "out of a"]


@pytest.mark.parametrize("fails", ["before", "after"])
def test_a_plugin_that_raises_around_an_enqueue_is_logged_and_the_job_is_saved(
    make_jobs, sqlite_url, caplog, do, fails
):
    make_jobs(sqlite_url, plugins=[Around("a", [], fails=fails)])

    job = do(say, "enqueue")

    assert do(job, "refresh").state is State.READY
    assert "plugin hook around_enqueue" in caplog.text


@pytest.mark.dj(194)
@pytest.mark.parametrize(
    ("raised", "state"),
    [
        (Cancel("not today"), State.CANCELLED),
        (Fail("never"), State.FAILED),
        (Retry("later", after=timedelta(hours=1), free=True), State.SCHEDULED),
    ],
    ids=["Cancel", "Fail", "Retry"],
)
@pytest.mark.parametrize("drafted", [say, asay], ids=["def", "async def"])
def test_a_plugin_may_decide_an_attempt_before_it_begins(make_jobs, sqlite_url, work_off, drafted, raised, state):
    class Gate(Plugin):
        @contextmanager
        def around_attempt(self, job: Job) -> Iterator[None]:
            raise raised
            yield

    jobs = make_jobs(sqlite_url, plugins=[Gate()])
    job = drafted.enqueue()

    work_off(jobs)

    assert (job.refresh().state, job.failures) == (state, int(state is State.FAILED))
    assert str(raised) in job.error


@pytest.mark.dj(188, 190)
def test_a_pass_of_the_loop_is_wrapped_and_a_broken_wrapper_does_no_harm(make_jobs, sqlite_url, work_off, caplog):
    passes: list[str] = []

    class Passes(Plugin):
        @contextmanager
        def around_pass(self, worker: Any) -> Iterator[None]:
            passes.append("in")
            yield
            passes.append("out")
            raise RuntimeError("the plugin is broken")

    jobs = make_jobs(sqlite_url, plugins=[Passes()])
    job = say.enqueue()

    work_off(jobs)

    assert job.refresh().state is State.SUCCEEDED
    assert passes[:2] == ["in", "out"]
    assert passes.count("in") == passes.count("out")
    assert "plugin hook around_pass" in caplog.text
