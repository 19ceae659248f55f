"""A supervisor's side of children whose process is the test: it sends what it likes, and writes into the page."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from belayed.claim import Claimed, micros
from belayed.config import Config, WorkerConfig, as_plain
from belayed.worker.blame import Death
from belayed.worker.children import Children
from belayed.worker.frames import LENGTH, Channel, encoded
from belayed.worker.handed import Child, Role
from belayed.worker.heard import LARGEST_HELLO
from belayed.worker.loglike import Form
from belayed.worker.nursery import Nursery
from belayed.worker.output import Output
from belayed.worker.page import Page, clock

NOON = micros(datetime(2026, 1, 1, 12, tzinfo=UTC))
HELLO = {
    "url": "sqlite:///jobs.db",
    "config": as_plain(Config(url="sqlite:///jobs.db", payload_limit=10_000)),
    "kinds": {"t": False},
    "log": Form()._asdict(),
    "parameters": None,
}


def job(id: int, task: str = "t", **more: Any) -> Claimed:
    plain = Claimed(id, "q", 0, NOON, task, "{}", NOON, 0, 0, 0, 0, 0, None, None, None, None, None, f"token {id}")
    return plain._replace(**more)


class Puppet:
    """What a Process is to a supervisor, and the other end of its channel."""

    def __init__(self, cells: int = 20) -> None:
        self.page = Page.made(cells)
        ours, self.theirs = socket.socketpair()
        self.theirs.setblocking(False)
        self.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.channel = Channel(ours, largest=LARGEST_HELLO)
        self.stderr = None
        self.pid, self.expected, self.reason = 1, False, ""
        self.killed = self.gone = False

    def send(self, kind: str, body: Any = None) -> None:
        self.channel.send(kind, body)

    def hand(self, kind: str, body: Any) -> None:
        self.channel.hand(kind, body)

    def kill(self, reason: str = "", *, expected: bool = False) -> None:
        if not self.killed:
            self.killed, self.reason, self.expected = True, reason, expected

    def dead(self) -> bool:
        return self.killed or self.gone

    def death(self) -> Death:
        return Death(self.pid, -9, 0, "", self.reason, self.expected)

    def pass_on(self, output: Output) -> bool:
        return False

    def look_at_line(self, output: Output) -> None:
        pass

    def end_line(self, output: Output) -> None:
        pass

    def last_lines(self) -> str:
        return ""

    def rss(self) -> int:
        return 0

    def close(self) -> None:
        self.channel.close()
        self.page.close()

    # What the child does.

    def says(self, kind: str, body: Any) -> None:
        self.writes(encoded(kind, body))

    def says_text(self, text: bytes) -> None:
        """Sends a frame whatever is in it."""
        self.writes(LENGTH.pack(len(text)) + text)

    def writes(self, data: bytes) -> None:
        try:
            self.theirs.sendall(data)
        except (BlockingIOError, BrokenPipeError):
            pass


class Stage:
    """A real nursery with children that are puppets; no process is started."""

    def __init__(self, **settings: Any) -> None:
        config = WorkerConfig(**{"threads": 5, "read_ahead": 20, "async_slots": 5, **settings})
        self.children = Children(config)
        self.output = Output()
        self.nursery = Nursery(self.children, config, {}, self.output)
        # None is replaced.
        self.nursery.ending = True
        self.children.renew(clock() + 1000, None)
        self.puppets: list[Puppet] = []

    def child(self, *, hello: bool = True, role: Role = Role.WORKER) -> tuple[Child, Puppet]:
        """A child of the nursery; with *hello*, one that is ready."""
        puppet = Puppet()
        self.puppets.append(puppet)
        child = Child(puppet, role)  # type: ignore[arg-type]
        self.children.adopt(child)
        if hello:
            puppet.says("hello", HELLO)
            self.nursery.listen(child)
            assert child.ready
        return child, puppet

    def given(self, child: Child, *jobs: Claimed, ended: bool = False) -> list[int]:
        """The cells of jobs that a child holds: they run, or have just *ended*."""
        others = [other for other in self.children.list if other is not child]
        for other in others:
            other.ready = False
        self.children.start(jobs, clock())
        self.children.hand_over()
        for other in others:
            other.ready = True
        cells = {one.job.id: cell for cell, one in child.handed.items()}
        found = [cells[job.id] for job in jobs]
        for cell in found:
            child.process.page.start(cell)
            if ended:
                child.process.page.end(cell)
        child.process.page.pulse = clock()
        return found

    def step(self) -> None:
        self.nursery.step(0)

    def close(self) -> None:
        for puppet in self.puppets:
            puppet.gone = True
            puppet.theirs.close()
        for child in self.children.list:
            child.process.close()
        self.children.list.clear()
        self.nursery.end(0)
        self.output.close()


@contextmanager
def stage(**settings: Any) -> Iterator[Stage]:
    one = Stage(**settings)
    try:
        yield one
    finally:
        one.close()
