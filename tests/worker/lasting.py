"""An application whose jobs keep their process from ending, or end it at the wrong moment."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import belayed
from belayed import task
from tests.worker.tasks import note as note_task

note = note_task.function
jobs = belayed.configure(synchronous="normal")


@task
async def closes_the_loop(path: str) -> None:
    """The event loop is closed, with this and its neighbours in it."""
    note(path)
    loop: Any = asyncio.get_running_loop()
    # Else it refuses.
    loop._thread_id = None
    loop.close()
    await asyncio.sleep(600)


@task
async def closes_the_loop_and_stays(path: str) -> None:
    loop: Any = asyncio.get_running_loop()
    loop._thread_id = None
    loop.close()
    note(path)
    time.sleep(600)  # noqa: ASYNC251 (that is the fault)


@task
async def awaits(path: str) -> None:
    """A neighbour."""
    note(path)
    await asyncio.sleep(600)


@task
async def stops_the_loop(path: str) -> None:
    """The event loop is stopped; it goes on."""
    note(path)
    asyncio.get_running_loop().stop()
    await asyncio.sleep(600)


@task
def hangs_at_exit(path: str) -> None:
    """Ends well, and leaves what the process hangs in at its end."""
    atexit.register(time.sleep, 600)
    note(path)


@task
def leaves_a_thread(path: str) -> None:
    """Ends well, and leaves a thread that Python waits for."""
    threading.Thread(target=time.sleep, args=(600,), name="left-behind", daemon=False).start()
    note(path)


@task
def ignores_stops(path: str) -> None:
    note(path)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(600)


@task
def exits_everywhere(path: str) -> None:
    """Raises SystemExit in all threads."""
    note(path)
    for thread in threading.enumerate():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    time.sleep(600)


@task
def holds_the_database(path: str) -> None:
    """Keeps SQLite's write lock, and will not end."""
    locks_the_database(path)
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(600)


def locks_the_database(path: str) -> None:
    kept.append(connection := sqlite3.connect(jobs.address.target, isolation_level=None, check_same_thread=False))
    connection.execute("BEGIN IMMEDIATE")
    note(path)


kept: list[sqlite3.Connection] = []


@task
def leaves_the_database_locked(path: str) -> None:
    """A thread that it has left behind takes SQLite's write lock when the job's own outcome is written."""
    threading.Timer(1, locks_the_database, (path,)).start()


@task
def ends_under_the_lock(path: str) -> None:
    """Ends when nothing can be written any more."""
    while not Path(path).read_text("utf-8"):
        time.sleep(0.01)
    note(path, "ended")


@task
def takes_longer(path: str, seconds: float) -> None:
    note(path)
    time.sleep(seconds)
