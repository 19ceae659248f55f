"""What ends a worker's wait early: an outcome, a hint, another connection's commit, or a stop."""

from __future__ import annotations

import random
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any

from belayed.connections.base import SharedSession
from belayed.errors import StoreError
from belayed.safelog import log
from belayed.store.answers import LOOK

PROOF = 60.0
"""Seconds between two proofs that hints arrive."""
SURPRISED = 15.0
"""The same, if jobs are found that no hint has told of."""
OFTEN, SELDOM = 1.0, 30.0
"""Seconds until a listener that was lost is opened again: twice as many each time, at most so many."""
BLIND = 0.1
"""The longest poll, in seconds, where no hints arrive (behind PgBouncer, or until they are proved)."""
SHARE, SPARING = 0.1, 1.0
"""Behind a pooler, where nothing comes, a poll may last for this share of the time since something did; its most."""
WATCH, CLOSELY = 0.005, 0.002
"""Seconds between two looks at whether another connection has written (SQLite), and if one has lately."""
LATELY = 1.0


class Wakeup:
    """One place to wait in. Any thread and any signal handler may end the wait by `wake`."""

    def __init__(self, listener: Callable[[], Any], poll_interval: float, watched: bool = False) -> None:
        self.open_listener, self.poll_interval = listener, poll_interval
        self.watched = watched
        """Whether what others write is seen without a look at the tables (SQLite)."""
        # Sockets and a selector: on Windows a pipe cannot be waited for, and select() takes no descriptor above 1023.
        self.reading, self.writing = socket.socketpair()
        self.reading.setblocking(False)
        self.writing.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.reading, selectors.EVENT_READ)
        self.listener: Any = None
        self.listening: int | None = None
        self.hears = self.shared = False
        self.prove_at = 0.0
        self.proved_at = self.opened_at = float("-inf")
        """When an echo was sent last; and when a listener was opened, or tried."""
        self.busy_at = time.monotonic()
        """When there was a job last, or a reason to expect one."""
        self.empty = False
        """Whether the last look found no job."""
        self.lost = 0
        """How often in a row the listener was lost before it was proved."""
        self.echo = ""
        self.changed_at = float("-inf")
        self.asleep = False

    def wake(self) -> None:
        """End the wait, from any thread."""
        if self.asleep:
            self.alarm()

    def alarm(self) -> None:
        """End the wait or the next one, from a signal handler."""
        try:
            self.writing.send(b"!")
        except OSError:
            # Full, so the wait ends anyway; or closed, so there is none.
            pass

    def poll_after(self) -> float:
        """Seconds until the next look at the store with nothing heard: spread, so that workers do not look together."""
        interval = self.poll_interval
        if not self.hears and not self.watched:
            quiet = time.monotonic() - self.busy_at if self.shared else 0.0
            interval = min(interval, max(BLIND, min(SHARE * quiet, SPARING)))
        return interval * random.uniform(0.8, 1.2)

    def looked(self, now: float, found: bool, told: bool) -> None:
        """The store was asked for jobs. If one has come of which nobody has *told*: perhaps hints do not arrive."""
        if found:
            self.busy_at = now
            if self.hears and self.empty and not told and now > self.proved_at + SURPRISED:
                self.prove_at = now
        self.empty = not found

    def doubt(self) -> None:
        """Open the listener anew: the store may have moved, and with it the place where hints arrive."""
        self.hang_up()
        self.busy_at = time.monotonic()
        self.prove_at = self.opened_at + OFTEN

    def listen(self, now: float) -> list[str]:
        """Open the listener, and from time to time prove that hints arrive by one to ourselves; the hints heard."""
        if now < self.prove_at:
            return []
        try:
            opened = self.listener is None
            if opened:
                self.opened_at = now
                self.listener = self.open_listener()
                self.shared = False
                if self.listener is None:
                    self.prove_at = float("inf")
                    return []
                self.listening = int(self.listener.fileno())
                self.selector.register(self.listening, selectors.EVENT_READ)
            elif self.echo:
                # The last one has not come back: something between us and the database swallows them.
                return self.lose("no hints arrive any more", now)
            self.echo = f"echo {random.getrandbits(64):x}"
            self.listener.echo(self.echo)
            self.proved_at, self.prove_at = now, now + PROOF
            # What comes while the echo is sent is the driver's already: the socket will not tell of it.
            hints = self.heard([self.listener.fileno()])
            # Of what came before, nothing was heard.
            return [LOOK, *hints] if opened else hints
        except SharedSession:
            if not self.shared:
                log.info("the database is behind a pooler, through which no hints arrive: looking for new jobs")
            self.shared = True
            self.prove_at = now + PROOF
            return [LOOK]
        except StoreError as error:
            return self.lose(error, now)

    def lose(self, why: object, now: float) -> list[str]:
        """Hear nothing until the listener is open again; the hint to look at the store instead."""
        if self.hears:
            log.warning("the connection that hears of new jobs was lost; polling until it is back: %s", why)
        self.hang_up()
        self.prove_at = now + min(OFTEN * 2**self.lost, SELDOM)
        self.lost = min(self.lost + 1, 10)
        return [LOOK]

    def hang_up(self) -> None:
        """Close the listener, if there is one, and hear nothing."""
        self.hears, self.echo = False, ""
        if self.listening is not None:
            self.selector.unregister(self.listening)
        if self.listener is not None:
            self.listener.close()
        self.listener = self.listening = None

    def wait(self, seconds: float, still: Callable[[], bool], changed: Callable[[], bool] | None) -> list[str]:
        """Wait *seconds* at most, and only while *still*; the hints heard. *changed* is asked again and again."""
        self.asleep = True
        try:
            if not still():
                return []
            deadline = time.monotonic() + seconds
            while True:
                now = time.monotonic()
                left = max(0.0, deadline - now)
                watch = CLOSELY if now < self.changed_at + LATELY else WATCH
                pause = min(left, watch) if changed else left
                if ready := self.selector.select(pause):
                    return self.heard([key.fd for key, _ in ready])
                if changed and changed():
                    self.changed_at = time.monotonic()
                    return []
                if left <= pause:
                    return []
        finally:
            self.asleep = False

    def heard(self, ready: list[int]) -> list[str]:
        if self.reading.fileno() in ready:
            try:
                while self.reading.recv(4096):
                    pass
            except BlockingIOError:
                pass
        hints: list[str] = []
        if self.listening in ready:
            try:
                hints = self.listener.hints()
            except StoreError as error:
                return self.lose(error, time.monotonic())
        if self.echo and self.echo in hints:
            self.hears, self.echo, self.lost = True, "", 0
        return [hint for hint in hints if not hint.startswith("echo ")]

    def close(self) -> None:
        self.hang_up()
        self.selector.close()
        self.reading.close()
        self.writing.close()
