"""What the tests of the worker are made of: waiting for conditions, statements of their own, other processes."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from belayed import Job, State, Worker
from belayed.config import address
from belayed.jobs import Jobs
from belayed.worker import Summary
from tests.patience import patient

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
BRISK: dict[str, Any] = {
    "beat": timedelta(seconds=0.2),
    "lapse": timedelta(seconds=1),
    "grace": timedelta(seconds=2),
    "threads": 3,
}
"""A worker whose timers are those of minutes in seconds."""

PROGRAM = """
import datetime, logging, sys
sys.path[:0] = [{root!r}, {source!r}]
import belayed
import tests.worker.tasks
logging.basicConfig(level="INFO", stream=sys.stderr)
jobs = belayed.configure({url!r}, synchronous="normal")
"""


class NotInTime(AssertionError):
    """What a test waits for has not come."""


def eventually(condition: Callable[[], T], within: float = 30) -> T:
    """What *condition* returns once it is true. Raises NotInTime."""
    within = patient(within)
    deadline = time.monotonic() + within
    while not (found := condition()):
        if time.monotonic() >= deadline:
            raise NotInTime(f"not within {within:g} s")
        time.sleep(0.005)
    return found


def worker(jobs: Jobs, **settings: Any) -> Worker:
    return Worker(jobs, **{**BRISK, **settings})


def worked(jobs: Jobs, **settings: Any) -> Summary:
    """What a worker brings that works until nothing is ready."""
    return worker(jobs, **settings).run(until_empty=True)


def due(job: Job) -> None:
    """Let the time come at which a job is to run."""
    assert job.change(run_at=timedelta())


def ended(*jobs: Job) -> bool:
    return all(job.refresh().ended for job in jobs)


def states(*jobs: Job) -> list[State]:
    return [job.refresh().state for job in jobs]


def wait_left(job: Job) -> float:
    """Seconds until a job that was put off may run."""
    return (job.refresh().run_at - datetime.now(UTC)).total_seconds()


def execute(jobs: Jobs, text: str) -> list[tuple[Any, ...]]:
    """The rows of a statement of the test's own."""
    at = address(jobs.url)
    if at.dialect == "sqlite":
        with contextlib.closing(sqlite3.connect(at.target, timeout=patient(10), isolation_level=None)) as lite:
            return lite.execute(text).fetchall()
    with psycopg.connect(at.target, autocommit=True) as connection:
        cursor = connection.execute(text.encode())
        return cursor.fetchall() if cursor.description else []


def logged(caplog: Any, text: str) -> list[str]:
    """The log lines that contain *text*."""
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


class Process:
    """A worker in a process of its own."""

    def __init__(self, jobs: Jobs, program: str) -> None:
        code = PROGRAM.format(root=str(ROOT), source=str(ROOT / "src"), url=jobs.url) + program
        self.popen = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=ROOT)
        self.pid = self.popen.pid
        self.errors = ""

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.ended()

    def ended(self, within: float = 15) -> int:
        """The code that it ended with."""
        _, errors = self.popen.communicate(timeout=patient(within))
        self.errors += errors
        return self.popen.returncode


@contextlib.contextmanager
def process(jobs: Jobs, **settings: Any) -> Iterator[Process]:
    """A worker in a process of its own, once it is registered."""
    values = {**BRISK, **settings}
    with program(jobs, f"belayed.Worker(jobs, **{values!r}).run()") as other:
        eventually(lambda: other.pid in [row.pid for row in jobs.workers()] or other.popen.poll() is not None)
        yield other


@contextlib.contextmanager
def program(jobs: Jobs, text: str) -> Iterator[Process]:
    """A process that runs *text*, in which `jobs` and `belayed` are known."""
    other = Process(jobs, text)
    try:
        yield other
    finally:
        if other.popen.poll() is None:
            other.signal(signal.SIGCONT)
            other.popen.kill()
        other.popen.wait()
        if other.popen.stderr:
            other.popen.stderr.close()
