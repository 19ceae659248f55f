"""An application whose jobs attack their own process: its channel, its page, its supervisor."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import belayed
from belayed import current_job, task
from tests.patience import patient
from tests.worker.tasks import note as note_task

note = note_task.function
jobs = belayed.configure(synchronous="normal")


def files(kind: str) -> list[int]:
    """The descriptors of this process that are of a kind: `socket:`, `/memfd:belayed`."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(fd).startswith(kind):  # noqa: PTH115
                found.append(int(fd.name))
        except OSError:
            pass
    return found


def channel() -> int:
    """The descriptor of the channel, which is an argument of this process."""
    return int(sys.orig_argv[-3])


def said(kind: str, body: Any) -> bytes:
    text = json.dumps([kind, body]).encode()
    return struct.pack(">I", len(text)) + text


def forever() -> None:
    while True:
        time.sleep(0.01)


@task
def ends(path: str) -> None:
    note(path, f"{os.getpid()} {time.monotonic()}")


@task
def waits(path: str, until: str) -> None:
    """It ends when there is a file."""
    note(path, f"{os.getpid()} {time.monotonic()}")
    while not Path(until).exists():
        time.sleep(0.01)


@task
def sends(kind: str, text: str) -> None:
    """Sends a frame, with its own cell and id put in."""
    cells = open_page()[8:]
    cell = max(range(len(cells) // 2), key=lambda at: cells[2 * at])
    body = json.loads(text.replace('"CELL"', str(cell)))
    os.write(channel(), said(kind, body))
    forever()


@task
def writes(data: str) -> None:
    os.write(channel(), bytes.fromhex(data))
    forever()


@task
def cuts_the_channel_later(until: str) -> None:
    """Leaves a thread that ends the channel when there is a file, and lets its process notice a while later."""

    def cut() -> None:
        while not Path(until).exists():
            time.sleep(0.01)
        # With the interpreter's lock: no other thread here runs before this is over.
        libc = ctypes.PyDLL(None)
        libc.shutdown(channel(), socket.SHUT_RDWR)
        libc.usleep(300_000)

    threading.Thread(target=cut, daemon=True).start()


@task(max_attempts=1)
def fails(dies: bool) -> None:
    """An error; with *dies* this process ends before it reads that the outcome is written, so that it logs nothing."""
    child = sys.modules["__main__"].Child  # type: ignore[attr-defined]
    heard = child.heard
    if dies:
        child.heard = lambda self, kind, body: os._exit(3) if kind == "written" else heard(self, kind, body)
    raise ValueError("for the log")


@task
def forks_and_writes() -> int:
    """Leaves a process behind, out of reach, that goes on writing to the channel."""
    fd = channel()
    if os.fork() == 0:
        os.setsid()
        deadline = time.monotonic() + patient(20)
        while time.monotonic() < deadline and os.getppid() != 1:
            time.sleep(0.01)
        while time.monotonic() < deadline:
            try:
                os.write(fd, said("kinds", {}))
            except BlockingIOError:
                pass
            except OSError:
                break
        os._exit(0)
    os._exit(1)


@task
def shrinks() -> list[str]:
    """Makes the page shorter, and longer, every way there is."""
    found = []
    for fd in files("/memfd:belayed"):
        for size in (0, 1 << 20):
            try:
                os.ftruncate(fd, size)
                found.append("done")
            except PermissionError:
                found.append("refused")
        try:
            again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_TRUNC)
            found.append(f"size {os.fstat(again).st_size > 0}")
        except PermissionError:
            found.append("refused")
    return found


def open_page() -> memoryview:
    fd = files("/memfd:belayed")[0]
    return memoryview(mmap.mmap(fd, os.fstat(fd).st_size)).cast("d")


@task
def scribbles(number: str, first: int, last: int) -> None:
    """Writes a number all over a part of the page."""
    numbers = open_page()
    for at in range(first, last if last > 0 else len(numbers)):
        numbers[at] = float(number)


@task
def takes_the_channel() -> None:
    """Puts another file in the place of the channel, and keeps a copy of it open."""
    os.dup(channel())
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, channel())


@task
def attempt() -> int:
    return current_job().attempt
