"""What a job is made of is loaded within what plugins are around it: a row of the tenant's, not of another's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from belayed import Cancel, Fail, Job, Outcome, Plugin, State, delay, enqueue
from belayed.jobs import Jobs
from belayed.testing import adrain, drain, inline
from tests.worker import tenants
from tests.worker.alone import Alone
from tests.worker.helpers import eventually, execute, states, worked
from tests.worker.tenants import ALetter, Letter, Person, Tenants, Watched, of
from tests.worker.tree import tree

Opened = Callable[..., Jobs]
APP = "tests.worker.tenants"
ADA = Person(1, "as it was")


@pytest.fixture
def plugin() -> Tenants:
    return Tenants()


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where hooks of all processes leave a line each time they are called."""
    path = tmp_path / "diary"
    path.touch()
    monkeypatch.setenv(tenants.DIARY, str(path))
    return path


@pytest.fixture
def jobs(url: str, opened: Opened, plugin: Tenants) -> Jobs:
    return opened(url, plugins=[plugin])


@pytest.fixture
def lite(sqlite_path: Path, opened: Opened, plugin: Tenants) -> Jobs:
    return opened(f"sqlite:///{sqlite_path}", plugins=[plugin])


def saved() -> dict[str, Job]:
    """A job of each kind, of the tenant that is current."""
    return {
        "task": tenants.name.enqueue(ADA),
        "async task": tenants.aname.enqueue(ADA),
        "function": delay(tenants.names)([ADA, Person(1, "twice")]),
        "async function": delay(tenants.anames)([ADA]),
        "method": delay(ADA).greet(),
        "async method": delay(ADA).agreet(),
        "handled method": ADA.wave(),
        "large": tenants.sized.enqueue(ADA, "x" * 20_000),
        "object": enqueue(Letter(ADA)),
        "async object": enqueue(ALetter(ADA)),
    }


def expected(name: str) -> dict[str, Any]:
    return {
        "task": name,
        "async task": name,
        "function": [name, name],
        "async function": [name],
        "method": f"Hello, {name}",
        "async method": f"Hello, {name}",
        "handled method": f"{name} waves",
        "large": f"{name} 20000",
        "object": name,
        "async object": name,
    }


def results(found: dict[str, Job]) -> dict[str, Any]:
    return {kind: job.refresh().result for kind, job in found.items()}


def test_arguments_and_objects_are_those_of_the_jobs_tenant(jobs: Jobs, plugin: Tenants, diary: Path) -> None:
    with of("acme"):
        acme = saved()
    with of("globex"):
        globex = saved()

    worked(jobs)

    assert results(acme) == expected("Ada")
    assert results(globex) == expected("Grace")
    # One entering for each attempt, also of those of which nobody knew that they are coroutines.
    assert sorted(plugin.entered) == sorted(job.id for job in (*acme.values(), *globex.values()))


@pytest.mark.parametrize("processes", [0, 1])
def test_so_they_are_in_a_worker_of_an_operators(jobs: Jobs, processes: int, diary: Path, tmp_path: Path) -> None:
    with of("acme"):
        acme = saved()
    with of("globex"):
        globex = saved()

    with tree(jobs, tmp_path / "log", "workoff", app=APP, wait=False, processes=processes) as one:
        code = one.ended(60)

    assert code == 0
    assert (results(acme), results(globex)) == (expected("Ada"), expected("Grace"))


@pytest.mark.parametrize("kind", [Letter, ALetter])
def test_all_hooks_of_an_object_are_called_within_the_plugins(kind: Any, lite: Jobs, diary: Path) -> None:
    with of("acme"):
        job = enqueue(kind(ADA, fail=True))

    worked(lite)

    assert states(job) == [State.FAILED]
    first = ["before", "perform", "error", "after", "reschedule_at"]
    last = ["before", "perform", "error", "after", "failure"]
    assert diary.read_text().split("\n")[:-1] == [f"{hook} Ada acme" for hook in (*first, *last)]


@pytest.mark.parametrize("drained", [True, False], ids=["drain", "inline"])
@pytest.mark.parametrize("draft", [tenants.name, tenants.aname, Letter, ALetter])
def test_so_they_are_where_a_job_runs_in_the_test_itself(draft: Any, drained: bool, lite: Jobs, diary: Path) -> None:
    def made() -> Any:
        return draft(ADA) if draft in (Letter, ALetter) else draft.draft(ADA)

    with of("acme"):
        if drained:
            job = enqueue(made())
        else:
            with inline(lite):
                job = enqueue(made())

    if drained:
        drain(jobs=lite)
        job.refresh()
    assert job.result == "Ada"


async def test_so_they_are_where_a_job_is_awaited_in_the_test_itself(lite: Jobs, diary: Path) -> None:
    with of("acme"):
        found = [await tenants.name.aenqueue(ADA), await tenants.aname.aenqueue(ADA)]

    await adrain(jobs=lite)

    assert [(await job.arefresh()).result for job in found] == ["Ada", "Ada"]


@pytest.mark.parametrize("task", [tenants.name, tenants.aname])
def test_a_plugin_sees_that_a_row_is_gone_and_the_job_counts_as_before(task: Any, lite: Jobs, plugin: Tenants) -> None:
    with of("globex"):
        job = task.using(max_attempts=1).enqueue(Person(2, "Alan"))

    worked(lite)

    assert (states(job), job.failures) == ([State.FAILED], 1)
    assert (job.error or "").startswith("belayed.errors.ObjectNotFound")
    assert plugin.left == ["ObjectNotFound"]


