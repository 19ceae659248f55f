"""PID files: one worker for each, and no stale one is in anybody's way."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from belayed.errors import ConfigError

MOMENT = 0.02
"""Seconds between two tries."""
TRIES = 5


@contextlib.contextmanager
def pid_file(path: Path | None) -> Iterator[None]:
    """Keep this process's id in the file at *path*, and a lock on it: what a dead process has left is taken over.

    Raises ClickException if a living process has it, ConfigError if it cannot be written.
    """
    if path is None:
        yield
        return
    fd = locked(path)
    try:
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(fd)


def holder(path: Path) -> int | None:
    """The process that has the file at *path*; None: no living one. Raises ConfigError if it cannot be read."""
    fcntl = locks()
    while True:
        try:
            fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"the PID file {path} cannot be read: {error.strerror}") from error
        try:
            # Shared: others may look as well, and are not in one another's way.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            pid = written(fd)
            if pid.isdecimal():
                return int(pid)
        else:
            return None
        finally:
            os.close(fd)
        # It has it, and has not written its number yet.
        time.sleep(MOMENT)


def asked(path: Path, pid: int) -> bool:
    """Whether the process *pid* that has the file was asked to end before; from now on it was."""
    try:
        with path.open("r+") as file:
            if f"asked {pid}" in file.read().splitlines():
                return True
            file.write(f"asked {pid}\n")
    except OSError:
        # It is gone, or another user's.
        pass
    return False


def written(fd: int) -> str:
    """The process id in a PID file."""
    return os.read(fd, 32).decode("ascii", "replace").partition("\n")[0].strip()


def locks() -> Any:
    """The module of file locks. Raises ConfigError where there is none."""
    try:
        import fcntl
    except ImportError:
        raise ConfigError("PID files are for Linux and macOS: Windows has no such locks") from None
    return fcntl


def locked(path: Path) -> int:
    """The file at *path*, opened and locked."""
    fcntl = locks()
    tries = 0
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigError(f"the PID file {path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = written(fd)
            os.close(fd)
            # Somebody may only be looking whether it is locked.
            if (tries := tries + 1) < TRIES:
                time.sleep(MOMENT)
                continue
            raise click.ClickException(
                f"a worker has the PID file {path} already: process {pid or 'unknown'}; stop it, or name another file"
            ) from None
        # Its last owner may have removed it after it was opened here.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        os.close(fd)
