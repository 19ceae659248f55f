"""What goes to the supervisor's stderr or log file, its own and its children's: by a thread, so that nobody waits."""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
import time
from pathlib import Path

from belayed.errors import ConfigError
from belayed.files import opened, sinks

LARGEST = 1 << 22
"""Bytes that may wait to be written; then children wait with theirs, and lines of ours are left out and counted."""
LOOK_AGAIN = 1.0
"""Seconds between two looks whether a log file is still the one at its path."""


class Sink:
    """Where output goes: stderr, or a file, which is opened anew when it was moved away or removed (log rotation)."""

    def __init__(self, path: Path | None = None) -> None:
        """Raises ConfigError for a file that cannot be written."""
        # Absolute: a job may change the folder of this process.
        self.path, self.looked_at = path and path.absolute(), time.monotonic()
        try:
            self.fd = 2 if path is None else opened_log(path)
        except OSError as error:
            raise ConfigError(f"the log file {path} cannot be written: {error.strerror}") from error

    def current(self) -> int:
        """The file descriptor to write to."""
        if self.path is not None and time.monotonic() - self.looked_at > LOOK_AGAIN:
            self.looked_at = time.monotonic()
            try:
                if not self.path.exists() or not os.path.samestat(os.fstat(self.fd), self.path.stat()):
                    fresh = opened_log(self.path)
                    os.close(self.fd)
                    self.fd = fresh
            except OSError:
                # Better into the old one than nowhere, or where another user leads it.
                pass
        return self.fd

    def put(self, data: bytes) -> None:
        """Write *data*, and wait until that is done; without anybody to read it, it is lost."""
        view = memoryview(data)
        fd = self.current()
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                select.select([], [fd], [], 1)
            except OSError:
                # Nobody is there to read it.
                break


def opened_log(path: Path) -> int:
    """A log file, to write at its end. Raises OSError."""
    # Not for everybody to read: there may be names and addresses in it.
    return opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640, takes=sinks, links=True)


class Output:
    """A queue of bytes for a sink, and the thread that writes them."""

    def __init__(self, sink: Sink | None = None) -> None:
        self.sink = sink or Sink()
        self.pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.waiting = 0
        self.lock = threading.Lock()
        self.left_out = 0
        self.closed = False
        self.thread = threading.Thread(target=self.work, name="belayed-output", daemon=True)
        self.thread.start()

    @property
    def full(self) -> bool:
        return self.waiting >= LARGEST

    def write(self, data: bytes) -> None:
        """Have *data* written, or leave it out if too much waits."""
        if self.closed:
            # A thread that still writes has nobody to read it.
            if not self.thread.is_alive():
                self.sink.put(data)
            return
        with self.lock:
            if self.full:
                self.left_out += 1
                return
            if self.left_out:
                data = f"… {self.left_out:,} lines were left out: nobody reads this log\n".encode() + data
                self.left_out = 0
            self.waiting += len(data)
        self.pieces.put(data)

    def work(self) -> None:
        while (data := self.pieces.get()) is not None:
            self.sink.put(data)
            with self.lock:
                self.waiting -= len(data)

    def close(self, within: float = 1.0) -> None:
        """Write what waits, for so many seconds at most; what comes later is written by whoever brings it."""
        self.closed = True
        self.pieces.put(None)
        self.thread.join(within)


class OutputHandler(logging.Handler):
    """Hands log lines to an Output, or to a Sink where nobody minds to wait."""

    def __init__(self, output: Output | Sink) -> None:
        super().__init__()
        self.write = output.write if isinstance(output, Output) else output.put

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.write(f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))
        except Exception:
            self.handleError(record)
