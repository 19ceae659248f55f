"""An asyncpg connection of the application's: the job joins its transaction."""

from __future__ import annotations

from typing import Any, TypeVar

import asyncpg

from belayed.connections.base import store_error
from belayed.steps import Answer, Load, Request, Steps, arun

T = TypeVar("T")


class CallersAsyncpg:
    """Each statement in a trip of its own: asyncpg has no pipeline."""

    dialect = "postgresql"

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    async def perform(self, steps: Steps[T]) -> T:
        return await arun(steps, self.send)

    async def send(self, request: Request) -> Answer:
        try:
            if isinstance(request, Load):
                schema, table = request.table
                await self.raw.copy_records_to_table(
                    table, schema_name=schema, columns=request.columns, records=request.rows
                )
                return [[]]
            answer = []
            for statement, params in request.calls:
                rows = await self.raw.fetch(statement.numeric, *(params[name] for name in statement.order))
                answer.append([tuple(row) for row in rows])
            return answer
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            sqlstate = getattr(error, "sqlstate", None)
            # An InterfaceError is a misuse (a connection given back to its pool cannot even be asked), or it is closed.
            misused = isinstance(error, asyncpg.InterfaceError) and "released" in str(error)
            gone = isinstance(error, OSError) or not misused and self.raw.is_closed()
            raise store_error(error, sqlstate=sqlstate, gone=gone) from error