@pytest.mark.parametrize("size", [0, 20_000], ids=["small", "large"])
def test_the_rules_of_a_job_whose_row_is_gone_count(size: int, lite: Jobs) -> None:
    with of("globex"):
        job = tenants.forgotten.enqueue(Person(2, "Alan"), "x" * size)

    worked(lite)

    assert states(job) == [State.CANCELLED]


def test_of_a_payload_that_names_no_code_of_here_no_plugin_is_entered(lite: Jobs, plugin: Tenants) -> None:
    with of("acme"):
        broken, gone, lost = [tenants.name.enqueue(ADA) for _ in range(3)]
    execute(lite, f"UPDATE belayed_jobs SET payload = 'null' WHERE id = {broken.id}")
    for job, found in ((gone, "tests.worker.tenants:gone"), (lost, "tests.worker.nowhere:name")):
        payload = f'{{"v":1,"call":"{found}","args":[],"kwargs":{{}}}}'
        execute(lite, f"UPDATE belayed_jobs SET payload = '{payload}' WHERE id = {job.id}")

    worked(lite)

    assert plugin.entered == []
    assert states(broken, gone, lost) == [State.FAILED, State.SCHEDULED, State.SCHEDULED]


def test_a_method_that_turns_out_to_be_a_coroutine_enters_the_plugins_once(lite: Jobs, plugin: Tenants) -> None:
    with of("acme"):
        first, second = [delay(Person(3, "Dora")).greet() for _ in range(2)]

    worked(lite, threads=1)

    assert [job.refresh().result for job in (first, second)] == ["Dora dances"] * 2
    assert plugin.entered == [first.id, second.id]


@pytest.mark.parametrize("plugins", [[], [Tenants()]], ids=["no plugin", "plugin"])
def test_jobs_of_one_name_may_be_functions_and_coroutines(
    plugins: list[Plugin], sqlite_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tenants.ROWS, "public", tenants.ROWS["acme"])
    jobs = opened(f"sqlite:///{sqlite_path}", plugins=plugins)
    found = [delay(Person(id, "")).greet() for id in (3, 1, 3, 1, 1)]

    worked(jobs, threads=1)

    assert {job.task for job in found} == {"tests.worker.tenants.Person.greet"}
    assert [job.refresh().result for job in found] == [
        "Dora dances",
        "Hello, Ada",
        "Dora dances",
        "Hello, Ada",
        "Hello, Ada",
    ]


@pytest.mark.parametrize("plugins", [[], [Tenants()]], ids=["no plugin", "plugin"])
def test_a_function_that_was_taken_for_a_coroutine_runs_once_and_is_known_then(
    plugins: list[Plugin], sqlite_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tenants.ROWS, "public", tenants.ROWS["acme"])
    jobs = opened(f"sqlite:///{sqlite_path}", plugins=plugins)
    job = delay(ADA).greet()
    alone = Alone(jobs)
    alone.slots.demand.learn({job.task: True})

    alone.run_all()

    assert eventually(alone.ended) == [State.SUCCEEDED]
    assert alone.slots.demand.kinds[job.task] is False


@pytest.mark.parametrize("error", [Fail("no"), Cancel("no")], ids=["Fail", "Cancel"])
def test_what_a_plugin_has_ended_before_it_begins_is_not_loaded(
    error: Exception, sqlite_path: Path, opened: Opened, diary: Path
) -> None:
    class Gate(Plugin):
        @contextmanager
        def around_attempt(self, job: Job) -> Iterator[None]:
            raise error
            yield

    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[Tenants(), Gate()])
    with of("globex"):
        # Its row is not there: nobody is to find out.
        job = enqueue(Letter(Person(2, "Alan")))

    worked(jobs)

    assert states(job) == [State.CANCELLED if isinstance(error, Cancel) else State.FAILED]
    assert diary.read_text() == ""


@pytest.mark.parametrize("size", [1, 20_000], ids=["small", "large"])
def test_a_plugin_has_what_the_row_says_of_a_job(size: int, sqlite_path: Path, opened: Opened) -> None:
    seen: list[Any] = []

    class Looks(Plugin):
        @contextmanager
        def around_attempt(self, job: Job) -> Iterator[None]:
            seen.append((job.task, job.queue, job.meta, job.payload))
            yield

    jobs = opened(f"sqlite:///{sqlite_path}", plugins=[Tenants(), Looks()])
    with of("acme"):
        job = tenants.sized.enqueue(ADA, "x" * size)

    worked(jobs)

    assert seen == [("tests.worker.tenants.sized", "default", {"tenant": "acme"}, job.payload)]
    assert job.refresh().result == f"Ada {size}"


@pytest.mark.parametrize("task", [tenants.watched, tenants.awatched])
def test_what_loads_a_row_may_ask_for_the_job(task: Any, lite: Jobs) -> None:
    with of("acme"):
        job = task.enqueue(Watched(7))

    worked(lite)

    assert job.refresh().result == [7, "acme"]


class Endless(dict[int, str]):
    """Rows of which none is ever found."""

    def get(self, key: Any, default: Any = None) -> Any:
        while True:
            time.sleep(0.001)


def test_what_is_loaded_for_ever_is_stopped_within_the_plugins(
    lite: Jobs, plugin: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    with of("acme"):
        job = tenants.name.using(max_attempts=1, max_run_time=timedelta(seconds=0.1)).enqueue(ADA)
    monkeypatch.setitem(tenants.ROWS, "acme", Endless())

    worked(lite)

    assert [attempt.outcome for attempt in job.refresh().attempts] == [Outcome.TIMED_OUT]
    assert plugin.left == ["AttemptStopped"]
