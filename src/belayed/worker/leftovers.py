"""What ended jobs have left behind in a child that may bring it down later: threads, processes, tasks, timers, limits.

A death of the child is then no proof against the job that ran. Counted with each batch of outcomes, not with each job:
a few calls of the kernel.
"""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time

from belayed.worker.blame import MOMENT
from belayed.worker.loopslots import LoopSlots
from belayed.worker.slots import Slots

TASKS = "/proc/self/task"
TIMERS = "/proc/self/timers"
"""Those of timer_create(2), where the kernel shows them."""
DEADLY = [
    getattr(resource, name)
    for name in ("RLIMIT_CPU", "RLIMIT_RTTIME", "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_STACK")
    if hasattr(resource, name)
]
"""Limits at which the kernel ends a process, or lets it run out of memory."""


class Leftovers:
    """Counts what is here beyond what was here when the child was ready; of processes, whether there are any."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.threads = 0
        self.limits: list[tuple[int, int]] = []
        self.timers = b""
        self.tasks = 0
        self.look_at = 0.0

    def open(self) -> None:
        """Take what is here now for the application's own."""
        self.threads, self.limits, self.timers = threads(), limits(), timers()

    def count(self) -> int:
        """How many threads, processes, tasks and the like there may be of jobs that have ended.

        Those of jobs that run are counted too: nobody can tell whose they are.
        """
        slots = self.slots
        own = self.threads + len(slots.given_up) + sum(one.is_alive() for one in slots.news.threads)
        loop = slots.loop
        found = 0
        if loop.thread is not None:
            own += 1
            found = self.tasks_of(loop)
        found += max(0, threads() - own) + has_children()
        return found + (limits() != self.limits) + (timers() != self.timers)

    def tasks_of(self, loop: LoopSlots) -> int:
        """The tasks of jobs that have ended, as counted a moment ago: to look at thousands takes milliseconds."""
        now = time.monotonic()
        if now >= self.look_at:
            self.look_at = now + MOMENT / 2
            self.tasks = tasks_beyond(loop.loop, loop.made)
        return self.tasks


def threads() -> int:
    """The threads of this process: on Linux also those that Python does not know of."""
    try:
        # Each is a directory in this one, and so a link to it.
        return os.stat(TASKS).st_nlink - 2  # noqa: PTH116 (a Path takes twice as long)
    except OSError:
        return threading.active_count()


def limits() -> list[tuple[int, int]]:
    """The deadly limits, as they are now."""
    return [resource.getrlimit(one) for one in DEADLY]


def timers() -> bytes:
    """The first of the timers that are set, as the kernel describes them."""
    try:
        fd = os.open(TIMERS, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 1000)
    finally:
        os.close(fd)


def has_children() -> bool:
    """Whether a process was started here that has not ended, or that nobody has waited for."""
    if not hasattr(os, "waitid"):
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def tasks_beyond(loop: asyncio.AbstractEventLoop | None, own: int) -> int:
    """The tasks of an event loop beyond so many of its *own*."""
    try:
        return 0 if loop is None else max(0, len(asyncio.all_tasks(loop)) - own)
    except RuntimeError:
        # They changed again and again while they were counted: there are many.
        return 1
