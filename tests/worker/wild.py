"""An application whose jobs do what jobs must not: for workers in processes of their own."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import belayed
from belayed import Job, Plugin, task
from tests.worker.tasks import note as note_task

note = note_task.function
# A call through it keeps the interpreter's lock.
LIBC = ctypes.PyDLL(None)
NOW = timedelta()


class Diary(Plugin):
    """Writes down what plugins are told."""

    def on_crash(self, job: Job, error: BaseException) -> None:
        if path := os.environ.get("DIARY"):
            note(path, f"crash {job.id} {type(error).__name__}")

    @contextmanager
    def around_work(self, worker: Any) -> Iterator[None]:
        if path := os.environ.get("LIVES"):
            note(path, f"begins {os.getpid()}")
        yield
        if path := os.environ.get("LIVES"):
            note(path, f"ends {os.getpid()}")

    @contextmanager
    def around_pass(self, worker: Any) -> Iterator[None]:
        if path := os.environ.get("LIVES"):
            note(path, f"pass {os.getpid()}")
        while path := os.environ.get("STUCK_WHILE"):
            if not Path(path).exists():
                break
            time.sleep(0.005)
        yield

    def on_error(self, job: Job, error: BaseException) -> None:
        if path := os.environ.get("DIARY"):
            note(path, f"error {job.id} {type(error).__name__}")

    def on_failure(self, job: Job, error: BaseException) -> None:
        if path := os.environ.get("DIARY"):
            note(path, f"failure {job.id} {type(error).__name__}")


if "IMPORTED" in os.environ:
    note(os.environ["IMPORTED"], str(os.getpid()))
if os.environ.get("IMPORT_TAKES"):
    time.sleep(float(os.environ["IMPORT_TAKES"]))
if "BROKEN_UNLESS" in os.environ and not os.path.exists(os.environ["BROKEN_UNLESS"]):  # noqa: PTH110
    raise ZeroDivisionError("not yet")
jobs = belayed.configure(plugins=[Diary()], synchronous="normal")


def started(path: str) -> None:
    note(path, f"{os.getpid()} {time.monotonic()}")


@task
def variables(path: str) -> None:
    """What a job sees of the environment that its worker was given."""
    note(path, " ".join(sorted({"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(os.environ))) or "none")


@task
def ends(path: str, seconds: float = 0.0) -> None:
    """An effect, and then some time in which it can be stopped."""
    started(path)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.005)
    note(path, "done")


@task
async def aends(path: str, seconds: float = 0.0) -> None:
    started(path)
    await asyncio.sleep(seconds)
    note(path, "done")


@task
def works(path: str, kind: str, until: str = "", seconds: float = 0.1) -> None:
    """Writes when it begins and when it ends; it goes on until a file is there, and for so many seconds."""
    note(path, f"+ {kind}")
    while until and not Path(until).exists():
        time.sleep(0.005)
    time.sleep(seconds)
    note(path, f"- {kind}")


@task
async def aworks(path: str, kind: str, until: str = "", seconds: float = 0.1) -> None:
    note(path, f"+ {kind}")
    while until and not Path(until).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.005)
    await asyncio.sleep(seconds)
    note(path, f"- {kind}")


@task
def keeps_the_lock(path: str, seconds: float) -> None:
    """One call into C that does not let go of the interpreter's lock."""
    started(path)
    LIBC.usleep(ctypes.c_uint(int(seconds * 1e6)))
    note(path, "done")


@task
async def leaves_a_block(path: str, seconds: float) -> None:
    """Ends at once; a task that it leaves blocks the event loop."""

    async def blocks() -> None:
        time.sleep(seconds)  # noqa: ASYNC251

    started(path)
    # Kept, as an event loop does not.
    leaves_a_block.left = asyncio.create_task(blocks())  # type: ignore[attr-defined]


@task(backoff=NOW)
def loops(path: str) -> None:
    started(path)
    while True:
        pass


@task(backoff=NOW)
def sleeps_in_c(path: str) -> None:
    started(path)
    time.sleep(600)


@task(backoff=NOW)
def swallows(path: str) -> None:
    """It takes every stop for an error, and goes on."""
    started(path)
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            pass


@task(backoff=NOW)
async def aswallows(path: str) -> None:
    started(path)
    while True:
        try:
            await asyncio.sleep(600)
        except BaseException:
            pass


@task
def segfaults() -> None:
    ctypes.string_at(0)


@task
def segfaults_after(path: str, seconds: float) -> None:
    started(path)
    time.sleep(seconds)
    ctypes.string_at(0)


@task
async def asegfaults() -> None:
    ctypes.string_at(0)


@task
def exits(code: int = 0) -> None:
    print("last words", file=sys.stderr)
    os._exit(code)


@task
def kills_itself_once(path: str) -> None:
    """Killed at its first run, fine at the next."""
    first = not os.path.getsize(path)  # noqa: PTH202
    started(path)
    if first:
        os.kill(os.getpid(), signal.SIGKILL)


@task(backoff=NOW)
def crashes_once(marker: str, path: str, kind: str) -> None:
    """Killed at its first run; at the next it works as others do."""
    first = not os.path.getsize(marker)  # noqa: PTH202
    note(marker, "ran")
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    works.function(path, kind)


class Decoded:
    """What ends the process when it is loaded again."""


def load_decoded(key: Any) -> Decoded:
    os._exit(9)


belayed.register_reference(Decoded, name="worker.decoded", key=lambda _: 1, load=load_decoded)


@task
def takes(one: Decoded) -> None:
    """It dies before it begins."""


@task
def shouts(megabytes: int) -> None:
    """A flood on stderr."""
    line = b"x" * 1023 + b"\n"
    for _ in range(megabytes):
        os.write(2, line * 1024)


@task
def closes(fds: str) -> str:
    if fds == "standard":
        for fd in range(3):
            os.close(fd)
    else:
        os.closerange(0, 1000)
    return "closed"


@task
def forks(path: str) -> int:
    """Leaves a process behind that comes back from the job, too."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    started(path)
    return pid


@task
def leaves_behind(path: str) -> None:
    """A process and a thread that go on, and no end of the job."""
    other = subprocess.Popen(["sleep", "600"])
    threading.Thread(target=time.sleep, args=(600,)).start()
    note(path, f"left {other.pid}")
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass


@task
def changes_the_process() -> None:
    os.chdir("/")
    os.umask(0o777)
    os.environ.clear()


@task
def recurses() -> None:
    recurses()


@task
def grows(megabytes: int) -> int:
    """Memory that stays."""
    kept.append(b"x" * (megabytes << 20))
    return os.getpid()


kept: list[bytes] = []


@task
def pid() -> int:
    return os.getpid()


@task
def talks_nonsense() -> None:
    """Writes to the channel as if it were a file of its own."""
    for fd in range(3, 50):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):  # noqa: PTH115
                os.write(fd, b"\xff" * 100)
        except OSError:
            pass
    time.sleep(60)


@task
def prints(text: str) -> None:
    print(text)
