"""Jobs that run where they are enqueued: the setting delay_jobs."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import belayed
from belayed import Cancel, Draft, Job, Plugin, Retry, State, current_job, delay, task
from belayed.errors import BelayedError, NotImportable

ran: list[object] = []


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


@pytest.fixture
def inline_jobs(make_jobs, url):
    return make_jobs(url, delay_jobs=False)


@task
def double(number: int) -> int:
    return 2 * number


@task
async def adouble(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


@task
def indirect(number: int) -> Any:
    return adouble.function(number)


@task
def fail() -> None:
    raise ValueError("no")


@task
async def afail() -> None:
    raise ValueError("no")


@task
def give_up() -> None:
    raise Cancel("not needed")


@task
def once_more() -> None:
    raise Retry("later", after=timedelta(hours=1))


@task(queue="mail")
def mail() -> str:
    return "sent"


@task
def order(path: str) -> int:
    with closing(sqlite3.connect(path)) as connection, current_job().transaction(connection) as completion:
        connection.execute("CREATE TABLE orders (id INTEGER)")
        completion.result = 7
    return 8


@dataclass
class Report:
    lines: list[str] = field(default_factory=list)
    fails: bool = False

    def enqueue(self, draft: Draft) -> None:
        ran.append("enqueue")

    def before(self, job: Job) -> None:
        ran.append(("before", job.attempt, job.saved))

    def perform(self) -> int:
        ran.append("perform")
        self.lines.append("changed")
        if self.fails:
            raise ValueError("no")
        return len(self.lines)

    def success(self) -> None:
        ran.append("success")

    def error(self, error: BaseException) -> None:
        ran.append(("error", str(error)))

    def after(self) -> None:
        ran.append("after")

    def failure(self) -> None:
        ran.append("failure")


class Notes(Plugin):
    def on_enqueue(self, draft: Draft) -> None:
        draft.meta["by"] = "plugin"
        ran.append("on_enqueue")

    def on_error(self, job: Job, error: BaseException) -> None:
        ran.append("on_error")

    def on_failure(self, job: Job, error: BaseException) -> None:
        ran.append("on_failure")


@pytest.mark.dj(121, 244, 345, 347)
@pytest.mark.parametrize("target", [double, adouble], ids=["def", "async def"])
def test_a_job_runs_at_once_and_is_not_saved(inline_jobs, do, target):
    job = do(target, "enqueue", 21)

    assert (job.saved, job.id, job.state, job.attempt, job.result) == (False, 0, State.SUCCEEDED, 1, 42)
    assert do(inline_jobs, "find") == []


@pytest.mark.dj(246)
def test_time_queue_and_priority_do_not_matter(inline_jobs, do):
    job = do(double.using(queue="later", priority=9, run_at=timedelta(days=1)), "enqueue", 1)

    assert (job.state, job.queue, job.priority) == (State.SUCCEEDED, "later", 9)


@task
def look_again(left: int = 3) -> str:
    ran.append("look")
    return str(look_again.using(run_at=timedelta(minutes=left)).enqueue(left).state.value)


@task
async def alook_again() -> str:
    ran.append("look")
    return str((await alook_again.using(run_at=timedelta(minutes=1)).aenqueue()).state.value)


@task
def in_turn() -> str:
    ran.append("look")
    return str(delay(Looker(), run_at=timedelta(minutes=1)).look().result)


class Looker:
    def look(self) -> str:
        return str(in_turn.using(run_at=datetime.now(UTC) + timedelta(minutes=1)).enqueue().state.value)


@dataclass
class Look:
    number: int

    def perform(self) -> str:
        ran.append("look")
        return str(belayed.enqueue(Look(self.number + 1), run_at=timedelta(minutes=1)).state.value)

    @property
    def display_name(self) -> str:
        return f"look {self.number}"


@pytest.mark.parametrize(
    "enqueues",
    [look_again.enqueue, alook_again.enqueue, in_turn.enqueue, lambda: belayed.enqueue(Look(1))],
    ids=["def", "async def", "in turn", "custom"],
)
def test_a_job_that_enqueues_itself_for_later_runs_once(inline_jobs, enqueues):
    job = enqueues()

    assert (ran, job.result) == (["look"], "scheduled")


@task
def count_down(left: int) -> int:
    ran.append(left)
    return left if left == 0 else count_down.enqueue(left - 1).result


def test_a_job_that_enqueues_itself_for_now_runs_again(inline_jobs):
    assert count_down.enqueue(3).result == 0
    assert ran == [3, 2, 1, 0]


@pytest.mark.dj(245)
@pytest.mark.parametrize("target", [fail, afail], ids=["def", "async def"])
def test_what_the_job_raises_comes_out_of_the_enqueue(inline_jobs, do, target):
    with pytest.raises(ValueError, match="no"):
        do(target, "enqueue")

    assert do(inline_jobs, "find") == []


def test_a_job_that_cancels_itself_is_cancelled(inline_jobs, do):
    job = do(give_up, "enqueue")

    assert (job.state, job.error) == (State.CANCELLED, "not needed")


def test_a_wish_to_be_tried_again_comes_out(inline_jobs, do):
    with pytest.raises(Retry, match="later"):
        do(once_more, "enqueue")


@pytest.mark.dj(56)
def test_hooks_are_called_but_for_failure(inline_jobs, do):
    do(belayed, "enqueue", Report())
    with pytest.raises(ValueError, match="no"):
        do(belayed, "enqueue", Report(fails=True))

    first = ["enqueue", ("before", 1, False), "perform", "success", "after"]
    assert ran == [*first, "enqueue", ("before", 1, False), "perform", ("error", "no"), "after"]


@pytest.mark.dj(248)
def test_plugins_hear_of_the_enqueue_but_not_of_errors(make_jobs, sqlite_url, do):
    make_jobs(sqlite_url, delay_jobs=False, plugins=[Notes()])

    job = do(double, "enqueue", 1)
    with pytest.raises(ValueError, match="no"):
        do(fail, "enqueue")

    assert ran == ["on_enqueue", "on_enqueue"]
    assert job.meta == {"by": "plugin"}


@pytest.mark.dj(223)
def test_the_job_works_on_a_copy_as_it_would_in_a_worker(inline_jobs):
    report = Report(lines=["first"])

    job = belayed.enqueue(report)

    assert (job.result, report.lines) == (2, ["first"])


def test_arguments_that_cannot_travel_are_refused(inline_jobs):
    with pytest.raises(NotImportable):
        double.enqueue(lambda: 1)


def test_methods_run_at_once_too(inline_jobs):
    job = delay(Report(lines=["a", "b"])).perform()

    assert job.result == 3


@pytest.mark.dj(121, 247)
def test_a_callable_decides_for_each_draft(make_jobs, url, do):
    jobs = make_jobs(url, delay_jobs=lambda draft: draft.queue != "mail")

    now, later = do(belayed, "enqueue_many", [mail.draft(), double.draft(1)])

    assert (now.saved, now.result) == (False, "sent")
    assert [job.id for job in do(jobs, "find")] == [later.id]


@pytest.mark.parametrize("answer", [True, False])
def test_a_callable_may_take_no_argument(make_jobs, sqlite_url, answer):
    make_jobs(sqlite_url, delay_jobs=lambda: answer)

    assert double.enqueue(1).saved is answer


def test_an_inline_job_that_raises_keeps_the_others_of_many_from_being_saved(make_jobs, url, do):
    jobs = make_jobs(url, delay_jobs=lambda draft: draft.task.endswith("double"))

    with pytest.raises(ValueError, match="no"):
        do(belayed, "enqueue_many", [double.draft(1), fail.draft()])

    assert do(jobs, "find") == []


def test_it_can_be_said_by_the_environment(make_jobs, sqlite_url, monkeypatch):
    monkeypatch.setenv("BELAYED_DELAY_JOBS", "false")
    make_jobs(sqlite_url)

    assert double.enqueue(2).result == 4


def test_nothing_is_opened(make_jobs, tmp_path):
    make_jobs(f"sqlite:///{tmp_path}/none.db", delay_jobs=False)

    double.enqueue(1)

    assert not (tmp_path / "none.db").exists()


def test_a_coroutine_runs_although_an_event_loop_runs_here(make_jobs, sqlite_url):
    make_jobs(sqlite_url, delay_jobs=False)

    async def request() -> Any:
        return adouble.enqueue(4).result

    assert asyncio.run(request()) == 8


def test_a_coroutine_that_a_plain_job_returns_is_awaited_although_an_event_loop_runs_here(make_jobs, sqlite_url):
    make_jobs(sqlite_url, delay_jobs=False)

    async def request() -> list[Any]:
        return [indirect.enqueue(4).result, (await indirect.aenqueue(5)).result]

    assert asyncio.run(request()) == [8, 10]


def test_an_error_of_a_coroutine_comes_out_although_an_event_loop_runs_here(make_jobs, sqlite_url):
    make_jobs(sqlite_url, delay_jobs=False)

    async def request() -> Any:
        return afail.enqueue()

    with pytest.raises(ValueError, match="no"):
        asyncio.run(request())


def test_its_own_transaction_is_a_plain_one(make_jobs, sqlite_url, tmp_path):
    make_jobs(sqlite_url, delay_jobs=False)

    job = order.enqueue(str(tmp_path / "orders.db"))

    with closing(sqlite3.connect(tmp_path / "orders.db")) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    assert (job.state, job.result) == (State.SUCCEEDED, 7)


def test_an_inline_job_has_nothing_to_wait_for_and_nothing_to_change(inline_jobs):
    job = double.enqueue(1)

    assert job.wait() is job
    assert job.refresh() is job
    assert [job.cancel(), job.retry(), job.delete(), job.change(priority=1)] == [False] * 4
    assert repr(job) == f"<Job unsaved {__name__}.double succeeded>"
    assert job != double.enqueue(1)


def test_an_inline_run_is_logged(inline_jobs, caplog):
    caplog.set_level(logging.INFO, "belayed")

    double.enqueue(1)

    assert f"ran {__name__}.double inline, succeeded in 0 ms" in caplog.messages


def test_what_is_neither_yes_nor_no_is_refused():
    with pytest.raises(belayed.errors.ConfigError, match="delay_jobs is 'never'"):
        belayed.Jobs("sqlite:///jobs.db", delay_jobs="never")


def test_a_job_that_is_not_of_any_store_says_so():
    with pytest.raises(BelayedError, match="has no store"):
        Job(1, State.READY, "q", 0, None, "t", None, None).refresh()
