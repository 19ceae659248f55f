"""The hooks of custom jobs and plugins: when they are called, with what, and what happens when they raise."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from belayed import Draft, Job, Outcome, Plugin, State, enqueue
from belayed.errors import BrokenPayload
from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.helpers import due, execute, logged, states, worked, worker
from tests.worker.tasks import Custom, CustomAsync, Declined, Exits, aact, act, double, fails

Body = Callable[[Callable[..., Any]], str]
KINDS = pytest.mark.parametrize("kind", [Custom, CustomAsync], ids=["def", "async def"])
TASKS = pytest.mark.parametrize("task", [act, aact], ids=["def", "async def"])

tenant = ContextVar("tenant", default="nobody")


@pytest.mark.dj(43, 44)
@KINDS
def test_hooks_of_a_success(kind: Any, jobs: Jobs, calls: list[Any]) -> None:
    job = enqueue(kind())

    worked(jobs)

    assert calls == [("before", job.id), ("perform", job.id), ("success", job.id), ("after",)]
    assert job.refresh().result == "done"


@dataclass
class InThread:
    """A job that tells in which threads its hooks are called, and where `perform()` is."""

    threads: ClassVar[list[str]] = []

    def perform(self) -> None:
        self.tell()

    def before(self) -> None:
        self.tell()

    def success(self) -> None:
        self.tell()

    def after(self) -> None:
        self.tell()

    def tell(self) -> None:
        self.threads.append(threading.current_thread().name)


@dataclass
class InLoop(InThread):
    async def perform(self) -> None:  # type: ignore[override]
        self.tell()

    def before(self) -> None:
        self.tell()

    def success(self) -> None:
        self.tell()

    def after(self) -> None:
        self.tell()


@pytest.mark.parametrize(("kind", "where"), [(InThread, "belayed-slot"), (InLoop, "belayed-loop")])
def test_hooks_are_called_where_perform_runs(kind: Any, where: str, lite: Jobs) -> None:
    kind.threads.clear()
    job = enqueue(kind())

    worked(lite)

    assert job.refresh().state is State.SUCCEEDED
    assert len(kind.threads) == 4
    assert {name.startswith(where) for name in kind.threads} == {True}, kind.threads


@pytest.mark.dj(43, 45)
@KINDS
def test_hooks_of_a_failure_that_is_tried_again(kind: Any, lite: Jobs, calls: list[Any]) -> None:
    job = enqueue(kind(fail=True))

    worked(lite)

    assert [name for name, *_ in calls] == ["before", "perform", "error", "after", "reschedule_at"]
    assert ("error", job.id, "Declined") in calls


@pytest.mark.dj(43, 45, 169)
@KINDS
def test_hooks_of_a_failure_for_good(kind: Any, lite: Jobs, calls: list[Any]) -> None:
    job = enqueue(kind(fail=True))
    worked(lite)
    due(job)
    calls.clear()

    worked(lite)

    assert [name for name, *_ in calls] == ["before", "perform", "error", "after", "failure"]
    assert states(job) == [State.FAILED]


@pytest.mark.dj(49)
@KINDS
def test_a_before_hook_that_raises_fails_the_attempt(kind: Any, lite: Jobs, calls: list[Any]) -> None:
    job = enqueue(kind(broken=("before",)))

    worked(lite)

    assert [name for name, *_ in calls] == ["before", "error", "after", "reschedule_at"]
    assert job.refresh().error == "ZeroDivisionError: before"


@pytest.mark.dj(50, 51, 52, 53)
@pytest.mark.parametrize("how", [Custom, Exits, CustomAsync], ids=["fails", "exits", "async fails"])
@pytest.mark.parametrize("hook", ["success", "error", "failure", "after"])
def test_other_hooks_that_raise_are_logged_and_change_nothing(
    how: Any, hook: str, lite: Jobs, calls: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    fail = hook in ("error", "failure")
    job = enqueue(how(fail=fail, broken=(hook,)), max_attempts=1)
    neighbour = double.enqueue(1)

    worked(lite, threads=1)

    assert states(job, neighbour) == [State.FAILED if fail else State.SUCCEEDED, State.SUCCEEDED]
    assert logged(caplog, f"the hook {hook} of tests.worker.tasks.{how.__name__} #{job.id} raised")
    if fail:
        assert job.error == "tests.worker.tasks.Declined: no"


@dataclass
class Endless:
    """A job one of whose hooks does not end."""

    hook: str
    max_run_time: ClassVar = timedelta(seconds=0.1)
    max_attempts: ClassVar = 1

    def before(self) -> None:
        self.spin("before")

    def perform(self) -> None:
        self.spin("perform")

    def after(self) -> None:
        self.spin("after")

    def spin(self, hook: str) -> None:
        while hook == self.hook:
            pass


@pytest.mark.dj(55)
@pytest.mark.parametrize("hook", ["before", "after"])
def test_hooks_run_within_the_time_of_the_attempt(hook: str, lite: Jobs) -> None:
    job = enqueue(Endless(hook))

    worked(lite)

    assert [attempt.outcome for attempt in job.refresh().attempts] == [Outcome.TIMED_OUT]


class Recorder(Plugin):
    """Records what it is told; the hooks named in *broken* raise *error*."""

    def __init__(self, name: str = "", broken: tuple[str, ...] = (), error: BaseException | None = None) -> None:
        self.name, self.broken, self.error = name, broken, error or ZeroDivisionError("plugin")
        self.seen: list[tuple[Any, ...]] = []

    def told(self, hook: str, *args: Any) -> None:
        self.seen.append((hook, *args))
        if hook in self.broken:
            raise self.error

    def on_enqueue(self, draft: Draft) -> None:
        self.told("on_enqueue", draft.task)
        draft.meta["by"] = self.name

    @contextmanager
    def around_attempt(self, job: Job) -> Iterator[None]:
        self.told("enter", job.id)
        tenant.set(job.meta.get("by", "nobody"))
        try:
            yield
        except BaseException as error:
            self.told("raised", type(error))
            raise
        finally:
            self.told("leave")

    @contextmanager
    def around_work(self, worker: Any) -> Iterator[None]:
        self.told("work")
        yield
        self.told("rest")

    def on_error(self, job: Job, error: BaseException) -> None:
        self.told("on_error", job.id, type(error))

    def on_failure(self, job: Job, error: BaseException) -> None:
        self.told("on_failure", job.id, type(error))


Opened = Callable[..., Jobs]


@pytest.mark.dj(83, 189, 202, 350)
def test_a_plugin_sees_a_success(sqlite_path: Path, opened: Opened) -> None:
    plugin = Recorder()
    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[plugin])
    job = double.enqueue(1)

    worked(jobs)

    assert plugin.seen == [
        ("on_enqueue", "tests.worker.tasks.double"),
        ("work",),
        ("enter", job.id),
        ("leave",),
        ("rest",),
    ]


@pytest.mark.dj(83, 162, 193, 201, 204, 205, 346)
def test_a_plugin_sees_a_failure_and_each_of_its_attempts(sqlite_path: Path, opened: Opened) -> None:
    plugin = Recorder()
    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[plugin])
    job = fails.using(max_attempts=2).enqueue()

    worked(jobs)
    due(job)
    worked(jobs)

    told = [entry for entry in plugin.seen if entry[0].startswith("on_") and entry[0] != "on_enqueue"]
    assert told == [
        ("on_error", job.id, Declined),
        ("on_error", job.id, Declined),
        ("on_failure", job.id, Declined),
    ]
    assert ("raised", Declined) in plugin.seen


@pytest.mark.dj(54)
def test_of_a_job_that_cannot_be_loaded_plugins_are_told_alone(
    sqlite_path: Path, opened: Opened, calls: list[Any]
) -> None:
    plugin = Recorder()
    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[plugin])
    job = enqueue(Custom())
    execute(jobs, "UPDATE belayed_jobs SET payload = 'null'")

    worked(jobs)

    assert states(job) == [State.FAILED]
    assert ("on_failure", job.id, BrokenPayload) in plugin.seen
    assert calls == []


@TASKS
def test_context_variables_of_a_plugin_reach_the_job(task: Any, sqlite_path: Path, opened: Opened, body: Body) -> None:
    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[Recorder("acme")])

    async def atenant() -> str:
        return tenant.get()

    job = task.enqueue(body(atenant if task is aact else tenant.get))

    worked(jobs)

    assert job.refresh().result == "acme"


@pytest.mark.dj(132, 192, 350)
@TASKS
def test_plugins_are_entered_in_order_and_left_in_the_opposite_one(
    task: Any, sqlite_path: Path, opened: Opened, body: Body
) -> None:
    order: list[str] = []

    class Named(Plugin):
        def __init__(self, name: str) -> None:
            self.name = name

        @contextmanager
        def around_attempt(self, job: Job) -> Iterator[None]:
            order.append(f"into {self.name}")
            yield
            order.append(f"out of {self.name}")

    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[Named("a"), Named("b")])

    async def nothing() -> None:
        pass

    task.enqueue(body(nothing if task is aact else lambda: None))

    worked(jobs)

    assert order == ["into a", "into b", "out of b", "out of a"]


@pytest.mark.dj(198, 356)
@TASKS
@pytest.mark.parametrize("hook", ["enter", "leave", "work", "rest"])
def test_around_hooks_that_raise_change_nothing(
    task: Any, hook: str, sqlite_path: Path, opened: Opened, body: Body, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[Recorder(broken=(hook,))])

    async def nothing() -> None:
        pass

    job = task.enqueue(body(nothing if task is aact else lambda: None))

    worked(jobs)

    assert states(job) == [State.SUCCEEDED]
    assert logged(caplog, "raised")


class NeverYields(Plugin):
    @contextmanager
    def around_attempt(self, job: Job) -> Iterator[None]:
        if job.id < 0:
            yield


class NoContext(Plugin):
    def around_attempt(self, job: Job) -> Any:
        return None


@pytest.mark.dj(194)
@pytest.mark.parametrize("plugin", [NeverYields, NoContext])
def test_a_job_runs_though_a_plugin_around_it_never_calls_it(
    plugin: type[Plugin], sqlite_path: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[plugin()])
    job = double.enqueue(1)

    worked(jobs)

    assert job.refresh().result == 2
    assert logged(caplog, "plugin hook around_attempt")


@pytest.mark.dj(195)
def test_a_plugin_around_attempts_hides_no_result_and_ends_no_run(sqlite_path: Path, opened: Opened) -> None:
    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[Recorder()])
    saved = [double.enqueue(number) for number in range(5)]

    summary = worked(jobs, threads=1)

    assert summary.succeeded == 5
    assert [job.refresh().result for job in saved] == [0, 2, 4, 6, 8]


@pytest.mark.dj(207, 208)
def test_a_worker_without_plugins_gives_its_jobs_back_all_the_same(lite: Jobs, body: Body) -> None:
    begun = threading.Event()

    def spin() -> None:
        begun.set()
        while True:
            pass

    job = act.enqueue(body(spin))
    with worker(lite, grace=timedelta()) as running:
        begun.wait(patient(10))

        running.stop()

    assert lite.plugins.all == ()
    assert (job.refresh().state, job.worker) == (State.READY, None)


@pytest.mark.parametrize("error", [ZeroDivisionError("plugin"), SystemExit(3)], ids=repr)
@pytest.mark.parametrize("hook", ["on_error", "on_failure"])
def test_notices_that_raise_change_nothing(
    hook: str, error: BaseException, sqlite_path: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[Recorder(broken=(hook,), error=error)])
    job, neighbour = fails.using(max_attempts=1).enqueue(), double.enqueue(1)

    worked(jobs, threads=1)

    assert states(job, neighbour) == [State.FAILED, State.SUCCEEDED]
    assert job.error == "tests.worker.tasks.Declined: no"
    assert logged(caplog, "raised")


def test_a_plugin_that_swallows_does_not_make_a_success_of_a_failure(sqlite_path: Path, opened: Opened) -> None:
    class Swallower(Plugin):
        @contextmanager
        def around_attempt(self, job: Job) -> Iterator[None]:
            try:
                yield
            except Exception:
                pass

    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[Swallower()])
    job = fails.using(max_attempts=1).enqueue()

    worked(jobs)

    assert states(job) == [State.FAILED]
