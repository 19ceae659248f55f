"""The hooks of objects with perform()."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

import belayed
from belayed import Cancel, Draft, Job, State
from belayed.errors import OptionError

ran: list[object] = []
"""What jobs and their hooks have done."""


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


@dataclass
class Silent:
    """Hooks without arguments."""

    fails: bool = False

    def enqueue(self) -> None:
        ran.append("enqueue")

    def before(self) -> None:
        ran.append("before")

    def perform(self) -> str:
        ran.append("perform")
        if self.fails:
            raise ValueError("no")
        return "done"

    def success(self) -> None:
        ran.append("success")

    def error(self) -> None:
        ran.append("error")

    def after(self) -> None:
        ran.append("after")

    def failure(self) -> None:
        ran.append("failure")


@dataclass
class Talkative:
    """Hooks with all their arguments."""

    fails: bool = False
    max_attempts: int = 1

    def enqueue(self, draft: Draft) -> None:
        ran.append(("enqueue", type(draft).__name__))

    def before(self, job: Job) -> None:
        ran.append(("before", job.id, job.attempt, job.state))

    def perform(self) -> None:
        if self.fails:
            raise ValueError("no")

    def success(self, job: Job) -> None:
        ran.append(("success", job.id))

    def error(self, job: Job, error: BaseException) -> None:
        ran.append(("error", job.id, repr(error)))

    def after(self, job: Job) -> None:
        ran.append(("after", job.id))

    def failure(self, job: Job) -> None:
        ran.append(("failure", job.id))


@dataclass
class Choosy:
    """Its enqueue hook changes the draft, and itself."""

    number: int
    seen: list[str] = field(default_factory=list)

    def enqueue(self, draft: Draft) -> None:
        draft.queue, draft.priority, draft.run_at = "chosen", 9, timedelta(hours=1)
        draft.max_attempts, draft.max_run_time, draft.keep_failed = 2, timedelta(seconds=3), False
        draft.meta["tenant"] = "acme"
        self.seen.append("enqueue")

    def perform(self) -> list[str]:
        return self.seen


@dataclass
class Broken:
    """A hook that raises."""

    hook: str
    max_attempts: int = 1

    def perform(self) -> str:
        return "done"

    def _raise(self, name: str) -> None:
        if self.hook == name:
            raise RuntimeError(f"{name} is broken")

    def enqueue(self) -> None:
        self._raise("enqueue")

    def before(self) -> None:
        self._raise("before")

    def success(self) -> None:
        self._raise("success")

    def after(self) -> None:
        self._raise("after")


@pytest.mark.dj(43, 44, 48, 269)
def test_hooks_may_take_no_arguments(jobs, work_off):
    belayed.enqueue(Silent())

    work_off(jobs)

    assert ran == ["enqueue", "before", "perform", "success", "after"]


@pytest.mark.dj(43, 45, 48)
def test_hooks_of_a_failure_may_take_no_arguments(jobs, work_off):
    belayed.enqueue(Silent(fails=True), max_attempts=1)

    work_off(jobs)

    assert ran == ["enqueue", "before", "perform", "error", "after", "failure"]


@pytest.mark.dj(43, 44)
def test_hooks_are_given_the_job(each_jobs, work_off):
    job = belayed.enqueue(Talkative())

    work_off(each_jobs)

    assert ran == [
        ("enqueue", "Draft"),
        ("before", job.id, 1, State.RUNNING),
        ("success", job.id),
        ("after", job.id),
    ]


@pytest.mark.dj(43, 45)
def test_hooks_of_a_failure_are_given_the_job_and_the_error(each_jobs, work_off):
    job = belayed.enqueue(Talkative(fails=True))

    work_off(each_jobs)

    assert ran[2:] == [("error", job.id, "ValueError('no')"), ("after", job.id), ("failure", job.id)]
    assert job.refresh().state is State.FAILED


@pytest.mark.dj(45)
def test_the_hook_failure_is_for_the_last_attempt_only(jobs, work_off):
    job = belayed.enqueue(Silent(fails=True), max_attempts=2)

    work_off(jobs)

    assert job.refresh().state is State.SCHEDULED
    assert ran[-2:] == ["error", "after"]


@pytest.mark.dj(46, 75, 269, 352)
def test_the_hook_enqueue_may_change_the_draft_and_the_object(each_jobs, do):
    job = do(belayed, "enqueue", Choosy(1))

    saved = do(job, "refresh")

    assert (saved.queue, saved.priority, saved.state) == ("chosen", 9, State.SCHEDULED)
    assert (saved.max_attempts, saved.max_run_time, saved.keep_failed) == (2, timedelta(seconds=3), False)
    assert saved.meta == {"tenant": "acme"}
    assert '"seen":["enqueue"]' in saved.payload


@pytest.mark.dj(46)
@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("queue", "a*", "none of them '\\*'"),
        ("priority", "high", "priority='high'"),
        ("run_at", datetime(2030, 1, 1), "has no time zone"),  # noqa: DTZ001
        ("max_attempts", 0, "max_attempts=0"),
        ("max_run_time", 5, "max_run_time=5"),
        ("keep_failed", "no", "keep_failed='no'"),
    ],
)
def test_what_the_hook_enqueue_puts_into_the_draft_is_checked(jobs, monkeypatch, name, value, complaint):
    monkeypatch.setattr(Choosy, "enqueue", lambda self, draft: setattr(draft, name, value))

    with pytest.raises(OptionError, match=complaint):
        belayed.enqueue(Choosy(1))

    assert jobs.find() == []


@pytest.mark.parametrize("name", ["enqueue", "before", "success", "error", "failure", "after", "reschedule_at"])
def test_a_hook_that_nobody_would_await_is_refused(jobs, monkeypatch, do, name):
    async def hook(self, job=None) -> None: ...

    monkeypatch.setattr(Silent, name, hook, raising=False)

    with pytest.raises(OptionError, match=f"cannot enqueue a Silent: its hook {name} is async def"):
        do(belayed, "enqueue", Silent())

    assert jobs.find() == []


@pytest.mark.dj(269)
def test_an_enqueue_hook_that_raises_keeps_the_job_from_being_saved(jobs):
    with pytest.raises(RuntimeError, match="enqueue is broken"):
        belayed.enqueue(Broken("enqueue"))

    assert jobs.find() == []


@pytest.mark.dj(49)
def test_a_before_hook_that_raises_fails_the_attempt(jobs, work_off):
    job = belayed.enqueue(Broken("before"))

    work_off(jobs)

    assert (job.refresh().state, job.error) == (State.FAILED, "RuntimeError: before is broken")


@pytest.mark.dj(269)
def test_a_before_hook_may_call_the_job_off(jobs, work_off, monkeypatch):
    def before(self) -> None:
        raise Cancel("not today")

    monkeypatch.setattr(Silent, "before", before)
    job = belayed.enqueue(Silent())

    work_off(jobs)

    assert (job.refresh().state, job.error) == (State.CANCELLED, "belayed.retry.Cancel: not today")
    assert "perform" not in ran


@pytest.mark.dj(50, 51)
@pytest.mark.parametrize("hook", ["success", "after"])
def test_a_hook_after_perform_that_raises_is_logged_and_changes_nothing(jobs, work_off, caplog, hook):
    job = belayed.enqueue(Broken(hook))

    work_off(jobs)

    assert job.refresh().result == "done"
    assert f"the hook {hook} of {__name__}.Broken #{job.id} raised" in caplog.messages
    assert caplog.records[0].levelno == logging.ERROR


@dataclass
class Selective:
    """Hooks that name what they want, in an order of their own."""

    def error(self, error: BaseException) -> None:
        ran.append(("error", repr(error)))

    def after(self, *, job: Job) -> None:
        ran.append(("after", job.id))

    def failure(self, error: BaseException, job: Job) -> None:
        ran.append(("failure", repr(error), job.id))

    def before(self, one: Job, **more: object) -> None:
        ran.append(("before", one.id, more))

    def perform(self) -> None:
        raise ValueError("no")


@dataclass
class Duplicate:
    number: int

    def enqueue(self) -> None:
        if self.number > 1:
            raise Cancel("there is one already")

    def perform(self) -> None: ...


@pytest.mark.dj(48)
def test_hooks_are_given_the_arguments_that_they_name(jobs, work_off):
    job = belayed.enqueue(Selective(), max_attempts=1)

    work_off(jobs)

    assert ran == [
        ("before", job.id, {}),
        ("error", "ValueError('no')"),
        ("after", job.id),
        ("failure", "ValueError('no')", job.id),
    ]


@pytest.mark.dj(47)
def test_the_hook_enqueue_may_say_that_the_job_is_not_wanted(each_jobs, do):
    wanted, unwanted = do(belayed, "enqueue_many", [Duplicate(1), Duplicate(2)])
    third = do(belayed, "enqueue", Duplicate(3))

    assert [job.id for job in do(each_jobs, "find")] == [wanted.id]
    assert (unwanted.state, unwanted.error) == (State.CANCELLED, "there is one already")
    assert (third.saved, third.wait().state) == (False, State.CANCELLED)
