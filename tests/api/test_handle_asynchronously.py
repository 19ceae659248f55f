"""`@handle_asynchronously`: functions and methods whose calls are enqueued."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from belayed import Job, State, handle_asynchronously, task
from belayed.errors import ConfigError, NotImportable

ran: list[object] = []
"""What jobs have done."""


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


@dataclass
class User:
    id: int

    @handle_asynchronously(queue="activations", priority=lambda self: self.id * 10)
    def activate(self, device: str, *, twice: bool = False) -> str:
        """Let a device in."""
        ran.append(("activate", self.id, device))
        return f"{self.id} {device}{' twice' if twice else ''}"

    @handle_asynchronously
    def greet(self) -> str:
        ran.append(("greet", self.id))
        return "hello"

    @handle_asynchronously
    def greet_and_activate(self, other: User | None = None) -> list[str]:
        ran.append(("greet_and_activate", self.id))
        return [type(one).__name__ for one in (self.greet(), (other or User(self.id)).greet_and_activate.draft(self))]

    @handle_asynchronously
    def pass_on(self, to: User | None) -> None:
        ran.append(("pass_on", self.id))
        if to is not None:
            to.pass_on(None)

    @handle_asynchronously(queue=lambda cls: cls.__name__.lower())
    @classmethod
    def imported(cls, file: str) -> str:
        return f"{cls.__name__} from {file}"

    @handle_asynchronously(queue=lambda: "static")
    @staticmethod
    def counted(names: list[str]) -> int:
        return len(names)

    @handle_asynchronously(queue="co")
    async def notify(self, text: str) -> str:
        await asyncio.sleep(0)
        return f"{self.id} {text}"

    @handle_asynchronously
    @classmethod
    async def anotify(cls, text: str) -> str:
        return f"{cls.__name__} {text}"

    @classmethod
    @handle_asynchronously
    def class_below(cls, number: int) -> str:
        return f"{cls.__name__} {number}"

    @staticmethod
    @handle_asynchronously
    def static_below(number: int) -> int:
        return number


@dataclass
class Admin(User):
    @handle_asynchronously(queue="admins")
    def activate(self, device: str, *, twice: bool = False) -> Any:
        ran.append(("admin", self.id))
        return f"admin {super().activate(device, twice=twice)}"

    def greet(self) -> Any:
        ran.append(("admin greets", self.id))
        return f"{super().greet()}, admin"

    @handle_asynchronously
    async def notify(self, text: str) -> Any:
        return f"admin {await super().notify(text)}"


class OldStyle(User):
    @handle_asynchronously
    def activate(self, device: str, *, twice: bool = False) -> Any:
        return f"old {User.activate(self, device)}"


class OwnName(User):
    @handle_asynchronously
    def leave(self) -> int:
        return 1

    def leave_without_delay(self) -> str:
        return "its own"


@handle_asynchronously(queue="low")
def tidy(folder: str) -> str:
    """Tidy up."""
    ran.append(("tidy", folder))
    return f"tidied {folder}"


@handle_asynchronously
def countdown(number: int) -> str:
    ran.append(("countdown", number))
    return type(countdown(number - 1)).__name__ if number else "done"


@handle_asynchronously
async def acountdown(number: int) -> None:
    ran.append(("acountdown", number))
    if number:
        await acountdown(number - 1)


async def enqueue_countdown(function: Any, number: int) -> None:
    await function(number)


def loud(function: Callable[[int], Any]) -> Callable[[int], Any]:
    @functools.wraps(function)
    def inner(number: int) -> Any:
        ran.append("decorator")
        return function(number)

    return inner


@loud
@handle_asynchronously
def shouted(number: int) -> None:
    ran.append(("body", number))
    if number > 1:
        shouted(number - 1)


@handle_asynchronously
async def atidy(folder: str) -> str:
    await asyncio.sleep(0)
    return f"tidied {folder} gently"


@pytest.mark.dj(12, 14, 15, 19)
def test_calling_a_method_enqueues_it_and_the_worker_runs_the_body(each_jobs, work_off):
    job = User(7).activate("phone", twice=True)
    before = list(ran)

    work_off(each_jobs)

    assert (before, ran) == ([], [("activate", 7, "phone")])
    assert isinstance(job, Job)
    assert (job.queue, job.priority, job.task) == ("activations", 70, f"{__name__}.User.activate")
    assert job.refresh().result == "7 phone twice"


@pytest.mark.dj(12, 18)
def test_calling_a_function_enqueues_it_and_the_worker_runs_the_body(each_jobs, work_off):
    job = tidy("/tmp")

    work_off(each_jobs)

    assert (job.queue, job.task, job.refresh().result) == ("low", f"{__name__}.tidy", "tidied /tmp")


@pytest.mark.dj(12, 15, 18)
@pytest.mark.parametrize(
    ("call", "queue", "result"),
    [
        (lambda: User.imported("a.csv"), "user", "User from a.csv"),
        (lambda: User(1).imported("a.csv"), "user", "User from a.csv"),
        (lambda: Admin.imported("a.csv"), "admin", "Admin from a.csv"),
        (lambda: User.counted(["a", "b"]), "static", 2),
        (lambda: User(1).counted(["a", "b"]), "static", 2),
        (lambda: User.activate(User(1), "phone"), "activations", "1 phone"),
    ],
    ids=["class", "object's class", "subclass", "static", "object's static", "unbound"],
)
def test_methods_are_enqueued_however_they_are_reached(jobs, work_off, call, queue, result):
    job = call()

    work_off(jobs)

    assert (job.queue, job.refresh().result) == (queue, result)


@pytest.mark.dj(17)
@pytest.mark.parametrize(
    ("call", "result"),
    [
        (lambda: User(1).notify("hi"), "1 hi"),
        (lambda: User.anotify("hi"), "User hi"),
        (lambda: User.notify(User(2), "hi"), "2 hi"),
        (lambda: atidy("/tmp"), "tidied /tmp gently"),
    ],
    ids=["method", "class method", "unbound", "function"],
)
def test_awaiting_a_coroutine_functions_call_enqueues_it(each_jobs, work_off, call, result):
    async def awaited() -> Job:
        job = await call()
        await each_jobs.aclose()
        return job

    job = asyncio.run(awaited())

    work_off(each_jobs)

    assert job.refresh().result == result


@pytest.mark.dj(13, 276)
def test_now_runs_the_body_here():
    values = [
        User(7).activate.now("phone", twice=True),
        User(7).activate_without_delay("tablet"),
        User.activate.now(User(8), "watch"),
        User.imported.now("a.csv"),
        Admin.imported_without_delay("a.csv"),
        User(1).counted.now(["a"]),
        User.counted_without_delay(["a"]),
        tidy.now("/tmp"),
    ]

    assert values == [
        "7 phone twice",
        "7 tablet",
        "8 watch",
        "User from a.csv",
        "Admin from a.csv",
        1,
        1,
        "tidied /tmp",
    ]


def test_now_of_a_coroutine_function_is_its_coroutine():
    values = [
        asyncio.run(coroutine)
        for coroutine in (
            User(1).notify.now("hi"),
            User(1).notify_without_delay("hi"),
            atidy.now("/"),
            User.anotify.now("hi"),
        )
    ]

    assert values == ["1 hi", "1 hi", "tidied / gently", "User hi"]


@pytest.mark.dj(13)
def test_a_method_without_delay_that_is_there_already_is_left_alone():
    assert OwnName(1).leave_without_delay() == "its own"


@pytest.mark.dj(17)
def test_a_decorated_function_looks_like_the_function():
    assert (tidy.__name__, tidy.__doc__) == ("tidy", "Tidy up.")
    assert (User.activate.__name__, User.activate.__doc__) == ("activate", "Let a device in.")
    assert repr(tidy) == f"<{__name__}.tidy, handled asynchronously>"
    assert repr(User(1).activate) == "<a User.activate, handled asynchronously>"


@pytest.mark.dj(14, 20)
def test_a_decorated_override_is_honoured_and_its_super_call_runs_the_body(jobs, work_off):
    job = Admin(7).activate("phone")

    work_off(jobs)

    assert (job.queue, job.refresh().result) == ("admins", "admin 7 phone")
    assert ran == [("admin", 7), ("activate", 7, "phone")]
    assert jobs.find(states=[State.READY]) == []


@pytest.mark.dj(20)
def test_a_plain_override_is_honoured_and_its_super_call_runs_the_body(jobs, work_off):
    enqueued_by_super = Admin(7).greet()
    ran.clear()

    work_off(jobs)

    job = jobs.get(1)
    assert enqueued_by_super == f"{job!r}, admin".replace("succeeded", "ready")
    assert job.result == "hello, admin"
    assert ran == [("admin greets", 7), ("greet", 7)]
    assert len(jobs.find()) == 1


def test_a_coroutine_override_may_await_super(jobs, work_off):
    async def awaited() -> Job:
        return await Admin(7).notify("hi")

    job = asyncio.run(awaited())

    work_off(jobs)

    assert job.refresh().result == "admin 7 hi"
    assert len(jobs.find()) == 1


def test_an_override_may_call_its_base_class_by_name(jobs, work_off):
    job = OldStyle(7).activate("phone")

    work_off(jobs)

    assert job.refresh().result == "old 7 phone"
    assert len(jobs.find()) == 1


def test_within_an_attempt_another_method_of_the_object_is_enqueued(jobs, work_off):
    User(7).greet_and_activate()

    work_off(jobs)

    assert ran == [("greet_and_activate", 7), ("greet", 7)]
    assert len(jobs.find()) == 2


def test_within_an_attempt_the_method_of_another_object_is_enqueued(jobs, work_off):
    User(7).pass_on(User(7))

    work_off(jobs)

    assert ran == [("pass_on", 7), ("pass_on", 7)]
    assert len(jobs.find()) == 2


@pytest.mark.dj(14)
def test_a_function_that_calls_itself_is_enqueued_again(jobs, work_off):
    job = countdown(2)

    work_off(jobs)

    assert ran == [("countdown", 2), ("countdown", 1), ("countdown", 0)]
    assert job.refresh().result == "Job"
    assert len(jobs.find()) == 3


def test_a_coroutine_function_that_calls_itself_is_enqueued_again(jobs, work_off):
    asyncio.run(enqueue_countdown(acountdown, 2))

    work_off(jobs)

    assert ran == [("acountdown", 2), ("acountdown", 1), ("acountdown", 0)]
    assert len(jobs.find()) == 3


def test_a_decorator_above_runs_once_and_the_body_with_it(jobs, work_off):
    shouted(2)

    work_off(jobs)

    # The first call of the decorated function is the enqueue.
    assert ran == ["decorator", "decorator", ("body", 2), "decorator", "decorator", ("body", 1)]
    assert len(jobs.find()) == 2


def test_functions_have_what_methods_have(jobs, work_off):
    async def enqueued() -> list[Job]:
        return [await tidy.aenqueue("/c"), await User(1).greet.aenqueue(), await atidy.enqueue("/d")]

    drafted = jobs.enqueue_many([tidy.draft("/a"), atidy.draft("/b"), User.greet.draft(User(1))])
    found = [*drafted, tidy.enqueue("/b"), *asyncio.run(enqueued())]

    work_off(jobs)

    assert {job.queue for job in found if job.task == f"{__name__}.tidy"} == {"low"}
    assert [job.refresh().result for job in found] == [
        "tidied /a",
        "tidied /b gently",
        "hello",
        "tidied /b",
        "tidied /c",
        "hello",
        "tidied /d gently",
    ]


def test_a_wrong_call_is_refused_when_it_is_enqueued(jobs):
    calls: list[Callable[[], Any]] = [
        lambda: User(1).activate(),
        lambda: User(1).activate("phone", "tablet"),
        User.imported,
        User.counted,
        tidy,
        User.activate,
    ]

    for call in calls:
        with pytest.raises(TypeError, match=r"missing a required argument|too many positional arguments"):
            call()

    assert jobs.find() == []


def test_a_local_function_is_refused_when_it_is_enqueued(jobs):
    @handle_asynchronously
    def local(): ...

    with pytest.raises(NotImportable, match="move it to the top level of its module"):
        local()


@pytest.mark.parametrize("subject", [3, print, User, tidy], ids=["value", "builtin", "class", "twice"])
def test_what_is_no_function_is_refused_at_its_decoration(subject):
    with pytest.raises(ConfigError, match="@handle_asynchronously takes a function or method, not"):
        handle_asynchronously(subject)


def test_a_task_and_a_handled_function_do_not_wrap_each_other():
    with pytest.raises(ConfigError, match=r"@task takes a function, not <.*tidy, handled asynchronously>"):
        task(tidy)


@pytest.mark.dj(12)
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="a class method hands its class to no descriptor any more")
def test_below_classmethod_it_works_before_python_3_13(jobs, work_off):
    job = User.class_below(3)

    work_off(jobs)

    assert job.refresh().result == "User 3"


@pytest.mark.dj(12)
@pytest.mark.skipif(sys.version_info < (3, 13), reason="it works")
def test_below_classmethod_it_is_refused_with_the_fix_from_python_3_13(jobs):
    with pytest.raises(ConfigError, match=r"User.class_below: write @handle_asynchronously above @classmethod"):
        User.class_below(3)


@pytest.mark.parametrize("call", [User.static_below, User.static_below.now], ids=["call", "now"])
def test_below_staticmethod_it_is_refused_with_the_fix(jobs, call):
    with pytest.raises(
        ConfigError, match=r"static_below: write @handle_asynchronously above .* or @staticmethod, not below"
    ):
        call(3)
