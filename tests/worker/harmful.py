"""An application whose jobs harm their worker rather than themselves: for workers in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import faulthandler
import logging
import os
import re
import signal
import sqlite3
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import belayed
from belayed import current_job, task
from tests.patience import patient
from tests.worker.tasks import note as note_task

note = note_task.function
jobs = belayed.configure(synchronous="normal")

held: contextvars.ContextVar[object] = contextvars.ContextVar("held")


@task
def ends(path: str, seconds: float = 0.0) -> None:
    """An effect, and then some time."""
    note(path, f"{os.getpid()} {current_job().id}")
    time.sleep(seconds)


@task
def waits(path: str, until: str) -> None:
    """An effect, and then a wait for a file."""
    note(path, f"{os.getpid()} {current_job().id}")
    while not Path(until).exists():
        time.sleep(0.01)


class DiesWithIt:
    """As a handle of a library in C whose destructor has a fault."""

    def __del__(self) -> None:
        os.abort()


@task
async def dies_a_moment_after(path: str) -> None:
    """It brings its process down when its context is freed, right after its code has ended."""
    note(path, f"{os.getpid()} {current_job().id}")
    held.set(DiesWithIt())


@task
def forks_and_returns(path: str) -> None:
    """An effect, and a copy of the process that comes back from the job, too."""
    note(path, f"{os.getpid()} {current_job().id}")
    if pid := os.fork():
        os.waitpid(pid, 0)


@task
def keeps_the_lock() -> None:
    """The interpreter's, for hours: a regular expression that never ends."""
    re.match(r"(a+)+b", "a" * 50)


@task
async def blocks_the_loop() -> None:
    time.sleep(3600)  # noqa: ASYNC251 (that is the fault)


@task
def freezes_the_clock() -> None:
    """As tests do that freeze the time, and forget to let it go on."""
    at = time.monotonic() - patient(1000)
    time.monotonic = lambda: at


@task
async def aends(path: str, seconds: float = 0.0) -> None:
    note(path, f"{os.getpid()} {current_job().id}")
    await asyncio.sleep(seconds)


# Logging.


class Breaks(logging.Handler):
    """A handler, a filter and a formatter that do not work."""

    def __init__(self, error: Any) -> None:
        super().__init__()
        self.error = error

    def emit(self, record: logging.LogRecord) -> None:
        raise self.error


def break_logging(how: str) -> None:
    """Leave logging as an application with a fault would."""
    log, error = logging.getLogger("belayed"), SystemExit(3) if "exits" in how else ValueError("a bug")
    if how.startswith("handler"):
        log.addHandler(Breaks(error))
    elif how.startswith("filter"):
        log.addFilter(Breaks(error).emit)
    elif how == "stderr closed":
        sys.stderr.close()
    elif how == "stderr away":
        sys.stderr = None
    elif how == "files closed":
        os.closerange(1, 3)
    elif how == "records":

        def factory(*args: Any, **kwargs: Any) -> Any:
            raise error

        logging.setLogRecordFactory(factory)


@task
def breaks_logging(how: str) -> None:
    break_logging(how)


class Hangs(logging.Handler):
    """A handler that hangs once, with a line of this text in a thread of this name."""

    def __init__(self, text: str = "succeeded", thread: str = "") -> None:
        super().__init__()
        self.text, self.thread, self.first = text, thread, threading.Lock()
        self.hangs, self.free = threading.Event(), threading.Event()

    def createLock(self) -> None:  # noqa: N802
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        found = threading.current_thread().name.startswith(self.thread) and self.text in record.getMessage()
        if found and self.first.acquire(blocking=False):
            self.hangs.set()
            self.free.wait()


@task
def hangs_logging(text: str, thread: str = "") -> None:
    """Leave a handler that hangs, and have that noticed soon."""
    from belayed.worker import saying, slots

    saying.HANGS = slots.HANGS = sys.modules["__main__"].HANGS = 0.2  # type: ignore[attr-defined]
    handler = Hangs(text, thread)
    logging.getLogger("belayed").addHandler(handler)
    kept.append(handler)


kept: list[Hangs] = []


@task
def waits_for_the_hang() -> None:
    """End when the handler of this process hangs."""
    kept[0].hangs.wait(patient(20))


# The machinery.


class Sabotage(BaseException):
    pass


def sabotaged(*_args: Any, **_kwargs: Any) -> Any:
    raise Sabotage("this part of the worker does not work any more")


@task
def sabotages(name: str) -> None:
    """Break a part of the process that runs this."""
    from belayed.worker import attempt, page

    # A child's program is its main module.
    child: Any = sys.modules["__main__"]
    parts: dict[str, tuple[type, str]] = {
        "verdict": (attempt.Attempts, "told"),
        "reader": (child.Child, "listen"),
        "page": (page.Page, "end"),
    }
    owner, method = parts[name]
    setattr(owner, method, sabotaged)


# Deaths.


@task(backoff=timedelta())
def completes_and_dies(path: str, seconds: float) -> None:
    """It succeeds in its own transaction, and takes its process down when that is written."""
    import psycopg

    lite = jobs.address.dialect == "sqlite"
    target = jobs.address.target
    raw: Any = sqlite3.connect(target, timeout=patient(20), isolation_level=None) if lite else psycopg.connect(target)
    with contextlib.closing(raw), current_job().transaction(raw):
        pass
    note(path, f"{os.getpid()} {current_job().id}")
    time.sleep(seconds)
    os._exit(5)


@task
def leaves(what: str, seconds: float) -> None:
    """End well, and leave behind what ends this process later."""
    if what == "watchdog":
        # A thread that Python does not know of.
        faulthandler.dump_traceback_later(seconds, exit=True)
    else:
        signal.setitimer(signal.ITIMER_REAL, seconds)


@task
def dies(path: str, seconds: float = 0.0) -> None:
    note(path, f"{os.getpid()} {current_job().id}")
    time.sleep(seconds)
    os._exit(9)


@task
def leaves_a_thread() -> None:
    """A thread that does no harm."""
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


@task
def kills_all(path: str) -> None:
    """The whole worker dies, as of a container's lack of memory."""
    note(path, f"{os.getpid()} {current_job().id}")
    if "belayed.worker.child" in " ".join(sys.orig_argv):
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
