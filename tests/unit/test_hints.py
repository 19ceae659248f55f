"""When idle workers are told of new jobs, and when they look by themselves."""

from __future__ import annotations

from itertools import pairwise

import pytest

from belayed import hints
from belayed.hints import ALERT, DEBOUNCE, EAGER, QUICK, SOON, STRETCHED, Hints, look_after


@pytest.fixture
def clock(monkeypatch):
    """The seconds that it is, to be set."""
    now = [1000.0]
    monkeypatch.setattr(hints.time, "monotonic", lambda: now[0])
    return now


def told(clock, seconds, rate, hint="0 default", stretch=True, told_of=None):
    """When hints go out while so many jobs are enqueued in a second."""
    told_of = told_of or Hints()
    found = []
    begun = clock[0]
    for nth in range(int(seconds * rate)):
        clock[0] = begun + nth / rate
        if told_of.due(hint, stretch=stretch):
            found.append(round(clock[0] - begun, 3))
    clock[0] = begun + seconds
    return found


def test_of_a_job_each_50_ms_each_is_told(clock):
    assert len(told(clock, seconds=2, rate=20)) == 40


def test_of_some_more_a_hint_is_held_back_for_40_ms(clock):
    assert told(clock, seconds=0.2, rate=100) == [0.0, 0.04, 0.08, 0.12, 0.16]


def test_of_many_a_hint_is_held_back_for_ever_longer_to_a_quarter_of_a_second(clock):
    assert told(clock, seconds=1.2, rate=1000) == [0.0, 0.04, 0.12, 0.28, 0.53, 0.78, 1.03]


def test_the_first_after_many_is_told_at_once_and_few_are_not_held_back_for_long(clock):
    told_of = Hints()
    told(clock, seconds=2, rate=1000, told_of=told_of)
    clock[0] += 1

    assert told(clock, seconds=0.2, rate=20, told_of=told_of) == [0.0, 0.05, 0.1, 0.15]


def test_a_time_to_be_due_is_never_held_back_for_long(clock):
    """A worker that was told of one looks for others only as long as they are held back at first."""
    gaps = told(clock, seconds=1, rate=1000, hint="@", stretch=False)

    assert max(late - early for early, late in pairwise(gaps)) < 1.1 * DEBOUNCE


def test_each_hint_is_held_back_for_itself(clock):
    told_of = Hints()

    assert [told_of.due(hint, stretch=True) for hint in ("0 a", "0 b", "0 a")] == [True, True, False]


def test_what_is_remembered_is_bounded(clock):
    told_of = Hints()
    for number in range(5000):
        told_of.due(f"0 {number}", stretch=True)

    assert len(told_of.held) <= 1000


def test_a_worker_looks_for_as_long_as_its_hint_may_be_held_back():
    looks, now = [], 0.0
    while (pause := look_after(now, heard_at=0.0)) is not None:
        now += pause
        looks.append(now)

    assert now >= ALERT > STRETCHED
    assert sum(look <= EAGER for look in looks) >= EAGER / QUICK - 1
    assert max(late - early for early, late in pairwise(looks)) <= SOON + 1e-9
    assert look_after(0.0, float("-inf")) is None


def test_workers_that_have_heard_the_same_hint_look_as_often_together_as_one_alone() -> None:
    def looks(workers: int) -> int:
        now, count = 0.0, 0
        while (pause := look_after(now, 0.0, workers)) is not None:
            now, count = now + pause, count + 1
        return count

    alone = looks(1)

    assert sum(looks(4) for _ in range(4)) < 2 * alone
    # Of very many the others may be busy.
    assert 2 <= looks(60) < alone / 2
