"""Transactions that jobs leave open on connections of the application's.

On SQLite one that has written keeps everybody else from writing, and so the whole queue, for as long as it is open.
Python says when a connection is opened (by an audit event), and here it is remembered: SQLite's cannot be referred to
weakly, so they are let go as soon as nobody else refers to them.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from belayed.claim import Running, running
from belayed.forking import at_fork
from belayed.safelog import log

Line = tuple[tuple[Any, ...], dict[str, Any]]
"""A line for the log: its text with what is put into it, and its `extra`."""


@dataclass(slots=True)
class Opened:
    """A connection that an attempt has opened."""

    raw: sqlite3.Connection
    thread: int
    by: Running
    left_by: Running | None = None
    """The attempt at whose end a transaction was open, which may have been another's."""


OF_WORKERS = "belayed-"
"""How the names of a worker's threads begin."""
LOOP = f"{OF_WORKERS}loop"
LEAKED: list[object] = []
"""What a fork has brought into this process: to close or to free it would be to end what the parent has open."""


class Leftovers:
    """The SQLite connections that attempts have opened in this process, and the attempts that run in it."""

    def __init__(self) -> None:
        self.opened: list[Opened] = []
        self.running: set[Running] = set()
        """Those in threads: each comes to its end there, or to an event loop."""
        # Weakly: an attempt may be given up before it has begun. A weak reference costs a job as much as its loading.
        self.looping: WeakSet[Running] = WeakSet()
        self.watching = False
        self.only_jobs = False
        """Whether nothing but jobs runs in this process: it is a worker's own, and no program of the application's."""
        self.lock = threading.RLock()
        self.of_thread = threading.local()

    def leave_copy(self) -> None:
        """This is a fork: another thread may have held the lock, and what is open here is the parent's to end."""
        LEAKED.append(self.opened)
        self.opened, self.running, self.looping, self.lock = [], set(), WeakSet(), threading.RLock()

    @contextmanager
    def overlooked(self) -> Iterator[None]:
        """A connection that is opened within is Belayed's own, which leaves nothing open."""
        self.of_thread.overlooks = True
        try:
            yield
        finally:
            self.of_thread.overlooks = False

    @property
    def overlooks(self) -> bool:
        """Whether this thread is opening a connection of Belayed's own."""
        return getattr(self.of_thread, "overlooks", False)

    def watch(self) -> None:
        """Notice each connection that is opened from now on. An audit hook stays for as long as the process."""
        with self.lock:
            if not self.watching:
                self.watching = True
                sys.addaudithook(self.heard)

    def heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "sqlite3.connect":
            # Our own is opened under a lock that each fork waits for. A thread that has the lock of this object, or a
            # handler of the log, may be waiting for such a fork.
            if not self.overlooks:
                self.forget()
        elif event == "sqlite3.connect/handle" and (run := running.get()) is not None and not self.overlooks:
            # What others have opened may be in use by threads that run no jobs.
            with self.lock:
                self.opened.append(Opened(args[0], threading.get_ident(), run))

    def forget(self) -> None:
        """Let go of the connections that are closed, or that nobody else has: nobody could end what is open there."""
        for text, extra in self.unheld():
            log.warning(*text, extra=extra)

    def unheld(self) -> list[Line]:
        """Let go of them; what is to be logged of those where a transaction was open."""
        lines = []
        with self.lock:
            kept = []
            for one in self.opened:
                if sys.getrefcount(one.raw) > ALONE:
                    if not is_closed(one.raw):
                        kept.append(one)
                elif is_open(one.raw):
                    # In a cycle of references: it would stay open until the garbage is collected.
                    lines.append(rolled_back(one.by, one.raw))
            self.opened = kept
        return lines

    def begun(self, run: Running, *, in_thread: bool = False) -> None:
        """An attempt begins: not while another one that has ended looks at the connections.

        It says first that it is here, and looks then: so either the other sees it, or it sees that there are some.
        """
        if self.watching:
            (self.running if in_thread else self.looping).add(run)
            if self.opened:
                with self.lock:
                    pass

    def runs(self, run: Running) -> bool:
        return run in self.running or run in self.looping

    @property
    def is_idle(self) -> bool:
        """Whether no attempt runs."""
        return not self.running and not self.looping

    def handed_over(self, run: Running) -> None:
        """An attempt goes on in an event loop."""
        if self.watching:
            self.looping.add(run)
            self.running.discard(run)

    def ended(self, run: Running) -> None:
        """Roll back what an attempt that has ended left open, where that can be known. Called in its own thread."""
        self.running.discard(run)
        if self.looping:
            self.looping.discard(run)
        if not (self.opened or run.given):
            return
        lines = [
            left(run, "what it has locked stays locked until the connection ends it")
            for raw in run.given
            if not isinstance(raw, sqlite3.Connection) and is_open(raw)
        ]
        if self.opened:
            lines += self.unheld()
            # Under the lock no attempt goes on from its beginning, nor does another one that ends look at the same.
            with self.lock:
                for one in self.opened:
                    if self.runs(one.by) or not is_open(one.raw):
                        one.left_by = None
                    elif self.is_over(one, run):
                        lines.append(rolled_back(one.left_by or run, one.raw))
                        one.left_by = None
                    else:
                        one.left_by = one.left_by or run
        # Without the lock: a handler of the log may hang, and other attempts are to begin.
        for text, extra in lines:
            log.warning(*text, extra=extra)

    def is_over(self, one: Opened, run: Running) -> bool:
        """Whether nobody can be using a connection: no other attempt, and none of the program's own threads."""
        if self.is_idle and self.only_jobs:
            return True
        # What all threads may use may be in their hands, as by a pool. An event loop has other attempts in its thread.
        thread = threading.current_thread().name
        if one.thread != threading.get_ident() or (thread == LOOP and not self.is_idle):
            return False
        # Where jobs run in a thread of the program's, as in a test, that may have begun it between two of them.
        is_of_attempt = self.only_jobs or thread.startswith(OF_WORKERS) or one.by is run
        return is_of_attempt and is_bound(one.raw)


