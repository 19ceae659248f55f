"""SQLite connections: the caller's (sqlite3, aiosqlite) and ours."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from math import inf
from pathlib import Path
from typing import Any, TypeVar

from belayed.config import MEMORY
from belayed.connections import forks, sqlitebeside, sqlitefile
from belayed.connections.base import ENDED, OPEN
from belayed.connections.holders import SUSPICIOUS, refuse_own_transaction
from belayed.connections.lenient import LENIENT, lenient
from belayed.connections.parameters import NONE, ConnectionParameters
from belayed.connections.sqlitebeside import Beside
from belayed.connections.sqlitefaults import primary_code, translated
from belayed.connections.within import refuse_to_wait
from belayed.errors import BelayedError, ConfigError, StoreUnavailable
from belayed.garbage import uncollected
from belayed.steps import Answer, Load, Params, Request, Row, Statement, Steps, arun, run

T = TypeVar("T")

MARK = "belayed_completion"
"""A savepoint that shows, by being there, that its transaction has not been ended."""
NO_MARK = f"no such savepoint: {MARK}"
OLDEST = (3, 37)
"""Of SQLite: before it there were no strict tables."""


class CallersSqlite:
    """A sqlite3 connection of the application's: the job joins its transaction."""

    dialect = "sqlite"

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw

    def perform(self, steps: Steps[T]) -> T:
        return run(steps, self.send)

    def send(self, request: Request) -> Answer:
        try:
            with closing(self.raw.cursor()) as cursor, lenient(self.raw):
                cursor.row_factory = None  # the caller's may make dictionaries
                if isinstance(request, Load):
                    cursor.executemany(request.statement.named, request.rows)
                    return [[(cursor.rowcount,)]]
                return [cursor.execute(statement.named, params).fetchall() for statement, params in request.calls]
        except sqlite3.Error as error:
            raise translated(error) from error

    def begin(self) -> None:
        try:
            if self.raw.in_transaction and not self.untouched():
                raise BelayedError(OPEN)
            if self.raw.in_transaction:
                self.raw.execute("COMMIT")
        except sqlite3.Error as error:
            raise translated(error) from error
        try:
            self.raw.execute("BEGIN IMMEDIATE")
            self.raw.execute(f"SAVEPOINT {MARK}")
        except BaseException as error:
            self.roll_back()
            if isinstance(error, sqlite3.Error):
                raise translated(error) from error
            raise

    def intact(self) -> None:
        try:
            self.raw.execute(f"RELEASE {MARK}")
        except sqlite3.Error as error:
            raise (BelayedError(ENDED) if NO_MARK in str(error) else translated(error)) from error

    def commit(self) -> None:
        try:
            self.raw.execute("COMMIT")
            self.reopen()
        except sqlite3.Error as error:
            raise translated(error) from error

    def roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self.raw.in_transaction:
                self.raw.execute("ROLLBACK")
            self.reopen()

    def untouched(self) -> bool:
        """Whether the open transaction is one that Python keeps open, and has neither read nor written yet."""
        if not self.always_open:
            return False
        try:
            # No checkpoint comes to pass in a transaction that has. SQLite 3.51 takes NOOP and makes none either way;
            # for older ones it means PASSIVE, as after any commit that makes the log long.
            self.raw.execute("PRAGMA wal_checkpoint(NOOP)").fetchall()
        except sqlite3.OperationalError:
            return False
        return True

    @property
    def always_open(self) -> bool:
        """Whether Python begins a transaction whenever one has ended: `autocommit=False`, since 3.12."""
        return getattr(self.raw, "autocommit", True) is False

    def reopen(self) -> None:
        if self.always_open and not self.raw.in_transaction:
            self.raw.execute("BEGIN")


