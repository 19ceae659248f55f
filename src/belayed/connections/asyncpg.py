"""An asyncpg connection of the application's: the job joins its transaction, or is completed in one."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeVar

import asyncpg

from belayed.connections.base import ENDED, OPEN, is_within, none_heard, store_error, unwritable
from belayed.errors import BelayedError, StoreError
from belayed.steps import Answer, Load, Params, Request, Row, Statement, Steps, arun

T = TypeVar("T")

ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


class CallersAsyncpg:
    """Each statement in a trip of its own: asyncpg has no pipeline."""

    dialect = "postgresql"

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.transaction: Any = None

    async def perform(self, steps: Steps[T]) -> T:
        return await arun(steps, self.send)

    async def send(self, request: Request) -> Answer:
        try:
            if isinstance(request, Load):
                schema, table = request.table
                status = await self.raw.copy_records_to_table(
                    table, schema_name=schema, columns=request.columns, records=request.rows
                )
                return [[(int(status.rpartition(" ")[2]),)]]
            answer = []
            for statement, params in request.calls:
                answer.append(await self.answer(statement, params))
            return answer
        except ERRORS as error:
            raise translated(error, self.raw) from error

    async def answer(self, statement: Statement, params: Params) -> list[Row]:
        try:
            rows = await self.raw.fetch(statement.numeric, *(params[name] for name in statement.order))
            return [tuple(row) for row in rows]
        except ERRORS as error:
            return none_heard(statement, translated(error, self.raw), error)

    async def begin(self) -> None:
        try:
            # A connection that is closed is in the transaction that it was in.
            if self.raw.is_in_transaction() and not self.raw.is_closed():
                raise BelayedError(OPEN)
            transaction = self.raw.transaction()
            await transaction.start()
        except ERRORS as error:
            raise translated(error, self.raw) from error
        self.transaction = transaction

    async def intact(self) -> None:
        if not self.raw.is_closed() and not self.raw.is_in_transaction():
            raise BelayedError(ENDED)

    async def commit(self) -> None:
        transaction, self.transaction = self.transaction, None
        try:
            await transaction.commit()
        except ERRORS as error:
            raise translated(error, self.raw, uncertain=True) from error

    async def roll_back(self) -> None:
        if self.transaction is not None:
            transaction, self.transaction = self.transaction, None
            with suppress(*ERRORS):
                await transaction.rollback()


def translated(error: Exception, raw: Any, *, uncertain: bool = False) -> StoreError:
    """The error of ours for what asyncpg raised on *raw*."""
    if isinstance(error.__cause__, UnicodeEncodeError):
        return unwritable(error.__cause__)
    sqlstate = getattr(error, "sqlstate", None)
    # An InterfaceError is a misuse (a connection given back to its pool cannot even be asked), or it is closed.
    misused = isinstance(error, asyncpg.InterfaceError) and "released" in str(error)
    gone = isinstance(error, OSError) or not misused and raw.is_closed()
    within = is_within(getattr(error, "context", None), getattr(error, "severity_en", None))
    found = store_error(error, sqlstate=sqlstate, gone=gone, uncertain=uncertain and gone, within=within)
    found.again = not gone and not misused and not raw.is_in_transaction()
    return found
