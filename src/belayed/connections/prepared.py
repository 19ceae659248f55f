"""The statements that are asked once for each job, prepared and sent by libpq itself.

A cursor of psycopg's finds out anew how each value is written and read, which takes as long as all the rest: here the
few types are known that those statements have.
"""

from __future__ import annotations

import select
from datetime import datetime
from math import ceil
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

TEXT, VOID = 25, 2278
"""Types as PostgreSQL numbers them. The others here are whole numbers, or times, which are read as microseconds."""


class Unwritten(Exception):
    """A value is of no type that is known here."""


class Prepared:
    """The prepared statements of one connection, which must be a session of its own. For autocommit only."""

    def __init__(self, raw: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
        self.pgconn, self.encoding = raw.pgconn, raw.info.encoding
        self.names: dict[str, bytes] = {}
        self.made = 0
        # Windows has no poll(); select() takes no descriptor above 1023.
        self.poll = select.poll() if hasattr(select, "poll") else None
        if self.poll is not None:
            self.poll.register(self.pgconn.socket, select.POLLIN)

    def readable(self) -> bool:
        """Whether something has come."""
        if self.poll is None:
            return bool(select.select([self.pgconn.socket], [], [], 0)[0])
        return bool(self.poll.poll(0))

    def knows(self, statement: Statement) -> bool:
        """Whether `answered` can be asked for it."""
        return statement.name in self.names and self.poll is not None

    def answered(self, statement: Statement, params: Params, timeout: float | None) -> list[Row]:
        """The rows of a statement that is prepared, waiting in this thread: psycopg's way takes twice as long.

        Raises psycopg.Error, NoAnswer after *timeout* seconds, and Unwritten before anything is sent.
        """
        encoding = self.encoding
        values = [written(params[name], encoding) for name in statement.order]
        self.pgconn.send_query_prepared(self.names[statement.name], values, result_format=pq.Format.BINARY)
        result = self.awaited(None if timeout is None else ceil(timeout * 1000))
        if result.status != pq.ExecStatus.TUPLES_OK and sqlstate(result) in FORGOTTEN:
            del self.names[statement.name]
            raise Unwritten
        return self.rows(result)

    def awaited(self, timeout: int | None) -> Any:
        """The answer to what was sent. Raises NoAnswer after so many milliseconds without a sign of the server."""
        pgconn, poll = self.pgconn, self.poll
        assert poll is not None
        while pgconn.flush():
            # It is larger than what the socket takes at once.
            poll.modify(pgconn.socket, select.POLLIN | select.POLLOUT)
            found = poll.poll(timeout)
            poll.modify(pgconn.socket, select.POLLIN)
            if not found:
                raise late(timeout)
            if found[0][1] & ~select.POLLOUT:
                pgconn.consume_input()
        while pgconn.is_busy():
            if not poll.poll(timeout):
                raise late(timeout)
            pgconn.consume_input()
        result = pgconn.get_result()
        while (another := pgconn.get_result()) is not None:
            result = another
        return result

    def ask(self, statement: Statement, params: Params) -> PQGen[list[Row]]:
        """What is to be waited for: the rows. Raises psycopg.Error, and Unwritten before anything is sent."""
        values = [written(params[name], self.encoding) for name in statement.order]
        result = yield from self.sent(statement, values)
        if result.status != pq.ExecStatus.TUPLES_OK and sqlstate(result) in FORGOTTEN:
            self.names.pop(statement.name, None)
            result = yield from self.sent(statement, values)
        return self.rows(result)

    def rows(self, result: Any) -> list[Row]:
        """The rows of an answer. Raises psycopg.Error if it is none."""
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise error_from_result(result, self.encoding)
        columns = [(nth, result.ftype(nth)) for nth in range(result.nfields)]
        value, read = result.get_value, self.read
        return [tuple([read(type, value(row, nth)) for nth, type in columns]) for row in range(result.ntuples)]

    def sent(self, statement: Statement, values: list[bytes | None]) -> PQGen[Any]:
        name = self.names.get(statement.name)
        if name is None:
            self.made += 1
            name = f"belayed_{statement.name}_{self.made}".encode()
            self.pgconn.send_prepare(name, statement.numeric.encode(self.encoding))
            result = (yield from execute(self.pgconn))[-1]
            if result.status != pq.ExecStatus.COMMAND_OK:
                return result
            self.names[statement.name] = name
        self.pgconn.send_query_prepared(name, values, result_format=pq.Format.BINARY)
        # A server that ends the session says so first; the last word is that the connection is lost.
        return (yield from execute(self.pgconn))[-1]

    def read(self, type: int, data: bytes | None) -> Any:
        """A value in binary form, by the number of its type."""
        if data is None or type == VOID:
            return None
        return data.decode(self.encoding) if type == TEXT else int.from_bytes(data, "big", signed=True)


def sqlstate(result: Any) -> str:
    """The code of an error."""
    return (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()


def written(value: Any, encoding: str) -> bytes | None:
    """A bind as text. Raises Unwritten for what is better left to psycopg, which knows how, or what to say."""
    kind = type(value)
    if kind is str:
        data: bytes = value.encode(encoding)
        if b"\0" in data:
            raise Unwritten
        return data
    if value is None:
        return None
    if kind is bool:
        text = "t" if value else "f"
    elif kind is int or kind is float:
        text = repr(value)
    elif kind is datetime and value.tzinfo is not None and value.year >= 1000:
        text = value.isoformat()
    else:
        raise Unwritten
    return text.encode()
