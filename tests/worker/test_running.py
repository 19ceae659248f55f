"""A worker runs what is ready: in threads, on an event loop, in order, and only of the queues it serves."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from belayed import State, Worker, current_job
from belayed.errors import BelayedError
from belayed.jobs import Jobs, enqueue_many
from belayed.worker.demand import Demand
from tests.patience import patient
from tests.worker.helpers import eventually, states, worked, worker
from tests.worker.tasks import aact, act, adouble, double, fails

Body = Callable[[Callable[..., Any]], str]

colour = contextvars.ContextVar("colour", default="none")


@pytest.mark.dj(142, 148, 340, 346)
def test_a_run_until_empty_ends_and_says_what_it_brought(jobs: Jobs) -> None:
    good, later = double.enqueue(21), double.using(run_at=timedelta(hours=1)).enqueue(1)
    failed, put_off = fails.using(max_attempts=1).enqueue(), fails.enqueue()

    summary = worked(jobs)

    assert (summary.succeeded, summary.failed, summary.retried, summary.cancelled) == (1, 1, 1, 0)
    assert 0 < summary.seconds < 10
    assert good.refresh().result == 42
    assert states(later, failed, put_off) == [State.SCHEDULED, State.FAILED, State.SCHEDULED]


@pytest.mark.dj(142)
def test_a_run_of_nothing_ends_at_once(jobs: Jobs) -> None:
    summary = worked(jobs)

    assert summary.succeeded == 0
    assert jobs.workers() == []


@pytest.mark.dj(143)
def test_whatever_a_job_returns_it_has_succeeded(lite: Jobs, body: Body) -> None:
    enqueue_many(act.draft(body(lambda value=value: value)) for value in (None, False, 0, "", True, State.FAILED))

    summary = worked(lite)

    assert (summary.succeeded, summary.failed, summary.retried) == (6, 0, 0)


@pytest.mark.dj(134)
def test_workers_of_one_program_have_settings_of_their_own(lite: Jobs) -> None:
    first, second = double.using(queue="a").enqueue(1), double.using(queue="b").enqueue(2)
    of_a, of_b = worker(lite, queues=("a",)), worker(lite, queues=("b",))

    of_a.run(until_empty=True)
    between = states(first, second)
    of_b.run(until_empty=True)

    assert between == [State.SUCCEEDED, State.READY]
    assert states(first, second) == [State.SUCCEEDED] * 2


@pytest.mark.dj(137)
def test_a_worker_is_named_after_its_host_and_process(lite: Jobs) -> None:
    with worker(lite):
        (row,) = eventually(lite.workers)

    assert row.name == f"{socket.gethostname()}:{os.getpid()}"
    assert row.id.startswith(f"{row.name}-")


@pytest.mark.dj(107, 124)
@pytest.mark.parametrize("most", [7, 500])
def test_read_ahead_is_the_most_that_is_claimed_of_short_jobs(most: int) -> None:
    demand = Demand(threads=2, async_slots=2, most=most)
    demand.took(False, 0.00001)

    room = demand.room(0, 0)

    assert room == most


def test_a_worker_beside_the_program_runs_jobs_until_the_block_ends(jobs: Jobs) -> None:
    with worker(jobs):
        first = double.enqueue(1).wait(patient(10))
    second = double.enqueue(2)

    assert first.result == 2
    assert second.refresh().state is State.READY
    assert jobs.workers() == []


def test_a_worker_can_be_used_again(lite: Jobs) -> None:
    again = worker(lite)
    with again:
        double.enqueue(1).wait(patient(10))

    with again:
        job = double.enqueue(2).wait(patient(10))

    assert job.result == 4


@pytest.mark.dj(318)
@pytest.mark.parametrize(
    ("given", "name"),
    [({}, f"{socket.gethostname()}:{os.getpid()}"), ({"name": "mail"}, "mail")],
    ids=["by default", "named"],
)
def test_a_worker_goes_by_its_host_and_process_or_by_the_name_given(
    given: dict[str, Any], name: str, jobs: Jobs
) -> None:
    with worker(jobs, **given):
        (row,) = eventually(jobs.workers)
        fails.using(max_attempts=1).enqueue().wait(patient(10))

    (failed,) = jobs.find()
    assert (row.name, row.host, row.pid) == (name, socket.gethostname(), os.getpid())
    assert failed.worker == row.id
    assert row.id.startswith(f"{name}-")


def test_a_worker_that_runs_is_not_started_twice(lite: Jobs) -> None:
    with worker(lite) as busy, pytest.raises(BelayedError, match="runs already"):
        busy.run()


@pytest.mark.dj(147)
def test_a_worker_is_stopped_from_another_thread(jobs: Jobs) -> None:
    running = worker(jobs)
    thread = threading.Thread(target=running.run)
    thread.start()
    double.enqueue(1).wait(patient(10))

    running.stop()

    thread.join(patient(10))
    assert not thread.is_alive()


@pytest.mark.dj(149, 344)
def test_def_jobs_run_in_threads_at_once(lite: Jobs, body: Body) -> None:
    together = threading.Barrier(3)
    name = body(lambda: together.wait(patient(10)))
    enqueue_many(act.draft(name) for _ in range(3))

    summary = worked(lite, threads=3)

    assert summary.succeeded == 3


def test_a_hundred_coroutines_run_at_once(lite: Jobs, body: Body) -> None:
    running, most = 0, 0
    full = asyncio.Event()

    async def meet() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 100:
            full.set()
        await asyncio.wait_for(full.wait(), patient(20))
        running -= 1

    enqueue_many(aact.draft(body(meet)) for _ in range(100))

    summary = worked(lite)

    assert (summary.succeeded, most) == (100, 100)


def test_coroutines_share_one_event_loop(lite: Jobs, body: Body) -> None:
    loops = set()

    async def where() -> None:
        loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)

    enqueue_many(aact.draft(body(where)) for _ in range(20))

    worked(lite)

    assert len(loops) == 1


def test_def_and_async_def_jobs_run_side_by_side(jobs: Jobs) -> None:
    saved = enqueue_many([draft for n in range(100) for draft in (double.draft(n), adouble.draft(n))])

    summary = worked(jobs)

    assert summary.succeeded == 200
    assert [job.refresh().result for job in saved[:6]] == [0, 0, 2, 2, 4, 4]


def test_coroutines_do_not_wait_behind_long_def_jobs(lite: Jobs, body: Body) -> None:
    gate = threading.Event()
    name = body(lambda: gate.wait(patient(20)))
    enqueue_many(act.draft(name) for _ in range(10))
    with worker(lite):
        eventually(lambda: lite.find(states=[State.RUNNING]))

        job = adouble.enqueue(4).wait(patient(15))

        gate.set()
        eventually(lambda: not lite.find(states=[State.RUNNING, State.READY]))
    assert job.result == 8


def test_a_def_that_returns_a_coroutine_is_awaited(lite: Jobs, body: Body) -> None:
    job = act.enqueue(body(lambda: asyncio.sleep(0, "slept")))

    worked(lite)

    assert job.refresh().result == "slept"


@pytest.mark.dj(265)
@pytest.mark.parametrize("task", [act, aact], ids=["def", "async def"])
def test_a_job_knows_itself(task: Any, lite: Jobs, body: Body) -> None:
    def seen() -> Any:
        job = current_job()
        return [job.id, job.state.value, job.queue, job.attempt, job.task, job.stopping]

    async def aseen() -> Any:
        await asyncio.sleep(0)
        return seen()

    job = task.using(queue="mail").enqueue(body(aseen if task is aact else seen))

    worked(lite)

    assert job.refresh().result == [job.id, "running", "mail", 1, job.task, False]


def test_outside_of_an_attempt_there_is_no_current_job(lite: Jobs) -> None:
    with pytest.raises(BelayedError, match="no job runs here"):
        current_job()


@pytest.mark.parametrize("task", [act, aact], ids=["def", "async def"])
def test_context_variables_do_not_leak_from_job_to_job(task: Any, lite: Jobs, body: Body) -> None:
    seen = []

    def paint() -> None:
        seen.append(colour.get())
        colour.set("red")

    async def apaint() -> None:
        paint()
        await asyncio.sleep(0)

    name = body(apaint if task is aact else paint)
    enqueue_many(task.draft(name) for _ in range(30))

    worked(lite, threads=1, async_slots=1)

    assert seen == ["none"] * 30


def test_arguments_and_results_come_back_as_they_went_in(jobs: Jobs, body: Body) -> None:
    values = [{"a": (1, 2)}, timedelta(seconds=3), {"b", "c"}, "\0 \N{GRINNING FACE}", None, 2**70, b"\xff"]
    job = act.enqueue(body(lambda *given: list(given)), *values)

    worked(jobs)

    assert job.refresh().result == values


@pytest.mark.dj(221)
def test_a_large_payload_is_fetched_when_its_attempt_starts(jobs: Jobs, body: Body) -> None:
    async def length(text: str) -> int:
        return len(text)

    saved = [act.enqueue(body(len), "x" * 100_000), aact.enqueue(body(length), "y" * 100_000)]

    worked(jobs)

    assert [job.refresh().result for job in saved] == [100_000, 100_000]


@pytest.mark.dj(64, 116, 122, 354)
def test_smaller_priorities_run_first_over_all_queues(jobs: Jobs, body: Body) -> None:
    order: list[int] = []
    name = body(order.append)
    for nth, priority in enumerate([5, -3, 0, 7, -3, 2]):
        act.using(priority=priority, queue=f"queue{nth % 2}").enqueue(name, priority)

    worked(jobs, threads=1)

    assert order == sorted(order)


@pytest.mark.dj(149)
def test_jobs_of_one_priority_run_in_the_order_of_their_saving(jobs: Jobs, body: Body) -> None:
    order: list[int] = []
    name = body(order.append)
    enqueue_many(act.draft(name, number) for number in range(50))

    worked(jobs, threads=1)

    assert order == list(range(50))


@pytest.mark.dj(62, 122)
@pytest.mark.parametrize(
    ("settings", "served"),
    [
        ({"queues": ("a",)}, ["a"]),
        ({"queues": ("a", "b")}, ["a", "b"]),
        ({"queues": ("*", "!a")}, ["b", "c"]),
        ({"queues": ("!a", "!c")}, ["b"]),
    ],
)
def test_only_the_queues_served_are_touched(
    settings: dict[str, Any], served: list[str], jobs: Jobs, body: Body
) -> None:
    ran: list[str] = []
    for queue in ("a", "b", "c"):
        act.using(queue=queue).enqueue(body(ran.append), queue)

    worked(jobs, **settings)

    assert sorted(ran) == served


@pytest.mark.dj(125, 302)
def test_only_the_priorities_served_are_touched(jobs: Jobs, body: Body) -> None:
    ran: list[int] = []
    for priority in (-20, -10, 0, 10, 20):
        act.using(priority=priority).enqueue(body(ran.append), priority)

    worked(jobs, min_priority=-10, max_priority=10)

    assert sorted(ran) == [-10, 0, 10]


def test_a_paused_queue_waits(jobs: Jobs) -> None:
    jobs.pause("mail")
    mail, other = double.using(queue="mail").enqueue(1), double.enqueue(2)

    with worker(jobs, poll_interval=timedelta(seconds=0.2)):
        other.wait(patient(10))
        waited = mail.refresh().state
        jobs.resume("mail")
        mail.wait(patient(10))

    assert waited is State.READY


def test_a_program_s_own_jobs_are_the_default(lite: Jobs) -> None:
    job = double.enqueue(1)

    Worker().run(until_empty=True)

    assert job.refresh().result == 2


@pytest.mark.dj(141)
def test_a_job_that_takes_long_gives_the_others_to_another_worker(lite: Jobs, body: Body) -> None:
    gate = threading.Event()
    short, long = body(lambda: None), body(lambda: gate.wait(patient(20)))
    # So short that the worker claims far ahead.
    enqueue_many(act.draft(short) for _ in range(300))
    worked(lite, threads=1)
    enqueue_many([*(act.draft(short) for _ in range(100)), act.draft(long), *(act.draft(short) for _ in range(100))])
    with worker(lite, threads=1):
        eventually(lambda: lite.find(states=[State.RUNNING]))

        with worker(lite, threads=1):
            eventually(lambda: len(lite.find(states=[State.RUNNING, State.READY])) == 1)

        gate.set()


@pytest.mark.dj(127, 148)
def test_a_worker_may_be_told_to_end_when_all_is_done(jobs: Jobs) -> None:
    job, later = double.enqueue(1), double.using(run_at=timedelta(hours=1)).enqueue(2)

    summary = worker(jobs, exit_on_complete=True).run()

    assert summary.succeeded == 1
    assert states(job, later) == [State.SUCCEEDED, State.SCHEDULED]


@pytest.mark.dj(362)
def test_the_read_ahead_is_a_limit_though_only_coroutines_have_room() -> None:
    demand = Demand(threads=1, async_slots=100, most=3)
    demand.learn({"coroutine": True})

    assert demand.room(in_threads=1, in_loop=0) == 3


@pytest.mark.dj(346, 362)
def test_no_more_is_held_ready_than_the_read_ahead(jobs: Jobs, body: Body) -> None:
    gate = threading.Event()
    short, long = body(lambda: None), body(lambda: gate.wait(patient(20)))
    enqueue_many(act.draft(short) for _ in range(300))
    enqueue_many([act.draft(long), *(act.draft(short) for _ in range(100))])
    with worker(jobs, threads=1, read_ahead=20):
        eventually(lambda: jobs.counts().ended[State.SUCCEEDED] == 300)

        held = eventually(lambda: jobs.find(states=[State.RUNNING]))

        gate.set()
    assert len(held) <= 20


@pytest.mark.dj(90)
def test_a_database_in_memory_is_shared_by_the_program_and_its_worker(opened):
    opened("sqlite://")
    before = double.enqueue(1)

    with Worker():
        results = [before.wait(patient(10)).result, double.enqueue(2).wait(patient(10)).result]

    assert results == [2, 4]
