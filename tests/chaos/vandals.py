"""Jobs that do harm to the process that they run in, and to what it shares with its supervisor.

They spare the database: to write into its file or its sockets is to destroy data, and no queue could prevent that.
"""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from belayed import task
from tests.chaos import app
from tests.chaos.kinds import VANDALS_QUEUE
from tests.chaos.ledger import note, ran

HEADER = 24
"""Bytes at the beginning of the page: the lease and the child's sign of life."""
NAN, BAD = float("nan"), 10**400
ROW = ["token", "succeeded", "succeeded"]
FRAMES: list[Any] = [
    ["succeeded", [[10**9, 5]]],
    ["succeeded", [["0", 5]]],
    ["succeeded", [[0, "soon"]]],
    ["succeeded", [[True, NAN, {}, []]]],
    ["succeeded", [[-1, 5], 7, None]],
    ["succeeded", {"a": 1}],
    ["succeeded", 7],
    ["ended", [[0, [1, *ROW]]]],
    ["ended", [[0, None]]],
    ["ended", [[0, [BAD, *ROW, NAN, NAN, [], {}, "x" * 5000]]]],
    ["ended", "text"],
    ["completed", [0]],
    ["completed", [0, [1, *ROW]]],
    ["completed", None],
    ["kinds", [1, 2]],
    ["kinds", {"tests.chaos.app:works": "maybe", "": NAN}],
    ["kinds", None],
    ["hello", {}],
    ["hello", {"url": 5, "config": [], "kinds": 3, "parameters": 1}],
    ["parameters", {"given": {"host": "elsewhere"}, "role": None, "commands": []}],
    ["hello", None],
    ["failed", ["\0\x1b[31m"]],
    ["begin", {}],
    [5, 6],
    ["kind", "body", "more"],
    {"succeeded": []},
    None,
]
"""Frames that are well formed, and say what no child could say. None that would lie about a neighbour's outcome."""
NESTED = b"[" * 100_000 + b"]" * 100_000
RAW = [
    b"\xff" * 64,
    struct.pack(">I", 0),
    struct.pack(">I", 5) + b"\xff\xfe\x00[]",
    struct.pack(">I", len(NESTED)) + NESTED,
    struct.pack(">I", 1 << 27) + b"[",
    struct.pack(">I", 1 << 31 | 4) + b"N\x00\x00\x00",
    struct.pack(">I", 20) + b'["succeeded",1e99999',
    b'["succeeded", []]\n' * 100,
]
"""What is no frame at all."""


class Hostile(Exception):
    """What hostile code in logging raises."""


@task(queue=VANDALS_QUEUE, max_attempts=2, backoff=app.SOON)
def sends(key: str, number: int) -> None:
    """Write what no child would send to every socket that has no name: one of them is the supervisor's."""
    with ran(key):
        note("harms", key)
        number %= len(RAW) + len(FRAMES)
        data = RAW[number] if number < len(RAW) else framed(FRAMES[number - len(RAW)])
        for fd in unnamed(stat.S_ISSOCK):
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
                sock.setblocking(False)
                sock.send(data)


@task(queue=VANDALS_QUEUE, max_attempts=2, backoff=app.SOON)
def scribbles(key: str, how: str) -> None:
    """Write into the page of memory that is shared with the supervisor, or change its size."""
    with ran(key):
        note("scribbles" if how == "cells" else "harms", key)
        for fd in unnamed(stat.S_ISREG):
            with contextlib.suppress(OSError, ValueError):
                if how in ("truncate", "extend"):
                    os.ftruncate(fd, 0 if how == "truncate" else 1 << 20)
                    continue
                size = os.fstat(fd).st_size if how == "cells" else HEADER
                value = {"past": -1.0, "infinity": float("inf")}.get(how, NAN)
                with mmap.mmap(fd, 0) as page:
                    page[:size] = struct.pack("d", value) * (size // 8)


@task(queue=VANDALS_QUEUE, max_attempts=2, backoff=app.SOON)
def silences(key: str, how: str) -> None:
    """Take away the stream that log lines go to."""
    with ran(key):
        note("harms", key)
        if how == "object" and sys.stderr is not None:
            sys.stderr.close()
        elif how == "descriptor":
            with contextlib.suppress(OSError):
                os.close(2)
        elif how == "none":
            sys.stderr = None  # type: ignore[assignment]
        else:
            reading, writing = os.pipe()
            os.dup2(writing, 2)
            os.close(reading)
            os.close(writing)


@task(queue=VANDALS_QUEUE, max_attempts=2, backoff=app.SOON)
def filters(key: str, where: str) -> None:
    """Install what raises whenever anything is logged."""
    with ran(key):
        note("harms", key)
        belayed, root = logging.getLogger("belayed"), logging.getLogger()
        if where == "logger":
            belayed.addFilter(raises)
        elif where == "handlers":
            for handler in (*belayed.handlers, *root.handlers):
                handler.addFilter(raises)
        elif where == "handler":
            handler = logging.Handler()
            handler.emit = raises  # type: ignore[assignment]
            belayed.addHandler(handler)
            root.addHandler(handler)
        elif where == "factory":
            logging.setLogRecordFactory(raises)
        else:
            belayed.isEnabledFor = raises  # type: ignore[assignment]


@task(queue=VANDALS_QUEUE, max_attempts=2, backoff=app.SOON)
def closes(key: str) -> None:
    """Close every file but those of the database."""
    with ran(key):
        note("harms", key)
        for fd in unnamed(lambda _mode: True):
            with contextlib.suppress(OSError):
                os.close(fd)


@task(queue=VANDALS_QUEUE, max_attempts=2, backoff=app.SOON)
def signals(key: str, number: int, up: bool) -> None:
    """Send a signal to this process, or to its supervisor."""
    with ran(key):
        note("harms", key)
        os.kill(os.getppid() if up else os.getpid(), number)


def raises(*_args: Any, **_named: Any) -> Any:
    raise Hostile("whatever is logged")


def framed(body: Any) -> bytes:
    text = json.dumps(body).encode()
    return struct.pack(">I", len(text)) + text


def unnamed(wanted: Callable[[int], bool]) -> Iterator[int]:
    """The open files beyond 2 that are none of the database: those that have no name in the file system."""
    for link in list(Path("/proc/self/fd").iterdir()):
        fd = int(link.name)
        try:
            mode, path = os.fstat(fd).st_mode, link.readlink()
            if fd <= 2 or not wanted(mode) or stat.S_ISSOCK(mode) and named(fd):
                continue
        except OSError:
            continue
        if not path.exists():
            yield fd


def named(fd: int) -> bool:
    """Whether a socket leads to a server."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        return sock.family != socket.AF_UNIX or bool(sock.getpeername())
