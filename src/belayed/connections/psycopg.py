"""psycopg connections of the application's: the job joins their transaction, or is completed in one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, TypeVar

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus

from belayed.connections.base import ENDED, OPEN, none_heard, unwritable
from belayed.connections.executing import acopied, aexecuted, copied, encoding_of, executed, pieces
from belayed.connections.postgresql import translated
from belayed.errors import BelayedError, StoreUnavailable
from belayed.steps import Answer, Load, Params, Request, Row, Statement, Steps, arun, run

T = TypeVar("T")

LOST = "the connection was lost before the answer to COMMIT"


class CallersPsycopg:
    """A psycopg connection of the application's."""

    dialect = "postgresql"

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self.raw = raw
        # psycopg's own block: within it, the connection refuses commit() and rollback().
        self.block: AbstractContextManager[Any] | None = None

    def perform(self, steps: Steps[T]) -> T:
        return run(steps, self.send)

    def send(self, request: Request) -> Answer:
        try:
            if isinstance(request, Load):
                refuse_unwritable(self.raw, request)
                return [copied(self.raw, request)]
            return [self.answer(*call) for call in request.calls]
        except psycopg.Error as error:
            raise translated(error, self.raw) from error
        except UnicodeEncodeError as error:
            raise unwritable(error) from error

    def answer(self, statement: Statement, params: Params) -> list[Row]:
        try:
            return texts(executed(self.raw, statement.pyformat, params), self.raw)
        except psycopg.Error as error:
            return none_heard(statement, translated(error, self.raw), error)

    def begin(self) -> None:
        refuse_busy(self.raw)
        block = self.raw.transaction()
        try:
            block.__enter__()
        except psycopg.Error as error:
            raise translated(error, self.raw) from error
        self.block = block

    def intact(self) -> None:
        refuse_ended(self.raw)

    def commit(self) -> None:
        block, self.block = self.block, None
        assert block is not None
        try:
            block.__exit__(None, None, None)
        except psycopg.Error as error:
            raise translated(error, self.raw, uncertain=True) from error
        refuse_lost(self.raw)

    def roll_back(self) -> None:
        if self.block is not None:
            block, self.block = self.block, None
            block.__exit__(psycopg.Rollback, psycopg.Rollback(), None)


class CallersAsyncPsycopg:
    """An async psycopg connection of the application's."""

    dialect = "postgresql"

    def __init__(self, raw: psycopg.AsyncConnection[Any]) -> None:
        self.raw = raw
        self.block: AbstractAsyncContextManager[Any] | None = None

    async def perform(self, steps: Steps[T]) -> T:
        return await arun(steps, self.send)

    async def send(self, request: Request) -> Answer:
        try:
            if isinstance(request, Load):
                refuse_unwritable(self.raw, request)
                return [await acopied(self.raw, request)]
            return [await self.answer(*call) for call in request.calls]
        except psycopg.Error as error:
            raise translated(error, self.raw) from error
        except UnicodeEncodeError as error:
            raise unwritable(error) from error

    async def answer(self, statement: Statement, params: Params) -> list[Row]:
        try:
            return texts(await aexecuted(self.raw, statement.pyformat, params), self.raw)
        except psycopg.Error as error:
            return none_heard(statement, translated(error, self.raw), error)

    async def begin(self) -> None:
        refuse_busy(self.raw)
        block = self.raw.transaction()
        try:
            await block.__aenter__()
        except psycopg.Error as error:
            raise translated(error, self.raw) from error
        self.block = block

    async def intact(self) -> None:
        refuse_ended(self.raw)

    async def commit(self) -> None:
        block, self.block = self.block, None
        assert block is not None
        try:
            await block.__aexit__(None, None, None)
        except psycopg.Error as error:
            raise translated(error, self.raw, uncertain=True) from error
        refuse_lost(self.raw)

    async def roll_back(self) -> None:
        if self.block is not None:
            block, self.block = self.block, None
            await block.__aexit__(psycopg.Rollback, psycopg.Rollback(), None)


def refuse_busy(raw: Any) -> None:
    """Raise BelayedError for a connection on which no transaction can be begun."""
    if raw.info.pipeline_status is not PipelineStatus.OFF:
        raise BelayedError(
            "current_job().transaction() cannot begin within a pipeline, which tells of errors too late: leave it first"
        )
    if raw.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
        raise BelayedError(OPEN)


def refuse_ended(raw: Any) -> None:
    """Raise BelayedError if no transaction is open: a statement of the block has ended it."""
    if raw.info.transaction_status == TransactionStatus.IDLE:
        raise BelayedError(ENDED)


def refuse_lost(raw: Any) -> None:
    """Raise StoreUnavailable for a lost connection: psycopg's block ends on one as if all were well."""
    if raw.closed:
        raise StoreUnavailable(LOST, uncertain=True)


def texts(rows: list[Row], raw: Any) -> list[Row]:
    """*rows* with texts as such: on a connection that says SQL_ASCII, psycopg leaves them as bytes."""
    if raw.info.encoding != "ascii":
        return rows
    return [tuple(map(text_of, row)) for row in rows]


def text_of(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def refuse_unwritable(raw: Any, load: Load) -> None:
    """Raise UnicodeEncodeError for a text that the connection's encoding lacks: within COPY it would be too late."""
    encoding = encoding_of(raw)
    if encoding != "utf-8":
        for _ in pieces(load, encoding):
            pass
