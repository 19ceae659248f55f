"""Says how a worker is: to systemd (or whoever started it), and over HTTP to whoever asks."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from belayed.config import WorkerConfig
from belayed.worker.handed import Child, Role
from belayed.worker.health import served
from belayed.worker.loop import Loop
from belayed.worker.page import clock
from belayed.worker.pool import Pool
from belayed.worker.slots import Slots
from belayed.worker.standstill import Standstill
from belayed.worker.worker import Worker

DEAF = 5.0
"""Seconds after which a child is not ready that has not taken what it was sent."""
LOOK = 0.1
"""Seconds between two looks until the worker is ready."""


@dataclass(frozen=True)
class Watched:
    """What is asked of a pool, or of a worker in one process."""

    loop: Callable[[], Loop | None]
    no_slots: Callable[[], str]
    """Why nobody is there to run jobs; empty: there is."""
    stepped_at: Callable[[], float]
    """When the thread that serves the children has last been round, on the monotonic clock."""
    broken: Callable[[], str] = lambda: ""
    """Why no more jobs can be run, until it is started again."""
    over: Callable[[], bool] = lambda: False
    """Whether it has ended, as others may not have."""


def pool_watched(pool: Pool) -> Watched:
    def no_slots() -> str:
        children = list(pool.children.list)
        if any(takes(child) for child in children):
            return ""
        hang = any(child.withdrawn for child in children if not child.leaving)
        return "no child process starts what it is handed" if hang else "no child process is ready"

    return Watched(lambda: pool.loop, no_slots, lambda: pool.stepped_at, over=lambda: pool.over)


def takes(child: Child) -> bool:
    """Whether it takes jobs of the queue, and starts them: it has taken what it was sent, or may still be about to."""
    is_there = child.ready and child.role is Role.WORKER and not child.leaving and not child.withdrawn
    return is_there and (child.has_taken or clock() - child.sent_at < DEAF)


def worker_watched(worker: Worker) -> Watched:
    def standstill() -> Standstill | None:
        slots = worker.loop.slots if worker.loop else None
        return slots.standstill if isinstance(slots, Slots) else None

    def no_slots() -> str:
        found = standstill()
        return "the event loop is blocked" if found is not None and found.since is not None else ""

    def broken() -> str:
        why = worker.loop.slots.broken if worker.loop else ""
        found = standstill()
        return why or (found.stuck(worker.config.lapse.total_seconds()) if found is not None else "")

    return Watched(lambda: worker.loop, no_slots, time.monotonic, broken)


class Vigil:
    """Entered around a worker's run: a thread that tells systemd, and one that answers `/healthz` and `/readyz`."""

    def __init__(self, config: WorkerConfig, watched: Sequence[Watched]) -> None:
        """Raises ConfigError if the address of the health service cannot be had."""
        self.watched = watched
        self.limit = config.lapse.total_seconds()
        # Those whom jobs start must not speak for this process.
        self.address = os.environ.pop("NOTIFY_SOCKET", "")
        watchdog = int(os.environ.pop("WATCHDOG_USEC", "0") or 0) / 1e6
        self.every = watchdog / 2 if watchdog else None
        answers = {"/healthz": self.stuck, "/readyz": self.waiting}
        self.server = None if config.health is None else served(config.health, answers)
        self.ended = threading.Event()
        self.leaving = False
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        targets: list[Callable[[], Any]] = [self.tell] if self.address else []
        if self.server is not None:
            targets.append(self.server.serve)
        for target in targets:
            thread = threading.Thread(target=target, name="belayed-vigil", daemon=True)
            thread.start()
            self.threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping()
        self.ended.set()
        if self.server is not None:
            self.server.close()
        for thread in self.threads:
            thread.join(2)

    def going(self) -> list[Watched]:
        """Those that have not ended."""
        return [one for one in self.watched if not one.over()]

    def stuck(self) -> str | None:
        """Why the worker is not alive; None: it is."""
        now = time.monotonic()
        for one in self.going():
            if why := one.broken():
                return why
            loop = one.loop()
            if loop is not None and now - loop.passed_at > self.limit:
                return f"the loop has been stuck for {now - loop.passed_at:.0f} s"
            if now - one.stepped_at() > self.limit:
                return f"the children have not been served for {now - one.stepped_at():.0f} s"
        return None

    def waiting(self) -> str | None:
        """Why the worker does not take jobs; None: it does."""
        if self.leaving:
            return "it is stopping"
        for one in self.going():
            loop = one.loop()
            if loop is not None and loop.stop_asked:
                return "it is stopping"
            if loop is None or not loop.upkeep.last_beat:
                return "it is starting"
            if loop.outages:
                return "the database is not available"
            if loop.aside.full:
                return "the database refuses outcomes, and no more jobs are claimed: its log names them"
            if loop.paused:
                return "it is paused"
            if why := one.no_slots():
                return why
        return self.stuck()

    def stopping(self) -> None:
        """It was asked to stop. From a signal handler too."""
        if not self.leaving:
            self.leaving = True
            self.say("STOPPING=1")

    def tell(self) -> None:
        """The thread that tells whoever started this: that it is ready, and from then on that it is alive."""
        while self.waiting() is not None:
            if self.ended.wait(LOOK):
                return
        self.say("READY=1\nSTATUS=working")
        while self.every is not None and not self.ended.wait(self.every):
            reason = self.stuck()
            if reason is None:
                self.say("WATCHDOG=1")
            else:
                self.say(f"STATUS={reason}")

    def say(self, text: str) -> None:
        """Send a line of systemd's protocol (sd_notify)."""
        if not self.address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                # A name that begins with @ is one of Linux's abstract ones.
                name = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
                sock.sendto(text.encode(), name)
        except OSError:
            # Who started it may have heard enough. Nothing is logged: a signal handler may be what speaks here.
            pass
