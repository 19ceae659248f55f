"""What ended jobs have left behind in a child that may bring it down later: threads, processes, tasks, timers, limits.

A death of the child is then no proof against the job that ran. Counted with each batch of outcomes, not with each job:
a few calls of the kernel.
"""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import Sized

from belayed.worker.slots import Slots

OWN = "belayed-"
"""What the names of the worker's threads begin with."""
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
        self.threads: set[str] = set()
        self.limits: list[tuple[int, int]] = []
        self.timers = b""

    def open(self) -> None:
        """Take what is here now for the application's own."""
        self.threads, self.limits, self.timers = set(threads()), limits(), timers()

    def count(self) -> int:
        """How many threads, processes, tasks and the like there may be of jobs that have ended.

        Those of jobs that run are counted too: nobody can tell whose they are.
        """
        found = len(self.strange_threads()) + has_children()
        loop = self.slots.loop
        if loop.thread is not None:
            found += tasks_beyond(loop.loop, loop.made) + callbacks(loop.loop)
        return found + (limits() != self.limits) + (timers() != self.timers)

    def strange_threads(self) -> set[str]:
        """The threads that were not here at first, and are none of the worker's."""
        found = set(threads()) - self.threads
        if found:
            found -= {str(one.native_id) for one in threading.enumerate() if one.name.startswith(OWN)}
        return found


def threads() -> list[str]:
    """The threads of this process by their ids: on Linux also those that Python does not know of."""
    try:
        return os.listdir(TASKS)  # noqa: PTH208 (a Path takes several times as long)
    except OSError:
        return [str(thread.native_id) for thread in threading.enumerate()]


def callbacks(loop: asyncio.AbstractEventLoop | None) -> int:
    """The timers and watched files of an event loop, as far as it is one of asyncio's own."""
    timers = getattr(loop, "_scheduled", ())
    watched: Sized | None = getattr(getattr(loop, "_selector", None), "get_map", dict)()
    # One file is the loop's own, by which other threads wake it.
    return len(timers) + max(0, len(watched or ()) - 1)


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
