"""How statements run on psycopg connections, the caller's and ours, whatever the caller has set on his."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import psycopg
from psycopg.pq import PipelineStatus
from psycopg.rows import tuple_row

from belayed.connections.copying import copy_text
from belayed.garbage import uncollected
from belayed.steps import Load, Row

PIECE = 250
"""Rows that COPY is given at once."""


def answers(cursor: Any) -> bool:
    """Whether a statement answered with rows. `cursor.description` says it too, at 20 µs for the columns' types."""
    result = cursor.pgresult
    return result is not None and result.nfields > 0


def executed(raw: psycopg.Connection[Any], text: str, params: dict[str, Any]) -> list[Row]:
    """The rows of a statement, through a cursor that the caller's row factory does not change."""
    with psycopg.Cursor(raw, row_factory=tuple_row) as cursor:
        cursor.execute(text.encode(), params, binary=True)
        if raw.info.pipeline_status is PipelineStatus.OFF:
            return cursor.fetchall() if answers(cursor) else []
        try:
            return cursor.fetchall()
        except psycopg.ProgrammingError as error:
            return none_answered(error)


async def aexecuted(raw: psycopg.AsyncConnection[Any], text: str, params: dict[str, Any]) -> list[Row]:
    """The rows of a statement, through a cursor that the caller's row factory does not change."""
    async with psycopg.AsyncCursor(raw, row_factory=tuple_row) as cursor:
        await cursor.execute(text.encode(), params, binary=True)
        if raw.info.pipeline_status is PipelineStatus.OFF:
            return await cursor.fetchall() if answers(cursor) else []
        try:
            return await cursor.fetchall()
        except psycopg.ProgrammingError as error:
            return none_answered(error)


def none_answered(error: psycopg.ProgrammingError) -> list[Row]:
    """No rows, if that is what *error* says: in a pipeline of the caller's a cursor knows only when it is asked."""
    if error.sqlstate is not None:
        raise error
    return []


def pieces(load: Load, encoding: str) -> Iterator[bytes]:
    """The text of a load's rows for COPY, bit by bit: the database works on one while the next is made."""
    left = iter(load.rows)
    while some := list(islice(left, PIECE)):
        yield copy_text(some).encode(encoding)


def encoding_of(raw: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> str:
    """How texts are written on a connection; as UTF-8 where it says SQL_ASCII, with which nothing is converted."""
    return raw.info.encoding if raw.info.encoding != "ascii" else "utf-8"


def copied(raw: psycopg.Connection[Any], load: Load) -> list[Row]:
    text = load.statement.pyformat.encode()
    with psycopg.Cursor(raw) as cursor:
        # In this order: what COPY waits for before it begins is no time without a search for garbage.
        with cursor.copy(text) as copy, uncollected():
            for piece in pieces(load, encoding_of(raw)):
                copy.write(piece)
        return [(cursor.rowcount,)]


async def acopied(raw: psycopg.AsyncConnection[Any], load: Load) -> list[Row]:
    text = load.statement.pyformat.encode()
    async with psycopg.AsyncCursor(raw) as cursor:
        async with cursor.copy(text) as copy:
            with uncollected():
                for piece in pieces(load, encoding_of(raw)):
                    await copy.write(piece)
        return [(cursor.rowcount,)]
