"""The claimed jobs that wait for a thread of this process, and which threads are woken for them.

Threads that are at work take the next job without being woken. Of jobs that take no time one thread runs as many as
several: all that more of them would do is to hand Python's lock to each other, which costs more than such a job.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable

from belayed.claim import Claimed

SHORT = 0.0002
"""Seconds: jobs that take less, on average, are for one thread, as long as it gets on with them."""
REST = 60.0
"""Seconds without a job after which a thread rests."""
STALL = 0.005
"""Seconds without a start after which all threads are woken: the one that is awake has met a longer job."""


class Backlog:
    """Jobs in the order of their claims, for so many threads."""

    def __init__(self, threads: int, rest: Callable[[bool], None] | None = None) -> None:
        """*rest* is called in each thread that has had nothing to do for a while."""
        self.threads, self.rest = threads, rest
        self.jobs: deque[Claimed] = deque()
        self.calls: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """One for each thread that is to look; False: it is to end."""

    def __len__(self) -> int:
        return len(self.jobs)

    def take(self) -> Claimed | None:
        """The next job, waiting until there is one; None: the thread is to end."""
        while True:
            try:
                return self.jobs.popleft()
            except IndexError:
                if not self.called():
                    return None

    def called(self) -> bool:
        """Wait for a call: whether to look; else the thread is to end."""
        if self.rest is not None:
            try:
                return self.calls.get(timeout=REST)
            except queue.Empty:
                self.rest(False)
        return self.calls.get()

    def add(self, jobs: list[Claimed], pace: float | None) -> None:
        """Put in jobs, and have threads look for them; jobs take *pace* seconds each, if that is known."""
        self.jobs.extend(jobs)
        self.call(1 if pace is not None and pace < SHORT else len(jobs))

    def call(self, threads: int | None = None) -> None:
        """Have so many threads look, or all of them."""
        most = self.threads if threads is None else min(threads, self.threads)
        for _ in range(most - self.calls.qsize()):
            self.calls.put(True)

    def release(self) -> list[Claimed]:
        """Take out all that no thread has taken."""
        found = []
        while self.jobs:
            try:
                found.append(self.jobs.popleft())
            except IndexError:
                break
        return found

    def close(self) -> None:
        """End the threads, each as soon as it is free and there is nothing left."""
        for _ in range(self.threads):
            self.calls.put(False)
