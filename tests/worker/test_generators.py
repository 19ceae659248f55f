"""A call of a generator function runs none of its code: such jobs would succeed and do nothing."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from belayed import State, delay, enqueue, handle_asynchronously, task
from belayed.errors import ConfigError, OptionError
from belayed.jobs import Jobs
from tests.worker.helpers import worked

ran: list[str] = []


def yields() -> Iterator[int]:
    ran.append("yields")
    yield 1


async def ayields() -> AsyncIterator[int]:
    yield 1


class Service:
    def pages(self) -> Iterator[int]:
        yield 1

    async def apages(self) -> AsyncIterator[int]:
        yield 1

    @classmethod
    def of_class(cls) -> Iterator[int]:
        yield 1

    @staticmethod
    def of_none() -> Iterator[int]:
        yield 1


class Export:
    def perform(self) -> Iterator[int]:
        yield 1


class AsyncExport:
    async def perform(self) -> AsyncIterator[int]:
        yield 1


@pytest.mark.parametrize("decorator", [task, handle_asynchronously], ids=["task", "handle_asynchronously"])
@pytest.mark.parametrize("function", [yields, ayields, functools.partial(yields)], ids=["def", "async def", "partial"])
def test_a_generator_function_is_refused_where_it_is_decorated(decorator: Any, function: Any) -> None:
    with pytest.raises(ConfigError, match=r"is a generator function|takes a function"):
        decorator(function)


@pytest.mark.parametrize("wrapper", [classmethod, staticmethod, lambda function: function])
def test_so_is_a_method(wrapper: Callable[[Any], Any]) -> None:
    with pytest.raises(ConfigError, match="is a generator function"):
        handle_asynchronously(wrapper(Service.__dict__["pages"]))


@pytest.mark.parametrize(
    "enqueues",
    [
        delay(yields),
        delay(ayields),
        lambda: delay(Service()).pages(),
        lambda: delay(Service()).apages(),
        lambda: delay(Service).of_class(),
        lambda: delay(Service()).of_none(),
        delay(Service().pages),
        lambda: enqueue(Export()),
        lambda: enqueue(AsyncExport()),
    ],
)
def test_a_generator_function_is_refused_at_enqueue(enqueues: Callable[[], Any], lite: Jobs) -> None:
    with pytest.raises(OptionError, match="is a generator function: calling it runs none of its code"):
        enqueues()

    assert list(lite.find()) == []


def listed(function: Callable[[], Iterator[int]]) -> Callable[[], list[int]]:
    @functools.wraps(function)
    def inner() -> list[int]:
        return list(function())

    return inner


@task
@listed
def collected() -> Iterator[int]:
    yield 1
    yield 2


@task
def returns_one() -> Iterator[int]:
    return yields()


@task
async def areturns_one() -> AsyncIterator[int]:
    return ayields()


def test_a_decorator_that_runs_the_generator_makes_it_a_job(lite: Jobs) -> None:
    job = collected.enqueue()

    worked(lite)

    assert job.refresh().result == [1, 2]


@pytest.mark.parametrize("returns", [returns_one, areturns_one], ids=["def", "async def"])
def test_a_job_that_returns_a_generator_has_failed(returns: Any, lite: Jobs) -> None:
    job = returns.enqueue()

    worked(lite)

    assert job.refresh().state is State.FAILED
    assert "returned a generator, which nobody iterates: its code has not run" in str(job.error)
    assert ran == []
