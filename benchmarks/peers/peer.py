"""What each program under measurement is: how it enqueues, how it works, and the job that all of them run.

Runs under each peer's own interpreter, so it imports nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import struct
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Sequence
from typing import Any, NoReturn

MARKS = "BENCHMARK_MARKS"
"""The environment variable that names the file of marks."""
MARK = struct.Struct("<dq")
WAIT = 0.01
"""Seconds that the waiting job waits, as for another system's answer."""
URL = "BENCHMARK_URL"
"""Where a worker that is started by a peer's own command finds its store."""


@functools.cache
def marks() -> int:
    return os.open(os.environ[MARKS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def mark(number: int) -> None:
    """The job: one write of the time and its argument to a file in memory, so that nobody reports on itself."""
    os.write(marks(), MARK.pack(time.monotonic(), number))


def drive(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never waits, without an event loop: for peers whose enqueue is a plain call."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waited")


class Peer(ABC):
    """One program, on the store at *url*; `job` is one of noop, wait and (for those that know both) wait_async."""

    packages: Sequence[str] = ()
    """Distributions whose versions belong into the result."""

    def __init__(self, url: str, *, job: str = "noop", queue: str = "default", options: dict[str, Any]) -> None:
        self.url = url
        self.job = job
        self.queue = queue
        self.options = options

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run what calls the methods below."""
        drive(coroutine)

    async def setup(self) -> None:  # noqa: B027 (some have nothing to do here)
        """Make the tables."""

    async def open(self) -> None:  # noqa: B027 (some have nothing to do here)
        """Connect, for the calls below."""

    async def close(self) -> None:  # noqa: B027 (some have nothing to do here)
        """End the connections."""

    @abstractmethod
    async def enqueue(self, number: int) -> None:
        """Save one job, committed."""

    async def enqueue_many(self, numbers: range) -> None:
        """Save all of these in as few calls as there are for it: here there is none but the one for each."""
        for number in numbers:
            await self.enqueue(number)

    async def fill(self, numbers: range) -> None:
        """Save all of these, as quickly as it goes; not measured."""
        await self.enqueue_many(numbers)

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 (it is driven without an event loop)

    @abstractmethod
    def work(self) -> None:
        """Run jobs until SIGTERM. A peer's own command is `exec`ed, so that no process of ours stands around it."""

    def stopped(self) -> threading.Event:
        """What SIGTERM sets, for those that are no command."""
        found = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: found.set())
        return found

    def become(self, program: str, *arguments: str, **environment: str) -> NoReturn:
        """Turn this process into a command of the peer's environment."""
        path = os.path.join(os.path.dirname(sys.executable), program)  # noqa: PTH118, PTH120 (pathlib would resolve it)
        # Some commands do not look for the application where they are started.
        found = {**os.environ, URL: self.url, "PYTHONPATH": os.getcwd(), **environment}  # noqa: PTH109
        os.execve(path, [path, *arguments], found)


class AsyncPeer(Peer):
    """A peer whose enqueue is a coroutine."""

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run(coroutine)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
