"""Clocks that are set, and workers that judge one another all the same by what they have seen."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from belayed import State
from belayed.jobs import Jobs
from belayed.store import sqlite
from belayed.store.answers import Sign
from belayed.worker.watch import Watch
from tests.patience import patient
from tests.worker.helpers import eventually, process, states, worker
from tests.worker.tasks import note_and_wait

HOUR = 3600 * 10**9


class Clock:
    """The wall clock of this process, which a test sets."""

    def __init__(self) -> None:
        self.off = 0

    def time_ns(self) -> int:
        return time.time_ns() + self.off


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sqlite, "time", clock)
    return clock


@pytest.mark.dj(100)
@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_clock_that_is_set_makes_nobody_dead(step: int, clock: Clock, lite: Jobs, effects: Path) -> None:
    job = note_and_wait.enqueue(str(effects), 3)
    with worker(lite, queues=("default",)), worker(lite, queues=("nobody's",)) as other:
        eventually(effects.read_text)
        eventually(lambda: other.loop and other.loop.upkeep.may_rescue())

        clock.off = step

        job.wait(patient(20))
    assert (job.state, job.rescues, job.attempt) == (State.SUCCEEDED, 0, 1)
    assert effects.read_text().count("ran") == 1


@pytest.mark.dj(100, 356)
@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_the_jobs_of_a_dead_worker_are_rescued_by_one_whose_clock_is_off(
    step: int, clock: Clock, lite: Jobs, effects: Path
) -> None:
    clock.off = step
    with (
        worker(lite, queues=("other",), poll_interval=timedelta(seconds=0.2)),
        process(lite, queues=("first",)) as dead,
    ):
        job = note_and_wait.using(queue="first").enqueue(str(effects), 30)
        job.change(run_at=timedelta(seconds=-7200))
        eventually(effects.read_text)

        dead.kill()

        eventually(lambda: states(job) == [State.READY], within=6)
    assert job.rescues == 1


def seen(watch: Watch, at: float, *signs: tuple[str, str], lapse: float | None = None) -> list[str]:
    """Who is dead for one that looks at this time."""
    return [one.worker for one in watch.dead([Sign(*sign, lapse) for sign in signs], at, at)]


def looking(until: float, *signs: tuple[str, str], **options: Any) -> list[str]:
    """Who is dead for one that has looked every second until then, and always seen the same."""
    watch, found = Watch("me", 5.0, 1.0), []
    for second in range(int(until) + 1):
        found = seen(watch, float(second), *signs, **options)
    return found


def test_a_worker_is_dead_when_its_sign_has_not_changed_for_its_lapse() -> None:
    assert looking(5, ("other", "x")) == []
    assert looking(6, ("other", "x")) == ["other"]
    assert looking(3, ("other", "x"), lapse=2.0) == ["other"]


def test_a_new_sign_is_a_new_life() -> None:
    watch = Watch("me", 5.0, 1.0)
    for second in range(20):
        assert seen(watch, float(second), ("other", str(second // 5))) == []


def test_nobody_looks_at_himself() -> None:
    assert looking(100, ("me", "x")) == []


def test_time_in_which_nobody_could_look_counts_against_nobody() -> None:
    watch = Watch("me", 5.0, 1.0)
    seen(watch, 0.0, ("other", "x"))

    after_an_outage = seen(watch, 60.0, ("other", "x"))

    assert after_an_outage == []
    assert [seen(watch, at, ("other", "x")) for at in (61.0, 62.0, 63.0, 66.0)][-1] == ["other"]
