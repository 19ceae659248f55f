"""The log record of a failed attempt has the error itself, for error trackers, and keeps nothing alive by it."""

from __future__ import annotations

import gc
import json
import logging
import sys
import traceback
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest

from belayed import task
from belayed.claim import Finished
from belayed.job import Outcome, State
from belayed.jobs import Jobs
from belayed.worker import traces
from belayed.worker.traces import Unlogged, empty_tracebacks, raised
from tests.worker.helpers import eventually, worked
from tests.worker.tasks import act, fails
from tests.worker.tree import tree

alive: WeakSet[Held] = WeakSet()


class Held:
    def __init__(self) -> None:
        alive.add(self)


def inner(divisor: int) -> None:
    held = Held()
    print(1 / divisor, held)


def middle() -> None:
    held = Held()
    try:
        inner(0)
    except ZeroDivisionError as error:
        raise ExceptionGroup(f"with {held}", [error, KeyError("of no traceback")]) from error


def outer() -> Any:
    """An error with causes and a group, as it was raised."""
    held = Held()
    try:
        middle()
    except Exception as error:
        assert held
        return error


@task
def holds() -> None:
    held = Held()
    raise LookupError(f"with {held}")


@task
async def aholds() -> None:
    held = Held()
    raise LookupError(f"with {held}")


def of_failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if getattr(record, "error_type", None)]


def test_an_emptied_traceback_shows_the_same_and_holds_nothing() -> None:
    gc.disable()
    try:
        alive.clear()
        error = outer()
        before, held = traceback.format_exception(error), len(alive)

        empty_tracebacks(error)

        assert traceback.format_exception(error) == before
        assert (held, len(alive)) == (3, 0)
        assert error.__traceback__.tb_frame.f_globals["__name__"] == __name__
        assert error.__traceback__.tb_frame.f_back is None
        assert error.__traceback__.tb_frame.f_locals == {}
    finally:
        gc.enable()


def test_frames_that_a_job_still_uses_are_left_alone() -> None:
    def going_on() -> Any:
        held = Held()
        try:
            inner(0)
        except ZeroDivisionError as error:
            yield error
        yield held

    steps = going_on()
    error = next(steps)

    empty_tracebacks(error)

    assert isinstance(next(steps), Held)


def test_of_a_recursion_without_an_end_the_first_and_the_last_calls_are_kept() -> None:
    def endless(number: int) -> None:
        if number == 0:
            raise ValueError("at the end")
        endless(number - 1)

    with pytest.raises(ValueError, match="at the end") as found:
        endless(300)

    empty_tracebacks(found.value)

    calls = traceback.extract_tb(found.value.__traceback__)
    assert len(calls) == traces.MOST
    assert calls[-1].line == 'raise ValueError("at the end")'


