"""Stdout and stderr of the processes that run jobs: what is printed at the same time stays in whole lines.

`print` writes the text and the end of its line by two calls, so the lines of jobs in threads tear, and with
PYTHONUNBUFFERED each call is a system call, so those of processes do as well. Here a line that has begun is kept for
its thread and its job until it ends, and goes out by one system call.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading
from contextlib import suppress
from typing import Any

from belayed.claim import Running, running
from belayed.forking import at_fork

LONGEST = 1 << 16
"""Characters of a line that are kept for its end; what is longer is written before."""

Writer = tuple[int, Running | None]
"""A thread, and the attempt that it, or its coroutine, runs. What a job's own threads write is no attempt's."""


class WholeLines(io.TextIOWrapper):
    """A text stream on the buffer of another one. `flush` writes what the thread that calls it has begun, at once."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(
            stream.buffer, encoding=stream.encoding, errors=stream.errors, newline="\n", line_buffering=True
        )
        self.mode = getattr(stream, "mode", "w")  # type: ignore[misc]
        # Without anybody to hold it, it would close the buffer.
        self.replaced = stream
        self.begun: dict[Writer, io.StringIO] = {}
        self.lock = threading.RLock()
        """Held while a thread writes: a pipe takes long lines by parts. Again by one whose signal handler prints."""
        at_fork(in_child=self.leave_copy)

    def leave_copy(self) -> None:
        """Keep nothing of the threads that are not in this copy, nor the line that the original ends."""
        self.lock = threading.RLock()
        self.begun.clear()

    def write(self, text: str, /) -> int:
        """Write the lines that *text* ends, and keep what it begins."""
        if not isinstance(text, str):
            # It says what is wrong.
            return super().write(text)
        writer = threading.get_ident(), running.get()
        end = text.rfind("\n") + 1
        begun = self.begun.get(writer)
        if not end:
            if text:
                begun = begun or self.begun.setdefault(writer, io.StringIO())
                begun.write(text)
                if begun.tell() > LONGEST:
                    self.put(self.taken(writer))
            return len(text)
        before = self.taken(writer) if begun else ""
        if end < len(text):
            self.begun[writer] = io.StringIO()
            self.begun[writer].write(text[end:])
        self.put(before + text[:end])
        return len(text)

    def taken(self, writer: Writer) -> str:
        """What this one has begun, which is not kept any more."""
        begun = self.begun.pop(writer, None)
        return begun.getvalue() if begun else ""

    def put(self, text: str) -> None:
        """Write *text* by one system call, as far as the system takes it so: a pipe up to 4 KiB, a file all of it."""
        if os.linesep != "\n":
            text = text.replace("\n", os.linesep)
        data = memoryview(text.encode(self.encoding, self.errors or "strict"))
        with self.lock:
            # What somebody has written to the buffer itself comes before.
            self.buffer.flush()
            raw: Any = getattr(self.buffer, "raw", self.buffer)
            while data:
                count: int | None = raw.write(data)
                if count is None:
                    # Somebody has made the file one that does not block.
                    select.select([], [raw], [], 1)
                else:
                    data = data[count:]

    def flush(self) -> None:
        if self.begun and (text := self.taken((threading.get_ident(), running.get()))):
            self.put(text)
        super().flush()

    def close(self) -> None:
        with suppress(OSError, ValueError):
            self.end()
        super().close()

    def end(self, job_id: int | None = None) -> None:
        """End the lines that the attempt of this job has begun, that this thread has, or whose thread has ended.

        None: all that have begun.
        """
        here, alive = threading.get_ident(), sys._current_frames()  # noqa: SLF001
        for writer in list(self.begun):
            thread, run = writer
            over = thread not in alive or (thread == here if run is None else run.claimed.id == job_id)
            if (job_id is None or over) and (text := self.taken(writer)):
                self.put(f"{text}\n")


streams: list[WholeLines] = []
"""Those of this process."""


def keep_lines_whole() -> None:
    """Let `sys.stdout` and `sys.stderr` write whole lines, from now on. Only for a program of Belayed's own."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # Not what has taken their place, as tests do that look at what is printed.
        if type(stream) is io.TextIOWrapper:
            whole = WholeLines(stream)
            streams.append(whole)
            setattr(sys, name, whole)
            setattr(sys, f"__{name}__", whole)


def end_lines(job_id: int | None = None) -> None:
    """End the lines that a job has begun and that nothing of it will end any more; None: those of all. Raises nothing.

    Costs a job that has ended its lines next to nothing.
    """
    for stream in streams:
        if stream.begun:
            with suppress(Exception):
                stream.end(job_id)
