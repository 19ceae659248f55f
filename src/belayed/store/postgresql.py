"""What PostgreSQL does differently: hints to listening workers, and COPY for many jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from belayed.claim import EPOCH, MICROSECOND, moment
from belayed.errors import SchemaMissing, StoreError
from belayed.steps import Params, Steps
from belayed.store.answers import Checked, Sessions
from belayed.store.dialect import Call
from belayed.store.findings import Finding, Result
from belayed.store.serverfindings import (
    denied,
    notify_queue,
    out_of_reach,
    rights,
    row_security,
    second_copies,
    untied,
)
from belayed.store.sql import SqlStore
from belayed.store.statements import Tables

NAIVE_EPOCH = EPOCH.replace(tzinfo=None)
TO_2000 = 946_684_800_000_000
"""The microseconds from 1970 to 2000, from which PostgreSQL counts: connections of ours read times as it does."""
SINCE_2000 = moment(TO_2000)


LONGEST_CHANNEL = 63
"""Bytes that PostgreSQL takes for the name of a channel."""


def channel_of(tables: Tables) -> str:
    """The name of a channel of the tables' own. One that would be too long is a digest of itself."""
    name = f"{tables.schema or ''}.{tables.prefix}jobs"
    if len(name.encode()) <= LONGEST_CHANNEL:
        return name
    return f"belayed.{sha256(name.encode()).hexdigest()[:40]}"


class PostgresStore(SqlStore):
    """A store in PostgreSQL 12 or later."""

    dialect = "postgresql"
    overlaps = True
    has_schemas = True

    def __init__(self, tables: Tables | None = None) -> None:
        super().__init__(tables)
        self.channel = channel_of(self.tables)
        """The channel that hints are sent on: the same whether or not the schema is pinned."""
        self.pinned = self.tables.schema is not None

    def time(self, value: Any) -> datetime:
        # The catalogue reads times AT TIME ZONE 'UTC': with the session's zone, the last hours of 9999 overflow. But
        # for the time of a statement, which may be in the session's.
        if type(value) is int:
            return SINCE_2000 + MICROSECOND * value
        utc: datetime = value if value.tzinfo is None else value.astimezone(UTC)
        return utc.replace(tzinfo=UTC)

    def micros(self, value: Any) -> int:
        if type(value) is int:
            return value + TO_2000
        return (value - NAIVE_EPOCH) // MICROSECOND  # type: ignore[no-any-return]

    def bind(self, time: datetime | None) -> Any:
        return time

    def text(self, time: datetime | None) -> Any:
        return None if time is None else time.isoformat()

    def hinted(self, hint: str | None) -> Params:
        return {"channel": self.channel, "hint": hint}

    def notify(self, hint: str | None) -> list[Call]:
        return [] if self.told(hint) is None else self.calls("notify", channel=self.channel, hint=hint)

    def findings(self) -> Steps[list[Finding]]:
        """Beside what all stores look at: rights, row-level security, copies of the tables, and the NOTIFY queue."""
        if entry := out_of_reach((yield from self.ask("no_entry", last=True, read=True, name=self.tables.schema))):
            return entry
        lacking = rights((yield from self.ask("lacking", last=True, read=True)))
        rest: list[Finding] = []
        if lacking[0].result is Result.OK:
            rest = yield from super().findings()
        secured = yield from self.ask("secured", last=True, read=True)
        copies = yield from self.ask("copies", last=True, read=True)
        here = yield from self.place()
        notified = (yield from self.ask("notified", last=True, read=True)) if self.hints else []
        return [*lacking, *row_security(secured), *second_copies(copies, here), *notify_queue(notified), *rest]

    def explanation(self, error: StoreError) -> Steps[None] | None:
        return self.looked_at_rights(error) if error.denied or isinstance(error, SchemaMissing) else None

    def looked_at_rights(self, error: StoreError) -> Steps[None]:
        """Raise an error with what the role lacks and what gives it, if it lacks anything."""
        closed = yield from self.ask("no_entry", last=True, read=True, name=self.tables.schema)
        lacking = [(f"SCHEMA {schema}", "USAGE", role) for schema, role in closed]
        if not lacking and error.denied:
            try:
                rows = yield from self.ask("lacking", last=True, read=True)
                lacking = [row for row in rows if not row[0].startswith("FUNCTION")]
            except SchemaMissing:
                # They are to be made.
                full = yield from self.ask("no_room", last=True, read=True, name=self.tables.schema)
                lacking = [(f"SCHEMA {schema}", "CREATE", role) for schema, role in full]
        if lacking:
            raise denied(error, lacking) from error

    def untied(self, kind: str, table: str, name: str, owner: str) -> str:
        return untied(kind, name, owner)

    def unfit(self, checked: Checked) -> str | None:
        if checked.encoding != "SQL_ASCII":
            return None
        return (
            "its encoding is SQL_ASCII, which keeps any bytes and knows no characters, so that one program's texts may "
            "not be readable to another; make it anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )

    def sessions(self) -> Steps[Sessions | None]:
        rows = yield from self.ask("sessions", last=True, read=True)
        return Sessions(*rows[0])

    def reserved(self, count: int, now: datetime | None) -> Steps[tuple[list[int], datetime]]:
        ((first, told, at),) = yield from self.ask(
            "reserve", table=self.tables.named("jobs"), count=count, now=self.clock(now)
        )
        ids = sorted(json.loads(told)) if told else list(range(first, first + count))
        return ids, self.time(at)
