"""`@task`: functions that can be run later."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

import belayed
from belayed import Job, State, Task, handle_asynchronously, task
from belayed.errors import ConfigError, NotImportable, OptionError
from belayed.payload import registry

ran: list[object] = []
"""What jobs have done."""


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


@task
def send(user_id: int, subject: str = "Hi") -> str:
    """Send a mail."""
    ran.append((user_id, subject))
    return f"{subject} {user_id}"


@task(queue="mail", priority=-3, max_attempts=5, max_run_time=timedelta(minutes=1), keep_failed=False)
def send_soon(user_id: int) -> None: ...


@task(name="tests.renamed", aliases=["tests.old_name", "tests.older_name"])
def renamed(number: int) -> int:
    return number * 2


@task
async def fetch(url: str) -> str:
    await asyncio.sleep(0)
    return url.upper()


@task
def collect(*names: str, loudly: bool = False, **more: int) -> list[object]:
    return [names, loudly, more]


def ordinary(number: int = 1) -> int:
    return number


levels = iter(range(100))


@task(priority=lambda: next(levels), queue=lambda: "called")
def levelled() -> None: ...


@pytest.mark.dj(276)
def test_a_plain_call_runs_the_function_here():
    value = send(1, subject="Hello")

    assert value == "Hello 1"
    assert ran == [(1, "Hello")]


def test_a_task_looks_like_its_function():
    assert isinstance(send, Task)
    assert (send.__name__, send.__doc__, send.__module__) == ("send", "Send a mail.", __name__)
    assert repr(send) == f"<Task {__name__}.send>"


@pytest.mark.dj(354)
def test_a_job_of_a_task_runs_it_with_its_arguments(each_jobs, do, work_off):
    job = do(send, "enqueue", 7, subject="Welcome")

    work_off(each_jobs)

    assert ran == [(7, "Welcome")]
    assert do(job, "refresh").result == "Welcome 7"


@pytest.mark.dj(60, 62, 120, 129, 280)
def test_a_new_job_is_ready_and_has_the_defaults(each_jobs, do):
    job = do(send, "enqueue", 1)

    assert isinstance(job, Job)
    assert (job.state, job.queue, job.priority, job.attempt) == (State.READY, "default", 0, 0)
    assert job.task == f"{__name__}.send"
    assert (job.max_attempts, job.max_run_time, job.keep_failed) == (None, None, None)


@pytest.mark.dj(261, 264)
def test_what_enqueue_returns_is_what_the_store_has(each_jobs, do):
    job = do(send_soon.using(run_at=timedelta(hours=1)), "enqueue", 1)

    saved = do(each_jobs, "get", job.id)

    names = [name for name in Job.__slots__ if name != "jobs"]
    assert {name: getattr(job, name) for name in names} == {name: getattr(saved, name) for name in names}


@pytest.mark.dj(279)
def test_options_of_the_task_are_those_of_its_jobs(each_jobs):
    job = send_soon.enqueue(1)

    assert (job.queue, job.priority, job.max_attempts) == ("mail", -3, 5)
    assert (job.max_run_time, job.keep_failed) == (timedelta(minutes=1), False)


@pytest.mark.dj(59, 275)
def test_using_changes_options_of_this_use_alone(jobs):
    hasty = send_soon.using(priority=-10, queue="hasty")

    assert (hasty.enqueue(1).priority, hasty.enqueue(1).queue, hasty.enqueue(1).max_attempts) == (-10, "hasty", 5)
    assert send_soon.enqueue(1).priority == -3
    assert hasty.using(priority=1).enqueue(1).queue == "hasty"
    assert hasty(1) is None


@pytest.mark.dj(261, 275, 354)
@pytest.mark.parametrize("way", ["timedelta", "datetime"])
def test_a_job_for_later_is_scheduled(each_jobs, way):
    hour = timedelta(hours=1)

    job = send.using(run_at=hour if way == "timedelta" else datetime.now(UTC) + hour).enqueue(1)

    left = job.run_at - datetime.now(UTC)
    assert job.state is State.SCHEDULED
    assert timedelta(minutes=59) < left < timedelta(minutes=61)


@pytest.mark.dj(1)
def test_delay_is_another_name_of_enqueue(jobs):
    job = send.delay(1)

    assert job.refresh().task == f"{__name__}.send"


async def test_adelay_is_another_name_of_aenqueue(jobs):
    job = await send.adelay(1)

    assert (await job.arefresh()).task == f"{__name__}.send"


def test_a_draft_is_not_saved_until_it_is_enqueued(jobs, do):
    draft = send.draft(1)
    before = jobs.find()

    job = do(belayed, "enqueue", draft)

    assert before == []
    assert jobs.find() == [job]


def test_a_coroutine_function_is_a_task(each_jobs, do, work_off):
    job = do(fetch, "enqueue", "https://example.org")

    work_off(each_jobs)

    assert do(job, "refresh").result == "HTTPS://EXAMPLE.ORG"
    assert asyncio.run(fetch("x")) == "X"


@pytest.mark.dj(10, 356)
def test_arguments_of_every_kind_arrive(jobs, work_off):
    job = collect.enqueue("a", "b", loudly=True, one=1)

    work_off(jobs)

    assert job.refresh().result == [("a", "b"), True, {"one": 1}]


@pytest.mark.parametrize(
    ("args", "kwargs", "complaint"),
    [
        ((), {}, "missing a required argument: 'user_id'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"user_id": 2}, "multiple values for argument 'user_id'"),
        ((1,), {"subjekt": 2}, "got an unexpected keyword argument 'subjekt'"),
    ],
)
def test_a_wrong_call_is_refused_when_it_is_enqueued(jobs, do, args, kwargs, complaint):
    with pytest.raises(TypeError, match=rf"tests\.api\.test_tasks\.send\(user_id: .*\) -> .*: {complaint}"):
        do(send, "enqueue", *args, **kwargs)

    assert jobs.find() == []


@pytest.mark.dj(15, 279)
def test_callable_options_are_called_for_each_job(jobs):
    first, second = levelled.enqueue(), levelled.enqueue()

    assert second.priority == first.priority + 1
    assert first.queue == "called"


@pytest.mark.dj(5, 69, 163)
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"quue": "mail"}, "unknown option 'quue': there are queue, priority, run_at"),
        ({"queue": 3}, "queue=3: a queue's name is a text of 1 to 255 characters"),
        ({"priority": 1.5}, r"priority=1\.5: it takes a whole number"),
        ({"priority": True}, "priority=True: it takes a whole number"),
        ({"priority": 2**31}, "it takes a whole number from -2147483648 to 2147483647"),
        ({"run_at": 60}, "run_at=60: it takes an aware datetime, or a timedelta from now"),
        ({"run_at": datetime(2030, 1, 1)}, "has no time zone: write datetime.now"),  # noqa: DTZ001
        ({"max_attempts": 0}, "max_attempts=0: it takes a whole number of 1 or more"),
        ({"max_run_time": 60}, "max_run_time=60: it takes a timedelta above 0, such as"),
        ({"keep_failed": "yes"}, "keep_failed='yes': it takes True or False"),
    ],
)
@pytest.mark.parametrize("place", ["task", "using", "handle_asynchronously", "delay", "enqueue"])
def test_a_wrong_option_is_refused_where_it_is_written(jobs, options, complaint, place):
    writes = {
        "task": lambda: task(**options)(ordinary),
        "using": lambda: send.using(**options),
        "handle_asynchronously": lambda: handle_asynchronously(**options),
        "delay": lambda: belayed.delay(ordinary, **options),
        "enqueue": lambda: belayed.enqueue(send.draft(1), **options),
    }

    with pytest.raises(OptionError, match=complaint):
        writes[place]()


def test_what_a_callable_option_returns_is_checked_at_each_enqueue(jobs):
    hopeful = send.using(queue=lambda: "")

    with pytest.raises(OptionError, match="queue='': a queue's name"):
        hopeful.enqueue(1)


def test_a_job_knows_its_task_by_its_own_name(jobs):
    job = renamed.enqueue(2)

    assert job.task == "tests.renamed"
    assert json.loads(job.payload)["task"] == "tests.renamed"


@pytest.mark.dj(224)
@pytest.mark.parametrize("old", ["tests.old_name", "tests.older_name"])
def test_a_job_saved_under_an_old_name_still_runs(jobs, work_off, old):
    draft = renamed.draft(21)
    draft.payload.name, draft.payload.ref = old, "tests.gone:gone"
    job = jobs.enqueue(draft)

    work_off(jobs)

    assert job.refresh().result == 42


def test_two_tasks_of_one_name_are_refused():
    with pytest.raises(
        ConfigError, match=r"two tasks are called 'tests.renamed': .*:renamed and .*:ordinary; give one"
    ):
        task(name="tests.renamed")(ordinary)

    assert registry["tests.renamed"] is renamed


def test_an_alias_that_is_in_use_is_refused_and_nothing_is_registered():
    with pytest.raises(ConfigError, match=r"two tasks are called 'tests\.old_name'"):
        task(name="tests.new", aliases=["tests.old_name"])(ordinary)

    assert "tests.new" not in registry


def test_a_module_may_be_imported_again(tmp_path, monkeypatch):
    path = tmp_path / "again.py"
    path.write_text("from belayed import task\n@task(name='tests.again')\ndef again(): return 1\n")

    def imported():
        spec = importlib.util.spec_from_file_location("again", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "again", module)
        spec.loader.exec_module(module)
        return module

    first, second = imported(), imported()

    assert first.again is not second.again
    assert registry["tests.again"] is second.again


def test_a_method_is_refused_at_its_decoration():
    with pytest.raises(ConfigError, match=r"@task on the method .*User\.notify: .* @handle_asynchronously"):

        class User:
            @task
            def notify(self): ...


@pytest.mark.parametrize(
    ("subject", "advice"),
    [
        (classmethod(ordinary), "for methods there is @handle_asynchronously"),
        (staticmethod(ordinary), "write @staticmethod above @task"),
        (Task, "for its methods there is @handle_asynchronously"),
        (print, "write one that calls it, def name(…)"),
        (functools.partial(ordinary, 1), "write one that calls it, def name(…)"),
        (3, "options go by their names, @task(queue=…)"),
    ],
    ids=["class method", "static method", "class", "builtin", "partial", "value"],
)
def test_what_is_no_function_is_refused_at_its_decoration(subject, advice):
    with pytest.raises(ConfigError, match=r"^@task takes a function, not .*: ") as raised:
        task(subject)

    assert str(raised.value).endswith(f": {advice}")


class Namespace:
    @staticmethod
    @task
    def tidy(number: int) -> None:
        ran.append(number)


def test_a_static_method_may_be_a_task_within(jobs, work_off):
    job = Namespace.tidy.enqueue(3)
    work_off(jobs)

    assert ran == [3]
    assert job.task == f"{__name__}.Namespace.tidy"


@pytest.mark.dj(11)
def test_a_lambda_is_refused_when_it_is_enqueued(jobs):
    tripled = task(lambda x: 3 * x)

    with pytest.raises(NotImportable, match=r"a worker cannot import a lambda; write a function: def name\(…\)"):
        tripled.enqueue(1)


def test_a_local_function_is_refused_when_it_is_enqueued(jobs):
    @task
    def local(): ...

    with pytest.raises(NotImportable, match=r"local is defined inside a function, .*; move it to the top level"):
        local.enqueue()
