"""Jobs that do their worst: each fails alone, says why, and leaves the worker as it was."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from belayed import State, current_job, enqueue_many
from belayed.errors import ResultUnavailable
from belayed.jobs import Jobs
from tests import servers
from tests.worker import tasks
from tests.worker.helpers import execute, logged, states, worked
from tests.worker.tasks import aact, act, double, note

Body = Callable[[Callable[..., Any]], str]
TASKS = pytest.mark.parametrize("task", [act, aact], ids=["def", "async def"])


class Odd(BaseException):
    pass


class Rude(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307


WORST: dict[str, BaseException] = {
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "a BaseException": Odd("odd"),
    "CancelledError": asyncio.CancelledError(),
    "StopIteration": StopIteration(1),
    "StopAsyncIteration": StopAsyncIteration(),
    "no __str__": tasks.Unprintable(),
    "a __str__ that exits": tasks.Unspeakable(),
    "a __str__ of no text": Rude(),
    "a group": BaseExceptionGroup("many", [KeyboardInterrupt(), ValueError("one")]),
    "NUL and emoji": ValueError("a\0b \N{GRINNING FACE}"),
    "a lone surrogate": ValueError("a\ud800b"),
}


@pytest.mark.dj(158)
@TASKS
@pytest.mark.parametrize("error", WORST.values(), ids=WORST)
def test_whatever_a_job_raises_it_fails_and_its_neighbours_run(
    error: BaseException, task: Any, lite: Jobs, body: Body
) -> None:
    def raises() -> None:
        raise error

    async def araises() -> None:
        await asyncio.sleep(0)
        raise error

    job = task.using(max_attempts=1).enqueue(body(araises if task is aact else raises))
    neighbours = [double.enqueue(1), tasks.adouble.enqueue(2)]

    worked(lite, threads=1, async_slots=1)

    assert (job.refresh().state, job.attempt, job.failures) == (State.FAILED, 1, 1)
    assert job.error
    assert states(*neighbours) == [State.SUCCEEDED] * 2


@pytest.mark.dj(79)
def test_what_the_worst_raise_is_stored_in_every_database(jobs: Jobs, body: Body) -> None:
    def raising(error: BaseException) -> Callable[[], None]:
        def raises() -> None:
            text = "in the traceback: \0 \ud800 \N{GRINNING FACE}"
            raise error from ValueError(text)

        return raises

    saved = [act.using(max_attempts=1).enqueue(body(raising(error))) for error in WORST.values()]

    worked(jobs)

    assert {job.refresh().state for job in saved} == {State.FAILED}
    assert {job.attempts[0].error_type for job in saved} >= {"SystemExit", "tests.worker.tasks.Unprintable"}
    assert saved[-2].attempts[0].message == "a\\x00b \N{GRINNING FACE}"
    assert saved[-1].attempts[0].message == "a\\ud800b"
    assert all("in the traceback: \\x00 \\ud800" in (job.attempts[0].traceback or "") for job in saved[:4])


@pytest.mark.dj(79)
def test_long_messages_and_tracebacks_keep_their_head_and_tail(jobs: Jobs, body: Body) -> None:
    def raises() -> None:
        raise ValueError("begin" + "x" * 3_000_000 + "end")

    job = act.using(max_attempts=1).enqueue(body(raises))

    worked(jobs)

    (attempt,) = job.refresh().attempts
    assert attempt.message is not None
    assert attempt.traceback is not None
    assert len(attempt.message) == 4 * 1024
    assert len(attempt.traceback) == 16 * 1024
    assert attempt.message.startswith("begin")
    assert attempt.message.endswith("end")
    assert attempt.traceback.startswith("Traceback")
    assert attempt.traceback.rstrip().endswith("end")
    assert "characters left out" in attempt.traceback
    assert len(job.error or "") < 600


@TASKS
def test_endless_recursion_is_one_failure(task: Any, lite: Jobs, body: Body) -> None:
    def dive() -> None:
        dive()

    async def adive() -> None:
        await adive()

    job = task.using(max_attempts=1).enqueue(body(adive if task is aact else dive))
    neighbour = double.enqueue(1)

    worked(lite)

    assert job.refresh().attempts[0].error_type == "RecursionError"
    assert states(neighbour) == [State.SUCCEEDED]


def deep(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def unreadable() -> object:
    return object.__new__(tasks.Unreadable)


RESULTS: dict[str, Callable[[], Any]] = {
    "an object": object,
    "a lock": __import__("threading").Lock,
    "not a number": lambda: float("nan"),
    "a lone surrogate": lambda: "\ud800",
    "a cycle": cycle,
    "too deep": lambda: deep(50_000),
    "too large": lambda: "x" * 3_000_000,
    "one that raises when it is read": unreadable,
    "an iterator": lambda: iter(range(3)),
}


@pytest.mark.parametrize("make", RESULTS.values(), ids=RESULTS)
def test_a_result_that_cannot_be_stored_never_fails_the_job(make: Callable[[], Any], lite: Jobs, body: Body) -> None:
    job = act.enqueue(body(make))

    worked(lite)

    assert (job.refresh().state, job.attempts) == (State.SUCCEEDED, ())
    with pytest.raises(ResultUnavailable, match=type(make()).__qualname__):
        _ = job.result


def test_a_large_result_comes_back(jobs: Jobs, body: Body) -> None:
    job = act.enqueue(body(lambda: "\N{GRINNING FACE}\0" * 100_000))

    worked(jobs)

    assert job.refresh().result == "\N{GRINNING FACE}\0" * 100_000


def test_what_the_database_has_no_characters_for_is_written_in_those_it_has(
    postgres_server: str, opened: Callable[..., Jobs], body: Body
) -> None:
    def raises() -> None:
        raise ValueError("\N{GRINNING FACE}")

    url = servers.create_database(postgres_server)
    latin = url.replace(name := urlsplit(url).path[1:], f"{name}_latin")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}_latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'".encode())
    try:
        jobs = opened(latin)
        failed = act.using(max_attempts=1).enqueue(body(raises))
        odd = act.enqueue(body(lambda: "\N{GRINNING FACE}"))
        neighbour = double.enqueue(1)

        worked(jobs)

        assert states(failed, odd, neighbour) == [State.FAILED, State.SUCCEEDED, State.SUCCEEDED]
        assert failed.error == "ValueError: \\U0001f600"
        with pytest.raises(ResultUnavailable, match="the database refused"):
            _ = odd.result
        jobs.close()
    finally:
        servers.drop_database(postgres_server, latin)
        servers.drop_database(postgres_server, url)


def test_a_job_that_deletes_its_row_leaves_a_line_in_the_log(
    jobs: Jobs, body: Body, caplog: pytest.LogCaptureFixture
) -> None:
    def delete() -> None:
        execute(jobs, f"DELETE FROM belayed_jobs WHERE id = {current_job().id}")

    job, neighbour = act.enqueue(body(delete)), double.enqueue(1)

    worked(jobs)

    assert logged(caplog, f"#{job.id} was refused")
    assert [found.id for found in jobs.find()] == [neighbour.id]


@pytest.mark.parametrize("fail", [False, True], ids=["succeeds", "fails"])
def test_a_job_that_cancels_itself_ends(fail: bool, jobs: Jobs, body: Body) -> None:
    def cancel() -> None:
        current_job().cancel()
        if fail:
            raise ValueError("no")

    job = act.enqueue(body(cancel))

    # No beat comes within it: that would stop it.
    worked(jobs, beat=timedelta(seconds=60), lapse=timedelta(seconds=240))

    assert states(job) == [State.CANCELLED if fail else State.SUCCEEDED]


def test_a_job_cannot_delete_itself_while_it_runs(jobs: Jobs, body: Body) -> None:
    job = act.enqueue(body(lambda: current_job().delete()))

    worked(jobs)

    assert job.refresh().result is False


@TASKS
def test_jobs_enqueue_jobs(task: Any, jobs: Jobs, body: Body, effects: Any) -> None:
    async def more() -> int:
        return (await note.aenqueue(str(effects))).id

    parents = enqueue_many(
        tasks.enqueues.draft(str(effects)) if task is act else aact.draft(body(more)) for _ in range(20)
    )

    summary = worked(jobs)

    assert summary.succeeded == 40
    assert effects.read_text().count("ran") == 20
    assert jobs.get(parents[0].refresh().result).state is State.SUCCEEDED


def test_a_task_of_a_job_that_exits_leaves_the_event_loop_to_the_others(lite: Jobs, body: Body) -> None:
    both_run = asyncio.Event()

    async def leave() -> None:
        async def exits() -> None:
            sys.exit(3)

        await both_run.wait()
        await asyncio.gather(asyncio.create_task(exits()))

    async def stay() -> str:
        both_run.set()
        await asyncio.sleep(0.05)
        return "stayed"

    bad = aact.using(max_attempts=1).enqueue(body(leave))
    good = aact.enqueue(body(stay))

    worked(lite)
    after = tasks.adouble.enqueue(1)
    worked(lite)

    assert (bad.refresh().state, bad.error) == (State.FAILED, "SystemExit: 3")
    assert good.refresh().result == "stayed"
    assert after.refresh().result == 2


def test_a_job_that_stops_the_event_loop_stops_nothing(lite: Jobs, body: Body) -> None:
    async def stop() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)

    saved = [aact.enqueue(body(stop)), tasks.adouble.enqueue(1)]

    worked(lite)

    assert states(*saved) == [State.SUCCEEDED] * 2


def test_a_job_may_end_its_thread_s_own_event_loop(lite: Jobs, body: Body) -> None:
    async def value() -> int:
        return 3

    saved = [act.enqueue(body(lambda: asyncio.run(value()))) for _ in range(5)]

    worked(lite, threads=1)

    assert [job.refresh().result for job in saved] == [3] * 5
