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
from types import FrameType

from belayed.safelog import last_words
from belayed.worker.ending import Ending
from belayed.worker.report import few
from belayed.worker.worker import Worker

FORCED = 1
"""The exit code: what was cut off may have been of use."""


class ForcedEnd:
    """A thread that waits from a stop until the process has to have ended, beyond the end of its main program."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.program = outermost()
        """The call that the program is. When that is over, the program is at its end."""
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
        if self.worker.loop is not None or outermost() is not self.program:
            self.end()
        # Else the worker has ended, and the program goes on with something else.

    def end(self) -> None:
        """End this process at once, and say what has kept it."""
        try:
            last_words.say(f"belayed: this process did not end after its stop, so it is ended by force{self.reasons()}")
        finally:
            os._exit(FORCED)

    def reasons(self) -> str:
        """What keeps the process, as far as it can be seen."""
        found = []
        if jobs := self.worker.unfinished():
            found.append(f"unfinished, and run again by another worker after the lapse: {few(jobs)}")
        main = threading.main_thread()
        threads = [one.name for one in threading.enumerate() if not one.daemon and one is not main and one.is_alive()]
        if threads:
            found.append(f"threads that are no daemons: {few(threads)}")
        if (frame := innermost()) is not None:
            code = frame.f_code
            found.append(f"the main thread is in {code.co_name}, {code.co_filename}:{frame.f_lineno}")
        elif not found:
            found.append("the program has ended, but for functions that `atexit` calls")
        return "".join(f"; {reason}" for reason in found)


def innermost() -> FrameType | None:
    """The call in which the main thread is; None: in none of Python's."""
    return sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001


def outermost() -> FrameType | None:
    """The call by which the main thread's others were made."""
    frame = innermost()
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
    return frame
