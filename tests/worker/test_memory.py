"""What the functions of a job held is freed when its attempt has ended, also by an error."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from weakref import WeakSet

import pytest

from belayed import Cancel, Fail, Retry, task
from belayed.jobs import Jobs
from tests.worker.helpers import worked

alive: WeakSet[Held] = WeakSet()


class Held:
    """As much memory as a job may hold."""

    def __init__(self) -> None:
        alive.add(self)


class Odd(Exception):
    """An error whose attributes are not what they are called."""

    __traceback__ = property(lambda self: None)  # type: ignore[assignment]
    __class__ = property(lambda self: 1 / 0)  # type: ignore[assignment]


def plainly() -> None:
    held = Held()
    raise ValueError(f"with {held}")


def from_a_cause() -> None:
    held = Held()
    try:
        plainly()
    except ValueError as error:
        raise KeyError(f"with {held}") from error


def in_a_handler() -> None:
    held = Held()
    try:
        plainly()
    except ValueError:
        raise KeyError(f"with {held}")  # noqa: B904 (that is the point)


def kept() -> None:
    """An error that the function that raises it holds."""
    held, found = Held(), None
    try:
        plainly()
    except ValueError as error:
        found = error
    if found is not None and held:
        raise found


def in_a_group() -> None:
    held, errors = Held(), []
    for function in (plainly, from_a_cause):
        try:
            function()
        except Exception as error:
            errors.append(error)
    raise ExceptionGroup(f"with {held}", [ExceptionGroup("inner", errors)])


def oddly() -> None:
    held = Held()
    raise Odd(f"with {held}")


def purposely(error: Any) -> Callable[[], None]:
    def raises() -> None:
        held = Held()
        raise error(f"with {held}")

    return raises


def too_long() -> None:
    held = Held()
    while held:
        time.sleep(0.001)


async def atoo_long() -> None:
    held = Held()
    while held:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def in_a_task_group() -> None:
    held = Held()
    async with asyncio.TaskGroup() as group:
        group.create_task(awaits())
        group.create_task(asyncio.sleep(600 if held else 0))


async def awaits() -> None:
    held = Held()
    await asyncio.sleep(0)
    raise ValueError(f"with {held}")


WAYS: dict[str, Callable[[], Any]] = {
    **{one.__name__: one for one in (plainly, from_a_cause, in_a_handler, kept, in_a_group, oddly)},
    **{error.__name__: purposely(error) for error in (Retry, Cancel, Fail, SystemExit)},
}
SYNC = WAYS | {"too_long": too_long}
ASYNC = WAYS | {one.__name__: one for one in (atoo_long, in_a_task_group, awaits)}


@task(max_attempts=1, max_run_time=timedelta(seconds=0.2))
def ends(way: str) -> None:
    SYNC[way]()


@task(max_attempts=1, max_run_time=timedelta(seconds=0.2))
async def aends(way: str) -> None:
    if (found := ASYNC[way]()) is not None:
        await found


@pytest.fixture
def no_gc() -> Iterator[None]:
    gc.collect()
    alive.clear()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_gc")
@pytest.mark.parametrize(("task", "way"), [*((ends, way) for way in SYNC), *((aends, way) for way in ASYNC)])
def test_an_attempt_that_has_failed_holds_nothing(task: Any, way: str, lite: Jobs) -> None:
    job = task.enqueue(way)

    worked(lite, threads=1)

    assert job.refresh().attempt == 1
    assert job.attempts[0].outcome != "succeeded"
    assert len(alive) == 0
