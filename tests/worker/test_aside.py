"""A log handler that hangs holds up neither the main thread of a child nor the loop of a worker."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from belayed import State, enqueue_many
from belayed.jobs import Jobs
from belayed.safelog import last_words, log
from belayed.worker import aside
from belayed.worker.aside import Aside
from tests.worker import harmful
from tests.worker.helpers import eventually, states, worker
from tests.worker.tasks import adouble, double
from tests.worker.tree import over, tree


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[harmful.Hangs]:
    """A handler that hangs with the first job that succeeds, until the end of the test."""
    monkeypatch.setattr(last_words, "kept", None)
    monkeypatch.setattr(aside, "HANGS", 0.1)
    handler, logger = harmful.Hangs(), logging.getLogger("belayed")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel("INFO")
    yield handler
    logger.setLevel(level)
    handler.free.set()
    logger.removeHandler(handler)


def test_a_worker_of_one_process_goes_on_while_a_log_handler_hangs(hanging: harmful.Hangs, lite: Jobs) -> None:
    double.enqueue(1)
    with worker(lite) as running:
        eventually(hanging.hangs.is_set)
        beat = running.loop.upkeep.last_beat  # type: ignore[union-attr]
        others = enqueue_many([double.draft(1), adouble.draft(1)] * 5)

        eventually(lambda: states(*others) == [State.SUCCEEDED] * 10)
        eventually(lambda: running.loop.upkeep.last_beat > beat)  # type: ignore[union-attr]
        hanging.free.set()


def test_time_limits_are_kept_while_a_log_handler_hangs(lite: Jobs) -> None:
    running = worker(lite)
    loop = running.made()
    overseer = running.overseen(loop)

    with overseer:
        # It logs what does not end.
        eventually(lambda: log.asides.get(overseer.thread.ident or 0) is overseer.aside)

    assert overseer.aside not in log.asides.values()
    loop.leave()


def test_a_child_s_main_thread_goes_on_while_a_log_handler_hangs(lite: Jobs, tmp_path: Path, effects: Path) -> None:
    with tree(lite, tmp_path / "log", app="tests.worker.harmful", processes=1, threads=2) as worker:
        # The main thread logs it, as soon as its supervisor has written the outcome.
        over(harmful.hangs_logging.enqueue("succeeded"))
        children = worker.children()
        over(harmful.waits_for_the_hang.enqueue(), harmful.ends.enqueue(str(effects)))
        running = harmful.waits.enqueue(str(effects), str(tmp_path / "never"))
        eventually(lambda: running.refresh().state is State.RUNNING)

        running.cancel()

        over(running)
        assert worker.children() == children


def test_lines_are_logged_aside_as_they_are_logged_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    with Aside():
        try:
            raise ValueError("no")
        except ValueError:
            log.exception("the %s", "reason", extra={"job_id": 7})
        log.debug("not wanted")

    (record,) = caplog.records
    assert (record.getMessage(), record.levelname, record.__dict__["job_id"]) == ("the reason", "ERROR", 7)
    assert (record.threadName, record.filename) == (threading.current_thread().name, Path(__file__).name)
    assert record.funcName == test_lines_are_logged_aside_as_they_are_logged_otherwise.__name__
    assert "ValueError: no" in caplog.text


def test_lines_behind_a_handler_that_hangs_are_bounded_and_counted(
    hanging: harmful.Hangs, caplog: pytest.LogCaptureFixture, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "MOST", 3)
    monkeypatch.setattr(aside, "HANGS", 0.0)

    with Aside():
        log.info("it succeeded")
        eventually(hanging.hangs.is_set)
        for number in range(5):
            log.info("line %d", number)
        hanging.free.set()

    found = [record.getMessage() for record in caplog.records]
    assert set(found) == {
        "it succeeded",
        "line 0",
        "line 1",
        "line 2",
        "… 2 lines were left out: a log handler did not return",
    }
    assert capfd.readouterr().err.count("a log handler has not returned") == 1


def test_the_copy_of_a_process_logs_by_itself() -> None:
    with Aside():
        pid = os.fork()
        if not pid:
            os._exit(len(log.asides))
        _, status = os.waitpid(pid, 0)

    assert status == 0
