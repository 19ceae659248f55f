"""Tasks for the tests of the worker, in a module that other processes can import."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from belayed import Job, current_job, register_reference, task
from belayed.errors import ObjectNotFound
from tests.patience import patient

bodies: dict[str, Callable[..., Any]] = {}
"""What `act` and `aact` run, by name: the tests' own functions, in this process."""
calls: list[Any] = []
"""What the hooks of custom jobs were called with, in order."""


@task
def act(name: str, *args: Any) -> Any:
    return bodies[name](*args)


@task
async def aact(name: str, *args: Any) -> Any:
    return await bodies[name](*args)


@task
def double(number: Any) -> Any:
    return number * 2


@task
async def adouble(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@task
def note(path: str, text: str = "ran") -> None:
    """An effect that can be counted: one line, however many processes write."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)


@task
def note_and_wait(path: str, seconds: float = 60, text: str = "ran") -> None:
    """An effect, and then a wait that can be stopped."""
    note(path, text)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)


@task
def sleep_in_c(path: str, seconds: float) -> None:
    """An effect, and then one call that nothing can stop."""
    note(path)
    time.sleep(seconds)


@task
async def anote_and_wait(path: str, seconds: float = 60) -> None:
    note(path)
    await asyncio.sleep(seconds)


@task
def enqueues(path: str) -> int:
    """A job that enqueues another."""
    return note.enqueue(path).id


class Declined(Exception):
    pass


class Gone(Exception):
    pass


def one_minute_each(failures: int) -> timedelta:
    return timedelta(minutes=failures)


def no_time(failures: int) -> timedelta:
    raise ZeroDivisionError("no time")


@task
def fails() -> None:
    raise Declined("no")


@task(backoff=timedelta(seconds=40))
def fails_with_one_wait() -> None:
    raise Declined("no")


@task(backoff=[timedelta(seconds=10), timedelta(seconds=20)])
def fails_with_waits() -> None:
    raise Declined("no")


@task(backoff=one_minute_each)
def fails_with_function() -> None:
    raise Declined("no")


@task(backoff=no_time)
def fails_with_broken_function() -> None:
    raise Declined("no")


@task(backoff=timedelta.max)
def fails_for_ever() -> None:
    raise Declined("no")


@task(backoff=timedelta())
def fails_at_once() -> None:
    raise Declined("no")


@task(retry_on=OSError, discard_on=Gone)
def raises(kind: str) -> None:
    raise {"OSError": OSError, "Gone": Gone, "Declined": Declined}[kind](kind)


@task(retry_on=OSError, max_run_time=timedelta(seconds=0.1))
def too_long() -> None:
    while True:
        time.sleep(0.001)


@task(retry_on=OSError, max_run_time=timedelta(seconds=0.1))
async def atoo_long() -> None:
    await asyncio.sleep(60)


@task(max_attempts=7)
def seven() -> None:
    raise Declined("no")


@task
def grown(number: int) -> None:
    """Tests save jobs for it whose arguments do not fit."""


@dataclass
class Custom:
    """A job whose hooks say when they are called; those named in *broken* raise."""

    fail: bool = False
    broken: tuple[str, ...] = ()
    max_attempts: ClassVar = 2

    def called(self, hook: str, *args: Any) -> None:
        calls.append((hook, *args))
        if hook in self.broken:
            raise ZeroDivisionError(hook)

    def before(self, job: Job) -> None:
        self.called("before", job.id)

    def perform(self) -> str:
        self.called("perform", current_job().id)
        if self.fail:
            raise Declined("no")
        return "done"

    def success(self, job: Job) -> None:
        self.called("success", job.id)

    def error(self, job: Job, error: BaseException) -> None:
        self.called("error", job.id, type(error).__name__)

    def failure(self, job: Job) -> None:
        self.called("failure", job.id)

    def after(self) -> None:
        self.called("after")

    def reschedule_at(self, now: datetime, failures: int) -> datetime:
        self.called("reschedule_at", failures)
        return now + timedelta(seconds=100 * failures)


@dataclass
class CustomAsync(Custom):
    async def perform(self) -> str:  # type: ignore[override]
        return Custom.perform(self)


@dataclass
class Exits(Custom):
    """A job whose hooks do worse than fail."""

    def called(self, hook: str, *args: Any) -> None:
        calls.append((hook, *args))
        if hook in self.broken:
            raise SystemExit(hook)


class Row:
    """What travels as a reference; its key says what happens when it is loaded again."""

    def __init__(self, key: str) -> None:
        self.key = key

    def shown(self) -> str:
        calls.append(self.key)
        return self.key


def load_row(key: str) -> Row | None:
    if key == "unprintable":
        raise Unprintable
    if key == "exit":
        raise SystemExit(3)
    if key == "unreachable":
        raise ConnectionError("the database of the rows is down")
    if key == "slow":
        deadline = time.monotonic() + patient(30)
        while time.monotonic() < deadline:
            time.sleep(0.001)
    return None if key == "gone" else Row(key)


register_reference(Row, name="worker.row", key=lambda row: row.key, load=load_row)


@task(discard_on=ObjectNotFound)
def reads_or_forgets(row: Row) -> None: ...


@task(retry_on=ConnectionError)
def reads_or_fails(row: Row) -> None: ...


@dataclass
class Forgetful:
    row: Row
    discard_on: ClassVar[type[Exception]] = ObjectNotFound

    def perform(self) -> None: ...


@task
def takes_all(password_hash: str, name: str, **more: Any) -> None:
    """Some of its arguments are secrets by their names."""


@task
def takes_secrets(name: str, *secrets: Any) -> None:
    """What follows the name is secret."""


@task
def takes_any(value: Any) -> None:
    """Its argument may be anything."""


@dataclass
class Keeper:
    secret: str

    def keep(self, password: str) -> None:
        """A method whose argument is a secret by its name."""


@task
def reads(row: Row) -> str:
    calls.append(row.key)
    return row.key


class Plain:
    """A class without perform()."""


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError("no text")

    __repr__ = __str__


class Unspeakable(Exception):
    """Its text is not only missing: asking for it ends the program."""

    def __str__(self) -> str:
        raise SystemExit("no text")

    __repr__ = __str__


@dataclass
class Unreadable:
    """A result whose field raises when the codec looks at it."""

    number: int


def no_number(_self: object) -> int:
    raise ZeroDivisionError("no number")


Unreadable.number = property(no_number)  # type: ignore[assignment]


@task
def returns_unreadable() -> Unreadable:
    return object.__new__(Unreadable)


@task
def stamp() -> datetime:
    return datetime.now(UTC)
