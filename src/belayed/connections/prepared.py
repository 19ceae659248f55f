"""The statements that are asked alone, once for each job, prepared and sent by libpq itself.

A cursor of psycopg's finds out anew how each value is written and read, which takes as long as all the rest: here the
few types are known that those statements have.
"""

from __future__ import annotations

import select
from datetime import datetime
from math import ceil, inf
from secrets import token_hex
from struct import unpack
from time import monotonic
from typing import Any

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.generators import execute

from belayed.connections.deadlines import late
from belayed.steps import Params, Row, Statement

FORGOTTEN = ("26000", "0A000")
"""What the server says when it does not have the statement any more, or a table has changed so that it must not."""

INTEGERS = frozenset((20, 21, 23, 1114, 1184))
"""Types as PostgreSQL numbers them: whole numbers, and times, which are read as microseconds."""
TEXT, BOOLEAN, REAL, VOID = 25, 16, 701, 2278

IDLE, TUPLES, BINARY = int(pq.TransactionStatus.IDLE), int(pq.ExecStatus.TUPLES_OK), pq.Format.BINARY
"""As plain numbers: in the code of each enqueue it counts how much is looked up."""


class Unwritten(Exception):
    """A value is of no type that is known here."""


class Prepared:
    """The prepared statements of one connection, which must be a session of its own. For autocommit only."""

    def __init__(self, raw: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
        self.pgconn, self.encoding = raw.pgconn, raw.info.encoding
        self.names: dict[str, bytes] = {}
        self.until: dict[str, float] = {}
        """When those whose plans may not be kept for ever are prepared anew."""
        self.columns: dict[str, list[tuple[int, int]]] = {}
        """What each statement answers with: places and types, 0 for whole numbers."""
        self.made = 0
        self.own = token_hex(4)
        """Part of each name: should a pooler lend the session all the same, nobody gets another's statement."""
        # Windows has no poll(); select() takes no descriptor above 1023.
        self.poll = select.poll() if hasattr(select, "poll") else None
        if self.poll is not None:
            self.poll.register(self.pgconn.socket, select.POLLIN)

    def usable(self) -> bool:
        """Whether the session is idle and nothing has come from the server, whose good-bye it would be."""
        if self.poll is None:
            return self.pgconn.transaction_status == IDLE and not select.select([self.pgconn.socket], [], [], 0)[0]
        return self.pgconn.transaction_status == IDLE and not self.poll.poll(0)

    def knows(self, statement: Statement) -> bool:
        """Whether `answered` can be asked for it."""
        if statement.kept != inf and monotonic() > self.until.get(statement.name, inf):
            return False
        return statement.name in self.names and self.poll is not None

    def answered(self, statement: Statement, params: Params, timeout: float | None) -> list[Row]:
        """The rows of a statement that is prepared, waiting in this thread: psycopg's way takes twice as long.

        Raises psycopg.Error, NoAnswer after *timeout* seconds, and Unwritten before anything is sent.
        """
        pgconn, poll = self.pgconn, self.poll
        assert poll is not None
        values = self.written(statement, params)
        pgconn.send_query_prepared(self.names[statement.name], values, result_format=BINARY)
        limit = None if timeout is None else ceil(timeout * 1000)
        if pgconn.flush():
            self.flushed(limit)
        result: Any = None
        while True:
            # Before each: libpq waits without a limit, and with Python's lock, for what the network has split off.
            while pgconn.is_busy():
                if not poll.poll(limit):
                    raise late(limit)
                pgconn.consume_input()
            if (another := pgconn.get_result()) is None:
                break
            result = another
        if result.status != TUPLES and self.forgotten(statement, result):
            raise Unwritten
        return self.rows(statement, result)

    def flushed(self, limit: int | None) -> None:
        """Send the rest of what is larger than the socket takes at once.

        Raises NoAnswer after so many milliseconds in which the server takes nothing.
        """
        pgconn, poll = self.pgconn, self.poll
        assert poll is not None
        while pgconn.flush():
            poll.modify(pgconn.socket, select.POLLIN | select.POLLOUT)
            found = poll.poll(limit)
            poll.modify(pgconn.socket, select.POLLIN)
            if not found:
                raise late(limit)
            if found[0][1] & ~select.POLLOUT:
                pgconn.consume_input()

    def ask(self, statement: Statement, params: Params) -> PQGen[list[Row]]:
        """What is to be waited for: the rows. Raises psycopg.Error, and Unwritten before anything is sent."""
        values = self.written(statement, params)
        result = yield from self.sent(statement, values)
        if result.status != TUPLES and self.forgotten(statement, result):
            result = yield from self.sent(statement, values)
        return self.rows(statement, result)

    def sent(self, statement: Statement, values: list[bytes | None]) -> PQGen[Any]:
        name = self.names.get(statement.name)
        if name is not None and monotonic() > self.until.get(statement.name, inf):
            self.pgconn.send_query(b"DEALLOCATE " + name)
            yield from execute(self.pgconn)
            self.forget(statement)
            name = None
        if name is None:
            self.made += 1
            name = f"belayed_{statement.name}_{self.own}_{self.made}".encode()
            self.pgconn.send_prepare(name, statement.numeric.encode(self.encoding))
            result = (yield from execute(self.pgconn))[-1]
            if result.status != pq.ExecStatus.COMMAND_OK:
                return result
            self.names[statement.name] = name
            self.until[statement.name] = monotonic() + statement.kept
        self.pgconn.send_query_prepared(name, values, result_format=BINARY)
        # A server that ends the session says so first; the last word is that the connection is lost.
        return (yield from execute(self.pgconn))[-1]

    def forgotten(self, statement: Statement, result: Any) -> bool:
        """Whether the server has said that it does not have the statement any more: then so do we."""
        if (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode() not in FORGOTTEN:
            return False
        self.forget(statement)
        return True

    def forget(self, statement: Statement) -> None:
        """Prepare it anew when it is asked next: what it answers with may have changed, too."""
        self.names.pop(statement.name, None)
        self.columns.pop(statement.name, None)

    def written(self, statement: Statement, params: Params) -> list[bytes | None]:
        """The binds as texts. Raises Unwritten for what is better left to psycopg, which knows how, or what to say."""
        values: list[bytes | None] = []
        for name in statement.order:
            value = params[name]
            kind = type(value)
            if kind is str:
                if "\0" in value:
                    raise Unwritten
                values.append(value.encode(self.encoding))
            elif kind is int or kind is float:
                values.append(b"%r" % value)
            elif value is None:
                values.append(None)
            elif kind is bool:
                values.append(b"t" if value else b"f")
            elif kind is datetime and value.tzinfo is not None and value.year >= 1000:
                values.append(value.isoformat().encode())
            else:
                raise Unwritten
        return values

    def rows(self, statement: Statement, result: Any) -> list[Row]:
        """The rows of an answer in binary form. Raises psycopg.Error if it is none."""
        if result.status != TUPLES:
            raise error_from_result(result, self.encoding)
        columns = self.columns.get(statement.name)
        if columns is None:
            columns = self.columns[statement.name] = columns_of(result)
        rows: list[Row] = []
        for nth in range(result.ntuples):
            row: list[Any] = []
            for place, kind in columns:
                data = result.get_value(nth, place)
                if data is None:
                    row.append(None)
                elif not kind:
                    row.append(int.from_bytes(data, "big", signed=True))
                elif kind == TEXT:
                    row.append(data.decode(self.encoding))
                else:
                    row.append(read(kind, data))
            rows.append(tuple(row))
        return rows


def columns_of(result: Any) -> list[tuple[int, int]]:
    """The places and types of an answer's columns."""
    types = [result.ftype(nth) for nth in range(result.nfields)]
    return [(nth, 0 if type in INTEGERS else type) for nth, type in enumerate(types)]


def read(kind: int, data: bytes) -> Any:
    """A value in binary form that is neither a whole number nor a text."""
    if kind == BOOLEAN:
        return data != b"\0"
    if kind == REAL:
        return unpack(">d", data)[0]
    if kind == VOID:
        return None
    raise psycopg.InterfaceError(f"a kept statement answers with a value of type {kind}, which is not known here")
