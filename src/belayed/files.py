"""Opens files by paths at which other users may have put something else: links, pipes, files of theirs."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

MOST_LINKS = 40
"""Symbolic links that a path may lead through, as on Linux."""
EVERYBODY_WRITES = stat.S_IWOTH


class Unsafe(OSError):
    """The path leads to something unexpected. Nothing was changed."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EPERM, why)


def only_files(found: os.stat_result) -> None:
    """Raise Unsafe unless it is a regular file, with one name: by another it may be someone else's."""
    if not stat.S_ISREG(found.st_mode):
        raise Unsafe(f"it is {kind(found)}")
    if found.st_nlink > 1:
        raise Unsafe("it has other names (hard links)")


def own_files(found: os.stat_result) -> None:
    """Raise Unsafe unless it is a file that only this user can write."""
    only_files(found)
    if foreign(found):
        raise Unsafe("it belongs to another user")
    if found.st_mode & EVERYBODY_WRITES:
        raise Unsafe("everybody may write it")


def sinks(found: os.stat_result) -> None:
    """Raise Unsafe for what no log can go to. A pipe or a terminal may be meant."""
    if not (stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode)):
        only_files(found)


def opened(
    path: Path, flags: int, mode: int = 0o600, *, takes: Callable[[os.stat_result], None], links: bool = False
) -> int:
    """A file descriptor of what is at *path*, which is what *takes* lets pass. Raises Unsafe and other OSErrors.

    With *links* a symbolic link is followed if it is this user's or root's. It never waits for the other end of a pipe,
    and gets no terminal for its own.
    """
    way = checked(path, links=links)
    if links and way.parent == own_descriptors():
        # As /dev/stdout. To open it again would fail for a socket, and forget where a file ends.
        return os.dup(int(way.name))
    try:
        # Before it is opened: to open some devices does something.
        takes(os.lstat(way))
    except FileNotFoundError:
        pass
    try:
        fd = os.open(way, flags | SAFE_FLAGS, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise Unsafe("it is a symbolic link") from None
        if error.errno == errno.ENXIO:
            raise Unsafe("it is a pipe that nobody reads") from None
        raise
    try:
        # Again, as it may have been put there in the meantime.
        found = os.fstat(fd)
        takes(found)
        if os.name == "posix":
            check_owner(way, found)
            os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


SAFE_FLAGS = 0
for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY"):
    # Windows has none of them.
    SAFE_FLAGS |= getattr(os, name, 0)


def still_at(path: Path, fd: int) -> bool:
    """Whether *path* leads to what is open as *fd*."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(checked(path)))
    except OSError:
        return False


def checked(path: Path, *, links: bool = False) -> Path:
    """*path* without symbolic links in its folders, and with *links* in its last part.

    Raises Unsafe where another user may lead it elsewhere: by a link or a folder of theirs in a folder where everybody
    may write, or by a link as the last part that is neither this user's nor root's. It is the rule by which Linux
    protects links, for folders as well, and without regard to how the machine is set up.
    """
    if os.name != "posix":
        return path
    here, left, followed = Path("/"), [*reversed(path.absolute().parts[1:])], 0
    while left:
        part = left.pop()
        if part == "..":
            here = here.parent
            continue
        there = here / part
        try:
            found = os.lstat(there)
        except FileNotFoundError:
            here = there
            continue
        check_owner(there, found)
        last = not left
        if not stat.S_ISLNK(found.st_mode) or last and (not links or there.parent == own_descriptors()):
            here = there
            continue
        if last and foreign(found):
            raise Unsafe(f"{there} is a symbolic link of another user")
        followed += 1
        if followed > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = there.readlink()
        here = Path("/") if target.is_absolute() else here
        left += [part for part in reversed(target.parts) if part != "/"]
    return here


def check_owner(there: Path, found: os.stat_result) -> None:
    """Raise Unsafe for what another user has put into a folder where everybody may write."""
    folder = there.parent.stat()
    if folder.st_mode & EVERYBODY_WRITES and foreign(found) and found.st_uid != folder.st_uid:
        raise Unsafe(f"{there} belongs to another user, and everybody may write in {there.parent}")


def check_folder(path: Path) -> None:
    """Raise Unsafe if everybody may remove and replace what is in the folder of *path*."""
    folder = checked(path).parent.stat()
    if os.name == "posix" and folder.st_mode & EVERYBODY_WRITES and not folder.st_mode & stat.S_ISVTX:
        raise Unsafe(f"everybody may replace files in {path.absolute().parent} (chmod o-w, or +t)")


def foreign(found: os.stat_result) -> bool:
    """Whether it belongs to another user than this one and root."""
    return os.name == "posix" and found.st_uid not in (os.geteuid(), 0)


def kind(found: os.stat_result) -> str:
    """What it is, for an error."""
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(found.st_mode), "no regular file")


def own_descriptors() -> Path:
    """Where Linux shows the open files of this process, which may be a fork of the one that imported this."""
    return Path(f"/proc/{os.getpid()}/fd")