def is_closed(raw: sqlite3.Connection) -> bool:
    try:
        _ = raw.total_changes
    except sqlite3.ProgrammingError:
        return True
    return False


def is_open(raw: Any) -> bool:
    """Whether a transaction is open on a connection of any driver."""
    with suppress(Exception):
        if hasattr(raw, "in_transaction"):
            return bool(raw.in_transaction) and not is_untouched(raw)
        if hasattr(raw, "is_in_transaction"):
            return bool(raw.is_in_transaction())
        return raw.info.transaction_status.name in ("INTRANS", "INERROR")
    return False


def is_untouched(raw: Any) -> bool:
    """Whether the open transaction is one that Python keeps open (`autocommit=False`), and has done nothing yet."""
    if getattr(raw, "autocommit", True) is not False:
        return False
    try:
        # No checkpoint comes to pass in a transaction that has read or written.
        raw.execute("PRAGMA wal_checkpoint(NOOP)").fetchall()
    except sqlite3.OperationalError:
        return False
    return True


def is_bound(raw: sqlite3.Connection) -> bool:
    """Whether only the thread that has opened a connection may use it (`check_same_thread`): another one asks."""
    refused = []

    def ask() -> None:
        try:
            raw.cursor().close()
        except sqlite3.ProgrammingError:
            refused.append(True)

    thread = threading.Thread(target=ask, name="belayed-ask")
    thread.start()
    thread.join()
    return bool(refused)


def rolled_back(run: Running, raw: sqlite3.Connection) -> Line:
    """Roll back what is open; what is to be logged of it."""
    try:
        raw.rollback()
    except sqlite3.Error as error:
        return left(run, f"it could not be rolled back, and until it ends nobody else may write there ({error})")
    return left(run, "it was rolled back")


def left(run: Running, then: str) -> Line:
    text = "%s #%d left a transaction open on a connection of its own: %s"
    return (text, run.claimed.task, run.claimed.id, then), run.claimed.extra


PROBE = Opened(sqlite3.connect(":memory:"), 0, None)  # type: ignore[arg-type]
ALONE = sys.getrefcount(PROBE.raw)
"""References to a connection that nobody else has. It has one to itself, by its cache of statements."""
PROBE.raw.close()

leftovers = Leftovers()
at_fork(in_child=leftovers.leave_copy)
