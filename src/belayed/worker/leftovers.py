"""What ended jobs have left behind in a child: threads, processes and tasks that may bring it down later.

A death of the child is then no proof against the job that ran. Counted with each batch of outcomes, not with each job:
a few calls of the kernel.
"""

from __future__ import annotations

import asyncio
import os
import threading

from belayed.worker.slots import Slots

TASKS = "/proc/self/task"


class Leftovers:
    """Counts what is here beyond what was here when the child was ready."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.threads = 0

    def open(self) -> None:
        """Take what is here now for the application's own."""
        self.threads = threads()

    def count(self) -> int:
        """How many threads, processes and tasks there may be of jobs that have ended.

        Those of jobs that run are counted too: nobody can tell whose they are.
        """
        slots = self.slots
        own = self.threads + len(slots.given_up) + sum(one.is_alive() for one in slots.news.threads)
        loop = slots.loop
        found = 0
        if loop.thread is not None:
            own += 1
            found = tasks_beyond(loop.loop, loop.made)
        return found + max(0, threads() - own) + has_children()


def threads() -> int:
    """The threads of this process: on Linux also those that Python does not know of."""
    try:
        # Each is a directory in this one, and so a link to it.
        return os.stat(TASKS).st_nlink - 2  # noqa: PTH116 (a Path takes twice as long)
    except OSError:
        return threading.active_count()


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
