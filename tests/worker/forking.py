# ruff: noqa: ASYNC110, ASYNC222, ASYNC240, ASYNC251 (short waits, in tests)
"""An application whose jobs fork: for workers in processes of their own."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import belayed
from belayed import Job, task
from belayed.connections.leftovers import leftovers
from tests.patience import patient
from tests.worker.tasks import note as note_task

note = note_task.function
jobs = belayed.configure(synchronous="normal")
processes: Any = multiprocessing.get_context("fork")
"""Not the kind of each platform: what a fork takes along is the point."""

if at_exit := os.environ.get("AT_EXIT"):
    atexit.register(lambda: note(at_exit, str(os.getpid())))


def double(number: int) -> int:
    return number * 2


def pooled() -> list[int]:
    with processes.Pool(3) as pool:
        return list(pool.map(double, range(20)))


def executed() -> list[int]:
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=processes) as executor:
        return list(executor.map(double, range(20)))


def terminated() -> list[int]:
    """The exit codes of processes that are ended at once: they may have just begun."""
    found = set()
    for _ in range(20):
        process = processes.Process(target=time.sleep, args=(600,))
        process.start()
        process.terminate()
        process.join()
        found.add(process.exitcode)
    return list(found)


def interrupted() -> int:
    """The exit code of a process that gets what Ctrl-C sends."""
    reading, writing = processes.Pipe()
    process = processes.Process(target=waits_for_an_interrupt, args=(writing,))
    process.start()
    reading.recv()
    os.kill(process.pid, signal.SIGINT)
    process.join()
    return int(process.exitcode)


def waits_for_an_interrupt(ready: Any) -> None:
    try:
        ready.send(True)
        # Again and again: a signal that comes just before a sleep is heeded after it.
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        os._exit(7)


def prepared() -> int:
    """The exit code of a program that is started by a fork."""
    with subprocess.Popen(["sleep", "600"], preexec_fn=os.getpid) as process:  # noqa: PLW1509 (that is the point)
        process.terminate()
        return process.wait()


def opens_sqlite() -> list[int]:
    """The exit code of a process that opens SQLite, made while another thread has what looks after connections."""
    held, free = threading.Event(), threading.Event()

    def holds() -> None:
        with leftovers.lock:
            held.set()
            free.wait()

    thread = threading.Thread(target=holds)
    thread.start()
    held.wait()
    process = processes.Process(target=sqlite3.connect, args=(":memory:",))
    process.start()
    process.join(patient(20))
    process.kill()
    free.set()
    thread.join()
    process.join()
    return [process.exitcode]


def open_transaction() -> list[int]:
    """The rows of a transaction that is open while a copy opens another connection to the same file."""
    path = f"{jobs.address.target}.own"
    held = [sqlite3.connect(path, isolation_level=None)]
    for text in ("CREATE TABLE t (n)", "BEGIN", "INSERT INTO t VALUES (1)"):
        held[0].execute(text)
    process = processes.Process(target=opens_and_frees, args=(held, path))
    process.start()
    process.join()
    held[0].execute("COMMIT")
    return [row[0] for row in held[0].execute("SELECT n FROM t")]


def opens_and_frees(held: list[Any], path: str) -> None:
    held.clear()
    sqlite3.connect(path).close()


def codes() -> list[int]:
    """The exit codes of copies that come back from here: by a return, by an error, by the end of the program."""
    found = []
    for end in (int, error, sys.exit):
        if (pid := os.fork()) == 0:
            raise Copy(end)
        found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return found


class Copy(Exception):
    """Raised in a copy, to be the copy's end."""

    def __init__(self, end: Callable[[], Any]) -> None:
        self.end = end


def error() -> None:
    raise ZeroDivisionError("in a copy")


def belongings() -> list[str]:
    """What a copy has of its worker: handlers of signals, ports, and what leads to a supervisor."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        found = [f"signal {number}" for number, one in handlers.items() if callable(one) and number != signal.SIGINT]
        for fd in range(100):
            with contextlib.suppress(OSError):
                to = str(Path(f"/proc/self/fd/{fd}").readlink())
                is_port = to.startswith("socket:") and socket.socket(fileno=os.dup(fd)).family == socket.AF_INET
                if is_port or to.startswith("/memfd:") or (to.startswith("socket:") and str(fd) == sys.argv[1]):
                    found.append(to)
        found += [line for line in Path("/proc/self/maps").read_text("utf-8").splitlines() if "memfd:belayed" in line]
        os.write(writing, "\n".join(found).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        found = file.read().splitlines()
    os.waitpid(pid, 0)
    return found


WAYS: dict[str, Callable[[], Any]] = {
    function.__name__: function
    for function in (
        pooled,
        executed,
        terminated,
        interrupted,
        prepared,
        opens_sqlite,
        open_transaction,
        codes,
        belongings,
    )
}


@task
def forks(way: str) -> Any:
    try:
        return WAYS[way]()
    except Copy as copy:
        return copy.end()


@task
async def aforks(way: str) -> Any:
    try:
        return WAYS[way]()
    except Copy as copy:
        return copy.end()


@task
async def notes_until(path: str, until: str) -> None:
    """A neighbour that says again and again in which process it is."""
    while not Path(until).exists():
        note(path, str(os.getpid()))
        await asyncio.sleep(0.01)


async def sleeps() -> int:
    await asyncio.sleep(0.01)
    return 5


async def runs_a_loop() -> None:
    os._exit(asyncio.run(sleeps()))


@task
async def forks_and_awaits(ready: str, until: str) -> list[int]:
    """The exit codes of copies that await something, each after a time in which its neighbours could go on."""
    while not Path(ready).read_text("utf-8"):
        await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    found = []
    for wait in (sleeps, loop.create_future, runs_a_loop):
        if (pid := os.fork()) == 0:
            await wait()
            time.sleep(600)
        found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        await asyncio.sleep(0.05)
    Path(until).touch()
    return found


@dataclass
class Hooked:
    """A job with hooks, which its copy comes back to."""

    path: str

    def perform(self) -> None:
        if pid := os.fork():
            os.waitpid(pid, 0)

    def success(self, job: Job) -> None:
        note(self.path, f"success {job.id}")

    def after(self) -> None:
        note(self.path, "after")


@task
def leaves_a_copy() -> int:
    """The id of a process that goes on."""
    if (pid := os.fork()) == 0:
        time.sleep(600)
    return pid


@task
def leaves_an_orphan(path: str) -> None:
    """A process whose parent ends at once, and which ends a moment later."""
    subprocess.run(["sh", "-c", f"sh -c 'echo $$ > {path}; sleep 0.5' &"], check=True)