class OwnSqlite:
    """A sqlite3 connection of ours: each operation is a transaction, begun IMMEDIATE if it writes.

    It waits *timeout* seconds for another connection's write, None for ever.
    """

    dialect = "sqlite"

    def __init__(
        self,
        path: str,
        parameters: ConnectionParameters = NONE,
        *,
        synchronous: str = "full",
        timeout: float | None = 30.0,
    ) -> None:
        self.timeout = inf if timeout is None else timeout
        self.parameters = parameters
        self.path, self.synchronous = path, synchronous
        self.place = None if path == MEMORY else Path(path).absolute()
        self.performing = self.waiting = False
        self.lock = threading.RLock()
        """Held during each operation: nobody forks meanwhile."""
        if sqlite3.sqlite_version_info < OLDEST:
            raise ConfigError(
                f"Belayed takes SQLite {'.'.join(map(str, OLDEST))} or later, and this Python has "
                f"{sqlite3.sqlite_version}: take another Python, or another database (BELAYED_URL)"
            )
        with forks.opening:
            self.open()
            forks.known.add(self)

    def open(self) -> None:
        self.raw = sqlitefile.opened(self.path, self.parameters, self.synchronous, self.patiently)
        self.raw.text_factory = LENIENT
        self.file = self.file_now()
        self.beside = Beside(self.place)
        # They are there since journal_mode was asked for.
        self.beside.look()
        self.begun = self.is_closed = False

    def before_fork(self) -> None:
        """Close the file, which the child would take for opened by itself: the next operation opens it again."""
        if self.place is not None:
            self.raw.close()
            self.is_closed = True
            self.beside = Beside(None)

    def perform(self, steps: Steps[T]) -> T:
        with self.lock:
            if self.is_closed:
                self.open()
            self.performing = True
            try:
                result = run(steps, self.send)
                self.commit()
            except BaseException:
                self.roll_back()
                raise
            finally:
                self.performing = False
            return result

    def ask(self, call: tuple[Statement, Params]) -> list[Row]:
        """The rows of a statement that is an operation by itself: it begins and commits its own transaction."""
        with self.lock:
            if self.is_closed:
                self.open()
            statement, params = call
            # By place: to look up the names of binds takes sqlite3 as long as to bind them.
            values = [params[name] for name in statement.order]
            try:
                return self.patiently(lambda: self.raw.execute(statement.numeric, values).fetchall())
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    def send(self, request: Request) -> Answer:
        try:
            if not self.begun and not request.read:
                self.patiently(lambda: self.raw.execute("BEGIN IMMEDIATE"))
                self.begun = True
            if isinstance(request, Load):
                with uncollected():
                    answer: Answer = [[(self.raw.executemany(request.statement.named, request.rows).rowcount,)]]
            else:
                answer = [
                    self.patiently(lambda: self.raw.execute(statement.named, params).fetchall())  # noqa: B023
                    for statement, params in request.calls
                ]
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        if request.last:
            self.commit()
        return answer

    def commit(self) -> None:
        if not self.begun:
            return
        try:
            self.patiently(lambda: self.raw.execute("COMMIT"))
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        self.begun = False
        if not self.is_there():
            raise StoreUnavailable(
                f"the database {self.path} was removed or replaced while it was written to", uncertain=True
            )

    def roll_back(self) -> None:
        """Roll back if that can be done: what went wrong before is the news."""
        self.begun = False
        if self.raw.in_transaction:
            with suppress(sqlite3.Error):
                self.raw.execute("ROLLBACK")

    def patiently(self, call: Callable[[], T]) -> T:
        """The result of *call*, asked again while another connection writes."""
        begun = time.monotonic()
        deadline, look_at = begun + self.timeout, begun + SUSPICIOUS
        while True:
            try:
                return call()
            except sqlite3.OperationalError as error:
                if primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                refuse_to_wait(self, self.path)
                if time.monotonic() > look_at:
                    look_at = inf
                    refuse_own_transaction(self, self.path)
            self.waiting = True
            try:
                time.sleep(random.uniform(0.0005, 0.0015))
            finally:
                self.waiting = False

    @property
    def is_writing(self) -> bool:
        """Whether the operation that is under way keeps others from writing. `ask` is only asked to write."""
        return self.begun if self.performing else not self.waiting

    def usable(self) -> bool:
        """Whether its files are still there: what is written into removed ones is lost, and nothing says so."""
        return self.is_there() and self.beside.lost() is None

    def is_there(self) -> bool:
        """Whether its database is the one at the path."""
        if self.place is None:
            return True
        try:
            return self.file is not None and os.path.samestat(self.place.stat(), self.file)
        except OSError:
            return False

    def file_now(self) -> os.stat_result | None:
        """Which file is at the path now; None if there is none."""
        with suppress(OSError):
            return None if self.place is None else self.place.stat()
        return None

    def data_version(self) -> int:
        """A number that changes when another connection has written."""
        with self.lock:
            if self.is_closed:
                return 0
            try:
                return self.patiently(lambda: self.raw.execute("PRAGMA data_version").fetchone()[0])  # type: ignore[no-any-return]
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    def close(self) -> None:
        # One after the other: who forks holds the first while it waits for the second.
        with forks.opening:
            forks.known.discard(self)
            with self.lock:
                self.leave_lost()
                self.raw.close()

    def leave_lost(self) -> None:
        """Say that files were taken away while they were open, and save what can be."""
        if self.place is None or self.is_closed:
            return
        if not self.is_there():
            sqlitebeside.replaced(self.place, self.file)
        elif (lost := self.beside.lost()) is not None:
            sqlitebeside.leave(self, lost)


