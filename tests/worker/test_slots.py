"""Slots outlive what happens around a job; one that dies all the same takes its process along, and says so."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from belayed import State, enqueue_many
from belayed.errors import BelayedError
from belayed.jobs import Jobs
from belayed.safelog import last_words
from belayed.worker import saying
from belayed.worker.attempt import Attempts
from belayed.worker.blame import LOST
from belayed.worker.vigil import worker_watched
from tests.worker import harmful, tasks
from tests.worker.alone import Alone
from tests.worker.helpers import eventually, states, worked, worker
from tests.worker.tasks import aact, act, adouble, double
from tests.worker.tree import over, tree

Body = Callable[[Callable[..., Any]], str]
BOTH = pytest.mark.parametrize("task", [act, aact], ids=["def", "async def"])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def broken_logging(request: pytest.FixtureRequest) -> Iterator[None]:
    logger, factory = logging.getLogger("belayed"), logging.getLogRecordFactory()
    handlers, filters = list(logger.handlers), list(logger.filters)
    harmful.break_logging(request.param)
    yield
    logger.handlers[:], logger.filters[:] = handlers, filters
    logging.setLogRecordFactory(factory)


@pytest.mark.parametrize(
    "broken_logging", ["handler", "filter", "handler exits", "filter exits", "records"], indirect=True
)
@BOTH
def test_logging_that_raises_decides_no_attempt(broken_logging: None, task: Any, lite: Jobs, body: Body) -> None:
    def fails() -> None:
        raise ValueError("no")

    async def afails() -> None:
        fails()

    failing = task.using(max_attempts=1).enqueue(body(afails if task is aact else fails))
    others = enqueue_many([double.draft(1), adouble.draft(1)] * 5)

    summary = worked(lite, threads=1, async_slots=1)

    assert (summary.failed, summary.succeeded) == (1, 10)
    assert (failing.refresh().state, failing.error) == (State.FAILED, "ValueError: no")
    assert states(*others) == [State.SUCCEEDED] * 10


@pytest.mark.parametrize("how", ["handler exits", "stderr closed", "records"])
def test_a_job_that_breaks_its_process_s_logging_stops_nobody(how: str, lite: Jobs, log: Path, effects: Path) -> None:
    harmful.breaks_logging.enqueue(how)
    saved = enqueue_many([harmful.ends.draft(str(effects)), harmful.aends.draft(str(effects))] * 5)

    with tree(lite, log, app="tests.worker.harmful", threads=1, async_slots=1):
        over(*saved)

    assert states(*saved) == [State.SUCCEEDED] * 10


HANGING = {
    "thread": ("started", "belayed-slot"),
    "event loop": ("started", "belayed-loop"),
    "main thread": ("succeeded", "belayed-log"),
}


@pytest.mark.parametrize("where", HANGING)
def test_a_log_handler_that_hangs_in_a_child_charges_nobody(where: str, lite: Jobs, log: Path, effects: Path) -> None:
    harmful.hangs_logging.enqueue(*HANGING[where])
    kind = harmful.aends if where == "event loop" else harmful.ends
    saved = enqueue_many([kind.draft(str(effects))] * 6)

    with tree(lite, log, app="tests.worker.harmful", processes=1, threads=1, async_slots=1) as worker:
        over(*saved)

        # Another thread logs for the main one, and says so with the next line that is to be logged.
        assert where == "main thread" or worker.says("a log handler has not returned")
        assert not worker.logged("not a valid frame|charged")
    assert states(*saved) == [State.SUCCEEDED] * 6
    assert {job.crashes for job in saved} == {0}
    # None has run twice.
    assert len(effects.read_text().splitlines()) == 6


@pytest.mark.parametrize("part", ["verdict", "reader", "page"])
def test_a_child_with_a_part_that_has_died_ends_and_another_goes_on(
    part: str, lite: Jobs, log: Path, effects: Path
) -> None:
    harmful.sabotages.enqueue(part)
    saved = enqueue_many([harmful.ends.draft(str(effects)), harmful.aends.draft(str(effects))] * 2)

    with tree(lite, log, app="tests.worker.harmful", threads=2) as worker:
        over(*saved)
        # What was handed over together may have ended before that part was needed again.
        saved += enqueue_many([harmful.ends.draft(str(effects)), harmful.aends.draft(str(effects))] * 2)
        over(*saved)

        assert worker.says("ended with exit code 71")
        assert worker.says("belayed: .* died, so (this process|it) ends: ")
        assert worker.says("Sabotage: this part of the worker does not work any more")
    assert states(*saved) == [State.SUCCEEDED] * 8
    assert {job.crashes for job in saved} == {0}


@pytest.mark.parametrize("part", ["told", "begun"])
@pytest.mark.parametrize("kind", [double, adouble], ids=["def", "async def"])
def test_an_embedded_worker_whose_slot_dies_ends_with_an_error(
    part: str, kind: Any, lite: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = enqueue_many(kind.draft(1) for _ in range(5))
    monkeypatch.setattr(Attempts, part, harmful.sabotaged)

    with pytest.raises(BelayedError, match=r"belayed-(slot-1|loop) died of Sabotage: .*start it again"):
        worked(lite, threads=1, async_slots=1)

    assert State.RUNNING not in states(*saved)
    assert states(*saved).count(State.READY) == 4
    assert {job.attempt for job in saved} == {0, 1}


def test_a_worker_whose_slot_has_died_is_not_alive(lite: Jobs) -> None:
    running = worker(lite)
    loop = running.made()
    watched = worker_watched(running)
    before = watched.broken()

    loop.slots.died("belayed-slot-1", None, ValueError())  # type: ignore[attr-defined]

    assert (before, watched.broken()) == ("", "belayed-slot-1 died of ValueError")
    assert loop.slots.room() == 0
    loop.leave()


@pytest.fixture
def hanging(lite: Jobs, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Alone, Callable[[Any], None]]]:
    """Slots, and a log handler that hangs once."""
    monkeypatch.setattr(last_words, "kept", None)
    monkeypatch.setattr(saying, "HANGS", 0.1)
    monkeypatch.setattr("belayed.worker.slots.HANGS", 0.1)
    free, first = threading.Event(), threading.Lock()

    def hangs(_: Any) -> None:
        if first.acquire(blocking=False):
            free.wait()

    alone = Alone(lite)
    yield alone, hangs
    free.set()
    alone.slots.close()


def test_a_log_handler_that_hangs_costs_a_thread_and_no_job(
    hanging: tuple[Alone, Callable[[Any], None]], capfd: Any
) -> None:
    alone, hangs = hanging
    alone.slots.began = hangs
    enqueue_many(double.draft(n) for n in range(3))

    alone.run_all()

    eventually(lambda: len(alone.ended()) == 3)
    assert sorted(alone.ended()) == sorted([State.READY, State.SUCCEEDED, State.SUCCEEDED])
    assert alone.told()
    assert not alone.broke.is_set()
    assert "a log handler has not returned" in capfd.readouterr().err


def test_a_log_handler_that_hangs_in_the_event_loop_ends_the_worker_and_the_job_goes_back(
    hanging: tuple[Alone, Callable[[Any], None]],
) -> None:
    alone, hangs = hanging
    alone.slots.began = hangs
    adouble.enqueue(1)

    alone.run_all()

    eventually(lambda: alone.ended() and alone.broke.is_set())
    assert alone.ended() == [State.READY]
    assert alone.told()


def test_a_child_that_has_lost_its_channel_ends_though_a_job_has_closed_stderr() -> None:
    code = "import os; from belayed.worker import child; os.close(2); child.lost(child.BadFrame('nonsense'))"

    ended = subprocess.run([sys.executable, "-c", code], check=False)

    assert ended.returncode == LOST


@pytest.mark.parametrize("kind", [double, adouble], ids=["def", "async def"])
def test_an_outcome_of_a_slot_that_died_is_of_code_that_has_ended(
    kind: Any, hanging: tuple[Alone, Callable[[Any], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = hanging
    monkeypatch.setattr(Attempts, "told", harmful.sabotaged)
    kind.enqueue(1)

    alone.run_all()

    eventually(lambda: alone.slots.ended)
    assert alone.told()


def test_a_coroutine_that_a_neighbour_cancels_before_its_first_step_is_not_lost(lite: Jobs, body: Body) -> None:
    import asyncio

    async def cancels() -> None:
        for one in asyncio.all_tasks():
            if one is not asyncio.current_task():
                one.cancel()

    # Both tasks are made in one go, so that the first runs before the second has begun.
    canceller, job = aact.enqueue(body(cancels)), adouble.enqueue(1)

    worked(lite, threads=1, async_slots=5)

    assert (canceller.refresh().state, job.refresh().state, job.attempt) == (State.SUCCEEDED, State.SUCCEEDED, 1)


@pytest.mark.parametrize("processes", [0, 1])
def test_signals_without_a_meaning_end_nothing(processes: int, lite: Jobs, log: Path, effects: Path) -> None:
    named = ["USR1", "ALRM", "VTALRM", "PROF", "PIPE", "IO", "PWR", "STKFLT", "XFSZ", "WINCH", "URG", "CHLD", "CONT"]
    numbers = [getattr(signal, f"SIG{name}") for name in named]

    with tree(lite, log, app="tests.worker.harmful", processes=processes) as worker:
        running = harmful.ends.enqueue(str(effects), 0.3)
        eventually(effects.read_text)
        children = worker.children()
        for number in (*numbers, signal.SIGRTMIN, signal.SIGRTMAX):
            worker.signal(number, everybody=True)
        over(running, harmful.ends.enqueue(str(effects)))

        assert worker.children() == children
        assert worker.stopped() == 0
    assert running.refresh().attempt == 1


def test_a_program_s_own_handlers_of_signals_stay(lite: Jobs) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))

    try:
        tasks.double.enqueue(1)
        running = worker(lite)
        running.run(until_empty=True)
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert heard == [signal.SIGUSR1]
