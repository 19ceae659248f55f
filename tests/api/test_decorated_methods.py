"""Methods that a library's decorators made: jobs as any others, with the parameters that a caller sees."""

from __future__ import annotations

import functools
from typing import Generic, TypeVar

import pytest
from asgiref.sync import sync_to_async

from belayed import delay
from belayed.payload import signatures

T = TypeVar("T")


class Service:
    @sync_to_async
    def threaded(self, number: int) -> int:
        return number + 1

    @functools.singledispatchmethod
    def shown(self, value: object) -> str:
        return f"object {value}"

    @shown.register
    def shown_number(self, value: int) -> str:
        return f"number {value}"

    @functools.lru_cache  # noqa: B019 (it is kept for a test's time)
    def cached(self, number: int) -> int:
        return number * 2


class Of(Generic[T]):
    def doubled(self, number: int) -> int:
        return number * 2


@pytest.mark.parametrize(
    ("method", "value", "result"),
    [("threaded", 1, 2), ("shown", 3, "number 3"), ("shown", "x", "object x"), ("cached", 4, 8)],
)
def test_a_decorated_method_is_a_job(jobs, work_off, method, value, result):
    job = getattr(delay(Service()), method)(value)

    work_off(jobs)

    assert job.refresh().result == result


@pytest.mark.parametrize("method", ["threaded", "shown", "cached"])
@pytest.mark.parametrize("args", [(), (1, 2)])
def test_a_wrong_call_of_a_decorated_method_fails_at_once(jobs, method, args):
    with pytest.raises(TypeError, match="argument"):
        getattr(delay(Service()), method)(*args)


def test_a_service_of_a_subscripted_generic_has_no_state(jobs, work_off):
    job = delay(Of[int]()).doubled(4)

    work_off(jobs)

    assert job.refresh().result == 8


def test_signatures_of_methods_that_are_made_for_each_call_are_forgotten(jobs):
    before = len(signatures[True])
    for number in range(20):
        delay(Service()).shown(number)

    assert len(signatures[True]) <= before + 1
