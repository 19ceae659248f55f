"""The page that a supervisor shares with one child: what runs there, readable after a crash, and the lease.

All times are seconds of `clock()`, which every process of the machine reads alike. A cell belongs to one job handed to
the child; the supervisor gives it out and takes it back. docs/explain/supervisor.md says why blame comes from here.

The child runs anybody's code, which may write anything here: handed.py judges what the supervisor reads. It cannot
change the size: on Linux the memory is sealed, as a page that has become shorter would end the supervisor by SIGBUS.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

# It counts the time that the machine is suspended: a lease lapses meanwhile. On macOS CLOCK_MONOTONIC does.
CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))

VALID_FROM, LEASE_UNTIL, PULSE = 0, 1, 2
LEFT_BEHIND = 7
HEADER = 8
"""Numbers before the cells; each cell is two: when the attempt started and when it ended, 0 for not yet.

After all cells there is one more number for each: whether the supervisor has withdrawn its job.
"""


clock: Callable[[], float] = time.monotonic if CLOCK is None else partial(time.clock_gettime, CLOCK)
"""Seconds on the clock of leases."""


class Lease:
    """Which claims an attempt may start under: those asked for since `valid_from`, until `until`."""

    def __init__(self) -> None:
        self.valid_from, self.until = 0.0, float("inf")

    def holds(self, claimed_at: float) -> bool:
        return self.valid_from <= claimed_at and clock() <= self.until


class Page(Lease):
    """A shared page of so many cells. Numbers of eight bytes are read and written whole."""

    def __init__(self, fd: int, cells: int) -> None:
        self.fd, self.cells = fd, cells
        self.map = mmap.mmap(fd, size(cells))
        self.numbers = memoryview(self.map).cast("d")
        self.words = memoryview(self.map).cast("Q")
        self.marks = HEADER + 2 * cells
        self.ends = self.numbers[HEADER + 1 : self.marks : 2]
        """When the attempt of each cell ended."""

    def holds(self, claimed_at: float) -> bool:
        numbers = self.numbers
        return numbers[VALID_FROM] <= claimed_at and clock() <= numbers[LEASE_UNTIL]

    @classmethod
    def made(cls, cells: int) -> Page:
        """A new page, without a name that anybody else could open. Raises OSError, and leaves nothing open then."""
        sealed = hasattr(os, "memfd_create")
        with ExitStack() as stack:
            if sealed:
                fd = os.memfd_create("belayed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            else:
                with tempfile.TemporaryFile() as file:
                    fd = os.dup(file.fileno())
            stack.callback(os.close, fd)
            os.ftruncate(fd, size(cells))
            if sealed:
                seal(fd)
            page = cls(fd, cells)
            stack.pop_all()
        page.until = float("inf")
        return page

    @property
    def valid_from(self) -> float:
        return self.numbers[VALID_FROM]

    @valid_from.setter
    def valid_from(self, at: float) -> None:
        self.numbers[VALID_FROM] = at

    @property
    def until(self) -> float:
        return self.numbers[LEASE_UNTIL]

    @until.setter
    def until(self, at: float) -> None:
        self.numbers[LEASE_UNTIL] = at

    def renew(self, lease: Lease) -> None:
        """Write both numbers of the lease, whatever has been written over them."""
        self.valid_from, self.until = lease.valid_from, lease.until

    @property
    def pulse(self) -> float:
        """When the child last took what it was sent."""
        return self.numbers[PULSE]

    @pulse.setter
    def pulse(self, at: float) -> None:
        self.numbers[PULSE] = at

    @property
    def left_behind(self) -> bool:
        """Whether there is anything of ended jobs that may bring the child down: threads, processes, tasks."""
        return self.numbers[LEFT_BEHIND] != 0.0

    @left_behind.setter
    def left_behind(self, count: int) -> None:
        self.numbers[LEFT_BEHIND] = float(count)

    def clear(self, cell: int) -> None:
        """Make a cell ready for another job."""
        at = HEADER + 2 * cell
        self.numbers[at] = self.numbers[at + 1] = self.numbers[self.marks + cell] = 0.0

    def start(self, cell: int) -> bool:
        """The attempt starts, before anything of its job is looked at. False: the job was withdrawn, so it must not.

        The child writes first and reads then. The supervisor writes `withdraw`, and reads `started` at a later look,
        when what was written has long been visible to both: at least one of them sees what the other has written.
        """
        numbers, at = self.numbers, HEADER + 2 * cell
        numbers[at] = clock()
        if numbers[self.marks + cell] == 0.0:
            return True
        numbers[at] = 0.0
        return False

    def withdraw(self, cell: int) -> None:
        """The attempt is not to start any more; it may have, or be about to, until a later look at `started`."""
        self.numbers[self.marks + cell] = 1.0

    def allow(self, cell: int) -> None:
        """Take `withdraw` back: the attempt has started."""
        self.numbers[self.marks + cell] = 0.0

    def end(self, cell: int) -> None:
        """The attempt has ended: its code runs no more."""
        self.numbers[HEADER + 2 * cell + 1] = clock()

    def started(self, cell: int) -> float:
        """When the attempt started; 0: it has not."""
        return self.numbers[HEADER + 2 * cell]

    def ended(self, cell: int) -> float:
        """When the attempt ended; 0: it has not."""
        return self.numbers[HEADER + 2 * cell + 1]

    def untouched(self, cell: int) -> bool:
        """Whether a cell is as `clear` has left it. A zero with a sign is not."""
        at = HEADER + 2 * cell
        return not (self.words[at] or self.words[at + 1])

    def close(self) -> None:
        for view in (self.ends, self.words, self.numbers):
            view.release()
        self.map.close()
        os.close(self.fd)


def seal(fd: int) -> None:
    """Let nobody change the size of this memory any more, nor undo that."""
    import fcntl

    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)


def size(cells: int) -> int:
    return 8 * (HEADER + 3 * cells)
