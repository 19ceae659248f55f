"""Ends the process of a worker without children that does not end by itself after a stop.

A job that ignores its stop, a thread that is no daemon, an `atexit` function that hangs: Python would wait for them for
ever. Only for a program of ours, `belayed work --processes 0`: in another program a worker's end is not the process's.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable

from belayed.safelog import last_words
from belayed.worker.ending import Ending
from belayed.worker.report import few

FORCED = 1
"""The exit code: what was cut off may have been of use."""


class ForcedEnd:
    """A thread that waits from a stop until the process has to have ended, beyond the end of its main program."""

    def __init__(self, unfinished: Callable[[], list[str]]) -> None:
        """*unfinished*: the jobs that the worker holds, in words."""
        self.unfinished = unfinished
        # Its `put` may be called by a signal handler that has interrupted another `put`.
        self.times: queue.SimpleQueue[float] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.work, name="belayed-end", daemon=True)
        self.thread.start()

    def asked(self, ending: Ending) -> None:
        """A stop was asked for, or another one. From a signal handler too."""
        self.times.put(ending.end_by)

    def work(self) -> None:
        end_by = float("inf")
        while (left := end_by - time.monotonic()) > 0:
            try:
                end_by = min(end_by, self.times.get(timeout=None if left == float("inf") else left))
            except queue.Empty:
                pass
        self.end()

    def end(self) -> None:
        """End this process at once, and say what has kept it."""
        try:
            last_words.say(f"belayed: this process did not end after its stop, so it is ended by force{self.reasons()}")
        finally:
            os._exit(FORCED)

    def reasons(self) -> str:
        """What keeps the process, as far as it can be seen."""
        found = []
        if jobs := self.unfinished():
            found.append(f"unfinished, and run again by another worker after the lapse: {few(jobs)}")
        main = threading.main_thread()
        threads = [one.name for one in threading.enumerate() if not one.daemon and one is not main and one.is_alive()]
        if threads:
            found.append(f"threads that are no daemons: {few(threads)}")
        if (frame := sys._current_frames().get(main.ident or 0)) is not None:  # noqa: SLF001
            code = frame.f_code
            found.append(f"the main thread is in {code.co_name}, {code.co_filename}:{frame.f_lineno}")
        elif not found:
            found.append("the program has ended, but for functions that `atexit` calls")
        return "".join(f"; {reason}" for reason in found)
