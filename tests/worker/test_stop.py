"""How a worker ends: running jobs within the grace, others given back, and what will not end keeps its claim."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from belayed import State, enqueue_many
from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.helpers import Process, eventually, logged, process, states, worked, worker
from tests.worker.tasks import aact, act, adouble, anote_and_wait, double, note_and_wait, sleep_in_c

Body = Callable[[Callable[..., Any]], str]
TASKS = pytest.mark.parametrize("task", [act, aact], ids=["def", "async def"])


begun = threading.Event()


@pytest.fixture(autouse=True)
def nothing_begun() -> None:
    begun.clear()


def spin() -> None:
    begun.set()
    while True:
        pass


async def await_for_ever() -> None:
    begun.set()
    await asyncio.sleep(3600)


@pytest.mark.dj(128)
@TASKS
def test_running_jobs_finish_within_the_grace(task: Any, jobs: Jobs, body: Body) -> None:
    begun, gate = threading.Event(), threading.Event()

    async def await_gate() -> str:
        begun.set()
        while not gate.is_set():  # noqa: ASYNC110 (the gate is for threads)
            await asyncio.sleep(0.005)
        return "finished"

    def wait_for_gate() -> str:
        begun.set()
        gate.wait(patient(10))
        return "finished"

    job = task.enqueue(body(await_gate if task is aact else wait_for_gate))
    with worker(jobs, grace=timedelta(seconds=10)) as running:
        begun.wait(patient(10))

        running.stop()

        gate.set()
    assert job.refresh().result == "finished"


@pytest.mark.dj(128, 152, 182, 360)
@pytest.mark.parametrize(("task", "endless"), [(act, spin), (aact, await_for_ever)], ids=["def", "async def"])
def test_what_runs_beyond_the_grace_goes_back_uncharged(task: Any, endless: Any, jobs: Jobs, body: Body) -> None:
    job = task.using(max_attempts=1).enqueue(body(endless))
    with worker(jobs, grace=timedelta(seconds=0.3)) as running:
        begun.wait(patient(10))
        since = time.monotonic()

        running.stop()

    assert 0.3 <= time.monotonic() - since < patient(15)
    assert (job.refresh().state, job.failures, job.worker) == (State.READY, 0, None)
    assert job.error == "stopped: its worker was stopped"


@pytest.mark.dj(152)
def test_claimed_jobs_that_have_not_started_go_back_at_once(jobs: Jobs, body: Body) -> None:
    gate = threading.Event()
    short, long = body(lambda: None), body(lambda: gate.wait(patient(20)))
    # So short that the worker claims far ahead.
    running = worker(jobs, threads=1, grace=timedelta(seconds=20))
    enqueue_many(act.draft(short) for _ in range(300))
    enqueue_many([act.draft(long), *(act.draft(short) for _ in range(100))])
    with running:
        eventually(lambda: jobs.counts().ended[State.SUCCEEDED] == 300)
        eventually(lambda: len(jobs.find(states=[State.RUNNING], limit=500)) > 10)

        running.stop()

        eventually(lambda: len(jobs.find(states=[State.RUNNING])) == 1, within=10)
        gate.set()
    waiting = jobs.find(states=[State.READY], limit=500)
    assert len(waiting) >= 90
    assert {(job.attempt, job.failures, job.error) for job in waiting} == {(0, 0, None)}


@pytest.mark.parametrize(("task", "endless"), [(act, spin), (aact, await_for_ever)], ids=["def", "async def"])
def test_a_second_stop_is_now(task: Any, endless: Any, lite: Jobs, body: Body) -> None:
    job = task.enqueue(body(endless))
    with worker(lite, grace=timedelta(seconds=60)) as running:
        begun.wait(patient(10))
        running.stop()
        since = time.monotonic()

        running.stop(now=True)

    assert time.monotonic() - since < patient(30)
    assert states(job) == [State.READY]


@pytest.mark.dj(147)
def test_a_stopped_worker_claims_nothing_more(lite: Jobs, body: Body) -> None:
    gate = threading.Event()
    running = act.enqueue(body(lambda: begun.set() or gate.wait(patient(10))))
    with worker(lite, grace=timedelta(seconds=10)) as busy:
        begun.wait(patient(10))
        busy.stop()
        # What it asks for in that moment, it still gets.
        eventually(lambda: busy.loop and busy.loop.stop_by is not None)
        late = double.enqueue(1)
        gate.set()

    assert states(running, late) == [State.SUCCEEDED, State.READY]


@pytest.mark.dj(128, 180, 356)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_stops_a_worker_and_its_jobs_finish(number: int, lite: Jobs, effects: Path) -> None:
    job = note_and_wait.enqueue(str(effects), 0.7)
    with process(lite, grace=timedelta(seconds=10)) as other:
        eventually(effects.read_text)

        other.signal(number)

        assert other.ended() == 0
    assert states(job) == [State.SUCCEEDED]
    assert lite.workers() == []


@pytest.mark.dj(181, 183)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_second_signal_stops_the_jobs_too(number: int, jobs: Jobs, effects: Path) -> None:
    saved = [note_and_wait.enqueue(str(effects)), anote_and_wait.enqueue(str(effects))]
    with process(jobs, grace=timedelta(seconds=60)) as other:
        eventually(lambda: effects.read_text().count("ran") == 2)
        other.signal(number)
        said = eventually(lambda: line_of(other, "stopping: 2 jobs may finish, within 60 s: "))

        other.signal(number)

        assert other.ended(within=20) == 0
    assert said
    assert states(*saved) == [State.READY] * 2
    assert [job.failures for job in saved] == [0, 0]


@pytest.mark.dj(186)
def test_signals_are_the_worker_s_only_while_it_runs_in_the_main_thread(lite: Jobs, body: Body) -> None:
    def handlers() -> list[Any]:
        return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    before, within = handlers(), []
    act.enqueue(body(lambda: within.extend(handlers())))

    with worker(lite):
        beside = handlers()
        eventually(lambda: within)
    act.enqueue(body(lambda: within.extend(handlers())))
    worked(lite)

    assert beside == within[:2] == before
    assert len(within) == 4
    assert set(within[2:]).isdisjoint(before)
    assert handlers() == before


def line_of(other: Process, text: str) -> bool:
    """Whether the next line that the process has logged contains *text*."""
    assert other.popen.stderr is not None
    return text in other.popen.stderr.readline()


def asleep() -> bool:
    """Whether `sleep_in_c` has come to its last line, from where on no stop gets through."""
    code = sleep_in_c.function.__code__
    last = max(line for _, _, line in code.co_lines() if line is not None)
    return any(frame.f_code is code and frame.f_lineno == last for frame in sys._current_frames().values())


@pytest.mark.dj(179)
def test_a_job_that_cannot_be_stopped_keeps_its_claim_and_its_worker_beating(
    jobs: Jobs, effects: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = sleep_in_c.enqueue(str(effects), 8)
    with worker(jobs, grace=timedelta(seconds=0.1)) as running, worker(jobs, queues=("nothing",)):
        eventually(asleep)
        running.stop(now=True)
        eventually(lambda: logged(caplog, "does not end"), within=7.5)

        eventually(lambda: states(job) != [State.RUNNING])

    assert effects.read_text().count("ran") == 1
    assert (job.state, job.rescues, job.failures) == (State.READY, 0, 0)


def test_what_was_interrupted_runs_again(lite: Jobs, body: Body) -> None:
    runs = []

    def once_endless() -> int:
        runs.append(1)
        while len(runs) == 1:
            pass
        return len(runs)

    job = act.enqueue(body(once_endless))
    with worker(lite, grace=timedelta()) as running:
        eventually(lambda: runs)
        running.stop()

    worked(lite)

    assert (job.refresh().result, job.failures) == (2, 0)


def test_an_interruption_while_the_arguments_are_loaded_costs_nothing(lite: Jobs) -> None:
    from tests.worker.tasks import Row, reads

    job = reads.enqueue(Row("slow"))
    with worker(lite, grace=timedelta()) as running:
        eventually(lambda: states(job) == [State.RUNNING])
        eventually(lambda: running.loop and running.loop.slots.running())

        running.stop()

    assert (job.refresh().state, job.attempt, job.failures) == (State.READY, 0, 0)


def test_a_worker_in_a_thread_of_the_program_ends_with_its_jobs(lite: Jobs) -> None:
    saved = [double.enqueue(1), adouble.enqueue(2)]
    before = set(threading.enumerate())

    with worker(lite):
        eventually(lambda: states(*saved) == [State.SUCCEEDED] * 2)

    names = [thread.name for thread in threading.enumerate() if thread not in before]
    assert [name for name in names if name.startswith("belayed")] == []


@pytest.mark.dj(146, 291)
@pytest.mark.parametrize("how", ["until_empty", "stop"])
def test_the_end_waits_for_no_timer(how: str, jobs: Jobs, body: Body) -> None:
    gate = threading.Event()
    act.enqueue(body(lambda: begun.set() or gate.wait(patient(10))))
    slow = worker(jobs, beat=timedelta(seconds=10), lapse=timedelta(seconds=30), grace=timedelta(seconds=20))
    thread = threading.Thread(target=slow.run, args=(how == "until_empty",))
    thread.start()
    begun.wait(patient(10))
    if how == "stop":
        slow.stop()
    since = time.monotonic()

    gate.set()

    thread.join(patient(15))
    assert time.monotonic() - since < patient(5)