class CallersAiosqlite:
    """An aiosqlite connection of the application's: the job joins its transaction."""

    dialect = "sqlite"

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    async def perform(self, steps: Steps[T]) -> T:
        return await arun(steps, self.send)

    async def send(self, request: Request) -> Answer:
        answer: Answer = []
        try:
            with lenient(self.raw):
                if isinstance(request, Load):
                    loaded = await self.raw.executemany(request.statement.named, request.rows)
                    return [[(loaded.rowcount,)]]
                for statement, params in request.calls:
                    cursor = await self.raw.cursor()
                    try:
                        cursor.row_factory = None
                        await cursor.execute(statement.named, params)
                        answer.append(list(await cursor.fetchall()))
                    finally:
                        await cursor.close()
        except (sqlite3.Error, ValueError) as error:
            if isinstance(error, UnicodeError):
                raise
            raise translated(error) from error
        return answer

    async def begin(self) -> None:
        try:
            is_open = self.raw.in_transaction
        except ValueError as error:
            raise translated(error) from error
        if is_open:
            # With autocommit=False it always is, and aiosqlite does not say so.
            raise BelayedError(f"{OPEN} (of aiosqlite, not a connection with autocommit=False)")
        try:
            await self.execute("BEGIN IMMEDIATE")
            await self.execute(f"SAVEPOINT {MARK}")
        except BaseException as error:
            await self.roll_back()
            if isinstance(error, sqlite3.Error):
                raise translated(error) from error
            raise

    async def intact(self) -> None:
        try:
            await self.execute(f"RELEASE {MARK}")
        except sqlite3.Error as error:
            raise (BelayedError(ENDED) if NO_MARK in str(error) else translated(error)) from error

    async def commit(self) -> None:
        try:
            await self.execute("COMMIT")
        except sqlite3.Error as error:
            raise translated(error) from error

    async def roll_back(self) -> None:
        # Without a look whether one is open: a BEGIN whose waiting was cancelled is still carried out, before this.
        # ValueError is aiosqlite's own for a connection that is closed.
        with suppress(sqlite3.Error, ValueError):
            await self.execute("ROLLBACK")

    async def execute(self, text: str) -> None:
        cursor = await self.raw.execute(text)
        await cursor.close()
