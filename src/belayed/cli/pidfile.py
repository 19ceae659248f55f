"""PID files: one worker for each, and no stale one is in anybody's way.

The number in the file is for people. What counts is the lock that a worker has on it: of the kind whose holder the
system names (fcntl), and on a place in the file that no other program locks. So a process is signalled only if the
system itself says that it is the worker of this very file, whatever is written in it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from belayed.errors import ConfigError
from belayed.files import check_folder, only_files, opened, own_files, still_at

MOMENT = 0.02
"""Seconds between two tries."""
TRIES = 50
PLACE = 0x62656C61796564
"""The byte that is locked, far beyond the end ("belayed"): others lock a file from its beginning."""
CONTENT = re.compile(rb"\s*(\d{1,10}\s*(asked \d{1,10}\n)*)?")
"""What may be in a PID file; also one that another program has left."""
LARGEST = 4096
STRUCTURE = "hhqqi" if sys.platform == "linux" else "qqihh"
"""Of C's `struct flock`."""


@contextlib.contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """Keep this process's id in the file at *path*, and a lock on it: what a dead process has left is taken over.

    Raises ClickException if a living process has it, ConfigError if it cannot be written, or is something else.
    """
    if path is None:
        yield
        return
    fd, pid = locked(path), os.getpid()
    # Absolute: a job may change the folder of this process.
    path = path.absolute()
    try:
        os.fchmod(fd, 0o600)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{pid}\n".encode(), 0)
        yield
    finally:
        # Not what somebody else has put in its place, and not by a copy of this process that a job has made.
        if os.getpid() == pid and still_at(path, fd):
            with contextlib.suppress(OSError):
                path.unlink()
        # The lock ends with this, or whenever this process closes this file: nothing else here opens it.
        os.close(fd)


def holder(path: Path) -> int | None:
    """The process that has the file at *path*; None: no living one. Raises ConfigError if it cannot be read."""
    locks()
    try:
        fd = opened(path, os.O_RDWR, takes=only_files)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"the PID file {path} cannot be read: {error.strerror}") from error
    try:
        check_content(path, fd)
        return owner(path, fd)
    finally:
        os.close(fd)


def owner(path: Path, fd: int) -> int | None:
    """The process that has our lock on an open file, as the system says; None: nobody."""
    fcntl = locks()
    kind, pid, place, length = unpacked(fcntl.fcntl(fd, fcntl.F_GETLK, packed(fcntl.F_WRLCK)))
    if kind == fcntl.F_UNLCK:
        return None
    # Read permission is enough for a read lock.
    if (kind, place, length) != (fcntl.F_WRLCK, PLACE, 1):
        raise ConfigError(f"the PID file {path} is one of another program, which has a lock on it: name another file")
    # Of a process on another machine or in another container the number is 0 or negative.
    if pid <= 0:
        raise click.ClickException(
            f"the worker that has the PID file {path} cannot be seen from here: does it run in another container?"
        )
    return pid


def send(path: Path, pid: int, numbers: Sequence[int]) -> None:
    """Send signals to the process *pid* if it still has the file at *path*."""
    if not hasattr(os, "pidfd_open"):
        if holder(path) == pid:
            for number in numbers:
                os.kill(pid, number)
        return
    with contextlib.suppress(ProcessLookupError):
        # This stands for the process, not for its number: it cannot come to mean another one after the look.
        process = os.pidfd_open(pid)
        try:
            if holder(path) == pid:
                for number in numbers:
                    signal.pidfd_send_signal(process, number)
        finally:
            os.close(process)


def asked(path: Path, pid: int) -> bool:
    """Whether the process *pid* that has the file was asked to end before; from now on it was."""
    try:
        fd = opened(path, os.O_RDWR, takes=only_files)
    except OSError:
        # It is gone, or another user's.
        return False
    try:
        content = check_content(path, fd)
        if f"asked {pid}".encode() in content.splitlines():
            return True
        if owner(path, fd) == pid:
            os.pwrite(fd, f"asked {pid}\n".encode(), len(content))
        return False
    finally:
        os.close(fd)


def locked(path: Path) -> int:
    """The file at *path*, opened and locked, and not changed."""
    fcntl = locks()
    for _ in range(TRIES):
        try:
            check_folder(path)
            fd = opened(path, os.O_RDWR | os.O_CREAT, 0o600, takes=own_files)
        except OSError as error:
            raise ConfigError(f"the PID file {path} cannot be written: {error.strerror}") from error
        taken = False
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, PLACE)
            check_content(path, fd)
            # Its last owner may have removed it after it was opened here.
            taken = still_at(path, fd)
        except BlockingIOError:
            if (pid := owner(path, fd)) is not None:
                raise click.ClickException(
                    f"a worker has the PID file {path} already: process {pid}; stop it, or name another file"
                ) from None
        except OSError as error:
            raise ConfigError(f"the PID file {path} cannot be locked: {error.strerror}") from error
        finally:
            if not taken:
                os.close(fd)
        if taken:
            return fd
        time.sleep(MOMENT)
    raise ConfigError(f"the PID file {path} cannot be written: others replace or lock it again and again")


def check_content(path: Path, fd: int) -> bytes:
    """What is in the file. Raises ConfigError if it is not a PID file: it was named by mistake."""
    content = os.pread(fd, LARGEST + 1, 0)
    if len(content) > LARGEST or not CONTENT.fullmatch(content):
        raise ConfigError(f"{path} is not a PID file (it has other contents); name another file, or remove it")
    return content


def packed(kind: int) -> bytes:
    """C's `struct flock` for the place of our lock."""
    if sys.platform == "linux":
        return struct.pack(STRUCTURE, kind, os.SEEK_SET, PLACE, 1, 0)
    return struct.pack(STRUCTURE, PLACE, 1, 0, kind, os.SEEK_SET)


def unpacked(data: bytes) -> tuple[int, int, int, int]:
    """The kind of a lock, the process that has it, where it begins and how long it is, of C's `struct flock`."""
    found = struct.unpack(STRUCTURE, data[: struct.calcsize(STRUCTURE)])
    if sys.platform == "linux":
        kind, _, place, length, pid = found
    else:
        place, length, pid, kind, _ = found
    return kind, pid, place, length


def locks() -> Any:
    """The module of file locks. Raises ConfigError where there is none."""
    try:
        import fcntl
    except ImportError:
        raise ConfigError("PID files are for Linux and macOS: Windows has no such locks") from None
    return fcntl
