"""Logs by another thread for one that must not wait: a log handler of the application's may hang."""

from __future__ import annotations

import logging
import queue
import threading
import time
from types import TracebackType
from typing import Self

from belayed.safelog import last_words, log
from belayed.worker.saying import HANGS

MOST = 1000
"""Lines that wait for a handler; those that come then are left out and counted."""
WITHIN = 1.0
"""Seconds for the lines that wait at the end."""


class Aside:
    """Entered by a thread whose lines Belayed is to log from another thread until it is left.

    A handler that hangs holds up the lines behind it, and nothing else.
    """

    def __init__(self) -> None:
        self.lines: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self.since: float | None = None
        """When the handlers were called with the line that they have now."""
        self.left_out = 0
        self.complained = False
        self.thread = threading.Thread(target=self.work, name="belayed-log", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()
        self.lines.put(None)
        self.thread.join(WITHIN)

    def take(self) -> None:
        """Take the lines of the calling thread."""
        log.asides[threading.get_ident()] = self

    def drop(self) -> None:
        """Let the calling thread log its lines itself. Before it ends: another may get its id."""
        log.asides.pop(threading.get_ident(), None)

    def put(self, record: logging.LogRecord) -> None:
        """Have a line logged. Waits for nothing."""
        since = self.since
        if since is not None and time.monotonic() - since > HANGS and not self.complained:
            self.complained = True
            last_words.say(
                f"belayed: a log handler has not returned for {HANGS:g} s: the lines after it wait, jobs go on"
            )
        if self.lines.qsize() < MOST:
            self.lines.put(record)
        else:
            self.left_out += 1

    def work(self) -> None:
        while (record := self.lines.get()) is not None:
            self.since = time.monotonic()
            log.handle(record)
            self.since, self.complained = None, False
            if self.left_out:
                left_out, self.left_out = self.left_out, 0
                log.warning("… %s lines were left out: a log handler did not return", f"{left_out:,}")
