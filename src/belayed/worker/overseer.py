"""A thread that keeps time limits and the end of the grace while the loop of a worker waits for its store.

What both of them log goes aside: where jobs run in the same process they may leave a log handler that hangs.
"""

from __future__ import annotations

import queue
import threading
import time
from types import TracebackType
from typing import Self

from belayed.safelog import log
from belayed.worker.aside import Aside
from belayed.worker.loop import REASON, Loop
from belayed.worker.slots import Slots

LATE = 0.1
"""Seconds since the loop's last pass after which this thread does what the loop would do at a stop."""
AGAIN = 1.0
LONGEST = 60.0
"""Seconds: the longest wait."""


class Overseer:
    """Entered around the run of a loop whose slots are in this process."""

    def __init__(self, loop: Loop, slots: Slots) -> None:
        self.loop, self.slots = loop, slots
        # Its `put` may be called by a signal handler that has interrupted another `put`.
        self.calls: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.ended = False
        self.aside = Aside()
        self.thread = threading.Thread(target=self.work, name="belayed-overseer", daemon=True)

    def __enter__(self) -> Self:
        self.slots.look = self.alarm
        self.loop.ending.on_stop.append(self.alarm)
        self.aside.__enter__()
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended = True
        self.alarm()
        self.thread.join(1)
        self.aside.__exit__(kind, error, trace)

    def alarm(self) -> None:
        """Have the thread look, from any thread or signal handler."""
        self.calls.put(True)

    def work(self) -> None:
        self.aside.take()
        try:
            while not self.ended:
                # What starts while this looks is either seen, or finds that nobody will look.
                self.slots.look_at = float("inf")
                due = self.slots.look_at = self.look(time.monotonic())
                try:
                    self.calls.get(timeout=max(0.0, min(due - time.monotonic() + 0.001, LONGEST)))
                except queue.Empty:
                    pass
        except BaseException as error:
            log.exception("the thread that keeps time limits has ended")
            self.slots.died(self.thread.name, None, error)
        finally:
            self.aside.drop()

    def look(self, now: float) -> float:
        """Do what is due; when to come again."""
        due = self.slots.expire(now)
        loop = self.loop
        if not loop.stop_asked:
            return due
        if not loop.ending.is_up(now):
            return min(due, loop.ending.by)
        if now - loop.passed_at > LATE:
            self.slots.interrupt(REASON)
        return min(due, now + AGAIN)