@pytest.mark.parametrize("task", [holds, aholds], ids=["def", "async def"])
@pytest.mark.parametrize("attempts", [1, 2], ids=["for good", "to be tried again"])
def test_the_record_of_a_failure_has_the_error_and_none_of_what_the_job_held(
    task: Any, attempts: int, lite: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()
    alive.clear()
    task.using(max_attempts=attempts).enqueue()

    worked(lite)

    (record,) = of_failures(caplog)
    assert record.exc_info is not None
    kind, error, trace = record.exc_info
    assert (kind, type(error)) == (LookupError, LookupError)
    assert [one.name for one in traceback.extract_tb(trace)] == [task.function.__name__]
    assert record.levelname == ("ERROR" if attempts == 1 else "WARNING")
    assert len(alive) == 0
    assert caplog.text.count("Traceback (most recent call last)") == 1
    assert caplog.text.count('raise LookupError(f"with {held}")') == 1


@pytest.mark.parametrize("attempts", [1, 2])
def test_the_text_of_a_record_is_a_template_with_what_varies_beside_it(
    attempts: int, lite: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        fails.using(max_attempts=attempts).enqueue()

    worked(lite)

    records = of_failures(caplog)
    assert len(records) == 2
    assert len({record.msg for record in records}) == 1
    assert len({record.getMessage() for record in records}) == 2


@pytest.mark.parametrize(
    ("text", "shown"), [("a\ud800b\0", r"a\ud800b\x00"), (f"begins {'x' * 1_000_000} ends", "x ends")]
)
def test_an_error_that_no_file_takes_or_that_is_very_long_is_in_the_log_all_the_same(
    text: str, shown: str, lite: Jobs, tmp_path: Path, body: Any
) -> None:
    def raises() -> None:
        raise ValueError(text)

    handler = logging.FileHandler(tmp_path / "log", encoding="utf-8")
    job = act.using(max_attempts=1).enqueue(body(raises))
    logging.getLogger("belayed").addHandler(handler)
    try:
        worked(lite)
    finally:
        logging.getLogger("belayed").removeHandler(handler)
        handler.close()

    found = (tmp_path / "log").read_text("utf-8")
    assert f"#{job.id} FAILED permanently" in found
    assert found.rstrip().endswith(shown)
    assert "Traceback (most recent call last)" in found
    assert len(found) < 50_000


@pytest.mark.parametrize("raises_when_shown", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_error_that_raises_when_it_is_shown_is_in_the_log_by_its_name(
    raises_when_shown: type[BaseException], lite: Jobs, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def shown(self: Any) -> Any:
        raise raises_when_shown

    hostile = type("Hostile", (Exception,), {"__notes__": property(shown)})

    def raises() -> None:
        raise hostile("no")

    job = act.using(max_attempts=1).enqueue(body(raises))

    worked(lite)

    (record,) = of_failures(caplog)
    assert f"#{job.id} FAILED permanently" in record.getMessage()
    assert record.exc_info is None
    assert f"its traceback cannot be shown ({raises_when_shown.__name__})" in caplog.text


def test_errors_wait_to_be_logged_for_a_while_only() -> None:
    def failed(id: int) -> Finished:
        one = Finished(id, "token", Outcome.FAILED, State.FAILED)
        one.error = ValueError(str(id))
        return one

    unlogged = Unlogged()
    for id in range(traces.KEPT + 3):
        unlogged.keep(failed(id))
    (_, (since, _)) = next(iter(unlogged.kept.items()))

    unlogged.tend(since)
    gone, kept = failed(0), failed(traces.KEPT + 2)
    unlogged.put_back(gone)
    unlogged.put_back(kept)

    assert gone.error is None
    assert str(kept.error) == str(traces.KEPT + 2)
    assert unlogged.tend(since) > since
    assert unlogged.tend(since + traces.KEPT_FOR + 60) == float("inf")
    assert unlogged.kept == {}


def test_an_error_whose_class_lies_about_its_traceback_is_one_for_the_record() -> None:
    class Lies(Exception):
        __traceback__ = property(lambda self: 1 / 0)  # type: ignore[assignment]

    with pytest.raises(Lies) as found:
        raise Lies

    empty_tracebacks(found.value)
    kind, value, trace = raised(found.value)

    assert (kind, value) == (Lies, found.value)
    assert trace is not None
    assert trace.tb_frame is not sys._getframe()


@pytest.mark.parametrize("processes", [0, 1])
def test_an_error_tracker_sees_the_error_that_was_raised_in_the_process_of_the_job(
    processes: int, lite: Jobs, tmp_path: Path
) -> None:
    final = {"max_attempts": 1}
    jobs = {
        one.id: (name, attempts)
        for name in ("raises", "araises")
        for attempts in (1, 2)
        for one in [getattr(raising_tasks(), name).using(max_attempts=attempts).enqueue("what")]
    }
    answer = raising_tasks().raises.using(**final).enqueue("fail")
    again = raising_tasks().raises.using(max_attempts=2).enqueue("retry")
    path = tmp_path / "tracked"

    with tree(
        lite,
        tmp_path / "log",
        "workoff",
        app="tests.worker.raising",
        variables={"TRACKED": str(path)},
        processes=processes,
        wait=False,
    ) as worker:
        assert worker.ended(60) == 0

    records = [json.loads(line) for line in path.read_text().splitlines()]
    failures = {one["job"]: one for one in records if one["job"] and one["level"] != "INFO"}
    assert failures.keys() == {*jobs, answer.id, again.id}
    for id, (name, attempts) in jobs.items():
        one = failures[id]
        assert (one["type"], one["same"]) == ("Declined", True)
        assert one["level"] == ("ERROR" if attempts == 1 else "WARNING")
        assert one["calls"] == [[name, "deep(what)"], ["deep", "raise error"]]
    assert len({failures[id]["template"] for id in jobs}) == 2
    assert (failures[answer.id]["type"], failures[answer.id]["level"]) == ("Fail", "ERROR")
    assert (failures[again.id]["type"], failures[again.id]["level"]) == (None, "WARNING")
    # In the log as a person reads it: once each, of four jobs and of the answer that is the last word.
    assert worker.text.count("Traceback (most recent call last)") == 5


def test_the_supervisor_logs_a_crash_with_its_kind_and_without_an_error(lite: Jobs, tmp_path: Path) -> None:
    raising_tasks().dies.using(max_attempts=1).enqueue()

    with tree(
        lite,
        tmp_path / "log",
        "workoff",
        app="tests.worker.raising",
        variables={"TRACKED": str(tmp_path / "tracked")},
        wait=False,
        log_format="json",
    ) as worker:
        assert worker.ended(60) == 0

    lines = eventually(lambda: [line for line in worker.logged("FAILED permanently") if line.startswith("{")])
    (found,) = map(json.loads, lines)
    assert (found["error_type"], found["outcome"], found["level"]) == ("AttemptCrashed", "crashed", "ERROR")
    assert "error" not in found


def raising_tasks() -> Any:
    """The application's tasks, without its handlers in this process."""
    handlers = list(logging.getLogger().handlers)
    from tests.worker import raising

    logging.getLogger().handlers[:] = handlers
    return raising
