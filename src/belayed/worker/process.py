"""One child process: started, spoken to, watched and buried. Nothing here waits for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from belayed.worker import orphans
from belayed.worker.blame import TAIL_LIMIT, Death
from belayed.worker.frames import Channel
from belayed.worker.output import Output
from belayed.worker.page import Page

# wait4() imports it when it is first called, which may be when there is no file left to do it with.
with suppress(ImportError):
    import resource  # noqa: F401

PROGRAM = "belayed.worker.child"
PIECE = 1 << 16


class Process:
    """A child process. It inherits one end of the channel and the page; its stderr is a pipe that we read."""

    def __init__(self, cells: int, largest: int) -> None:
        """*largest*: bytes of a frame that it may send. Raises OSError, and leaves nothing open then."""
        with ExitStack() as opened, ExitStack() as theirs:
            self.page = Page.made(cells)
            opened.callback(self.page.close)
            ours, other = socket.socketpair()
            opened.callback(ours.close)
            theirs.callback(other.close)
            reading, writing = os.pipe()
            opened.callback(os.close, reading)
            theirs.callback(os.close, writing)
            # A group of its own: Ctrl-C reaches the supervisor alone, and what a killed job has started goes along.
            with orphans.lock:
                self.popen = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-m", PROGRAM, str(other.fileno()), str(self.page.fd), str(cells)],
                    stdin=subprocess.DEVNULL,
                    stderr=writing,
                    pass_fds=(other.fileno(), self.page.fd),
                    process_group=0,
                )
                orphans.own.add(self.popen.pid)
            opened.pop_all()
        self.pid = self.popen.pid
        self.channel = Channel(ours, largest=largest)
        self.stderr: int | None = reading
        os.set_blocking(reading, False)
        self.begun = self.seen = b""
        """A line of its stderr whose end has not come, now and at the last look."""
        self.tail: deque[bytes] = deque()
        self.tail_size = 0
        self.reason = ""
        self.expected = False
        self.peak = 0

    def written(self) -> bytes:
        """What it has written to stderr since the last time; the last of it is kept for its death."""
        if self.stderr is None:
            return b""
        try:
            data = os.read(self.stderr, PIECE)
        except BlockingIOError:
            return b""
        if not data:
            self.close_stderr()
        self.keep(data)
        return data

    def pass_on(self, output: Output) -> bool:
        """Pass on the whole lines of its stderr, which come between those of other children; False: it says nothing."""
        if not (data := self.written()):
            return False
        end = data.rfind(b"\n") + 1
        if not end and len(self.begun) < PIECE:
            self.begun += data
            return True
        end = end or len(data)
        whole, self.begun = self.begun + data[:end], data[end:]
        output.write(whole)
        return True

    def look_at_line(self, output: Output) -> None:
        """Pass on the beginning of a line that has not become longer since the last look: it may be the last of it."""
        if self.begun and self.begun == self.seen and not output.full:
            output.write(self.begun)
            self.begun = b""
        self.seen = self.begun

    def end_line(self, output: Output) -> None:
        """Pass on what there is of a line of a dead process."""
        if self.begun:
            output.write(self.begun + b"\n")
            self.begun = b""

    def keep(self, data: bytes) -> None:
        self.tail.append(data[-TAIL_LIMIT:])
        self.tail_size += len(self.tail[-1])
        while self.tail_size - len(self.tail[0]) >= TAIL_LIMIT:
            self.tail_size -= len(self.tail.popleft())

    def close_stderr(self) -> None:
        if self.stderr is not None:
            os.close(self.stderr)
            self.stderr = None

    def send(self, kind: str, body: Any = None) -> None:
        self.channel.send(kind, body)

    def hand(self, kind: str, body: Any) -> None:
        """Send plain values, many of them."""
        self.channel.hand(kind, body)

    def kill(self, reason: str = "", *, expected: bool = False) -> None:
        """End it, and whatever its jobs have started; *expected*: not for a fault of what runs there now."""
        if not self.reason:
            self.reason, self.expected = reason, expected
        if self.popen.returncode is not None:
            # It is reaped: another process may have its number.
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        # Before it has become the leader of its group.
        os.kill(self.pid, signal.SIGKILL)

    def dead(self) -> bool:
        """Whether it has ended; what is left of it is reaped, and what its jobs have started is ended."""
        if self.popen.returncode is not None:
            return True
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # Somebody else has reaped it.
            self.popen.returncode = -signal.SIGKILL
            orphans.own.discard(self.pid)
            return True
        if ended is None:
            return False
        if ended.si_code != os.CLD_EXITED:
            # Before it is reaped: until then nobody else can have its number.
            self.kill()
        _, status, usage = os.wait4(self.pid, 0)
        self.popen.returncode = os.waitstatus_to_exitcode(status)
        orphans.own.discard(self.pid)
        self.peak = usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024
        return True

    def death(self) -> Death:
        """How it ended: once it is dead, and its last words are read."""
        return Death(
            self.pid,
            self.popen.returncode,
            self.peak,
            self.last_lines(),
            self.reason,
            self.expected,
            self.page.left_behind,
        )

    def last_lines(self) -> str:
        return b"".join(self.tail).decode("utf-8", "replace")[-TAIL_LIMIT:].strip()

    def rss(self) -> int:
        """Bytes of memory that it has now; 0 where that cannot be seen."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return rss_by_ps(self.pid) if sys.platform == "darwin" else 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        self.channel.close()
        self.close_stderr()
        self.page.close()


def rss_by_ps(pid: int) -> int:
    try:
        return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)], timeout=1)) * 1024  # noqa: S603, S607
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0
