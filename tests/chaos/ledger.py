"""The ledger of a chaos run: one line for each thing that a job does, written by the job and read by the verdict."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from belayed import current_job

LINE = re.compile(r"(start|end|dies|harms|scribbles) (\S+) (\d+) (\d+) (\d+) (\d+) (\d+\.\d+)")


def note(event: str, key: str, job: Any = None) -> None:
    """Write one line, whole, however many processes write. Outside of the attempt, *job* is the one that is meant."""
    job = job or current_job()
    line = f"{event} {key} {job.id} {job.attempt} {os.getpid()} {os.getppid()} {time.time():.6f}\n"
    file = os.open(os.environ["CHAOS_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@contextlib.contextmanager
def ran(key: str) -> Iterator[None]:
    """Note the start of a job's code, and its end, however it ends."""
    note("start", key)
    try:
        yield
    finally:
        note("end", key)


@dataclass
class Start:
    """A run of a job."""

    key: str
    id: int
    attempt: int
    pid: int
    parent: int
    at: float


@dataclass
class Ledger:
    """What jobs have noted."""

    starts: dict[str, list[Start]] = field(default_factory=lambda: defaultdict(list))
    """The runs of each key, in order."""
    ends: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When the code of each key ended."""
    left: set[tuple[int, int]] = field(default_factory=set)
    """The jobs and the numbers of the attempts whose code has ended."""
    deaths: list[Start] = field(default_factory=list)
    """Written by a job just before it ended its process."""
    harms: list[Start] = field(default_factory=list)
    """Written by a job just before it did something to its process that may end it."""
    scribbled: set[int] = field(default_factory=set)
    """The processes in whose page a job has written numbers of its own."""

    def take(self, event: str, one: Start) -> None:
        if event == "start":
            self.starts[one.key].append(one)
        elif event == "end":
            self.ends[one.key].append(one.at)
            self.left.add((one.id, one.attempt))
        elif event == "dies":
            self.deaths.append(one)
        else:
            self.harms.append(one)
            if event == "scribbles":
                self.scribbled.add(one.pid)

    @classmethod
    def read(cls, file: Path) -> Ledger:
        """Read the lines. A job that closes its stderr may have had log lines written between them."""
        ledger = cls()
        for match in LINE.finditer(file.read_text("utf-8", "replace")):
            event, key, *numbers, at = match.groups()
            ledger.take(event, Start(key, *map(int, numbers), float(at)))
        return ledger
