"""What PostgreSQL does differently: hints to listening workers, and COPY for many jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from belayed.job import Draft, State
from belayed.steps import Ask, Load, Params, Steps
from belayed.store.base import Inserted
from belayed.store.dialect import Call
from belayed.store.rows import as_json, seconds
from belayed.store.sql import SqlStore

COPY_FROM = 50
"""From so many jobs on, COPY is the faster way."""

COLUMNS = (
    "id",
    "state",
    "queue",
    "priority",
    "run_at",
    "task",
    "payload",
    "created_at",
    "max_attempts",
    "max_run_time",
    "keep_failed",
    "meta",
)


class PostgresStore(SqlStore):
    """A store in PostgreSQL 12 or later."""

    dialect = "postgresql"

    @property
    def channel(self) -> str:
        """The channel that hints are sent on."""
        return f"{self.tables.schema or ''}.{self.tables.prefix}jobs"

    def time(self, value: Any) -> datetime:
        # The catalogue reads times AT TIME ZONE 'UTC': with the session's zone, the last hours of 9999 overflow.
        return value.replace(tzinfo=UTC)  # type: ignore[no-any-return]

    def bind(self, time: datetime | None) -> Any:
        return time

    def text(self, time: datetime | None) -> Any:
        return None if time is None else time.isoformat()

    def hinted(self, hint: str | None) -> Params:
        return {"channel": self.channel, "hint": hint}

    def notify(self, hint: str | None) -> list[Call]:
        return self.calls("notify", channel=self.channel, hint=hint) if hint is not None else []

    def insert_many(
        self, drafts: Sequence[Draft], *, hint: str | None = None, now: datetime | None = None
    ) -> Steps[list[Inserted]]:
        if len(drafts) < COPY_FROM:
            return (yield from super().insert_many(drafts, hint=hint, now=now))
        table = self.tables.named("jobs")
        given = yield from self.ask("reserve", table=table, count=len(drafts), now=self.clock(now))
        created_at = self.time(given[0][1])
        ids = sorted(row[0] for row in given)
        found, rows = [], []
        for id, draft in zip(ids, drafts, strict=True):
            run_at = draft.run_at
            if not isinstance(run_at, datetime):
                run_at = created_at + (run_at or timedelta())
            state = State.READY if run_at <= created_at else State.SCHEDULED
            found.append(Inserted(id, state, run_at, created_at))
            rows.append(
                (
                    id,
                    state.value,
                    draft.queue,
                    draft.priority,
                    run_at,
                    draft.task,
                    draft.text,
                    created_at,
                    draft.max_attempts,
                    seconds(draft.max_run_time),
                    draft.keep_failed,
                    as_json(draft.meta) if draft.meta else None,
                )
            )
        names = (self.tables.schema, f"{self.tables.prefix}jobs")
        (load,) = self.statements["load"]
        yield Load(load, COLUMNS, rows, names, last=hint is None)
        if hint is not None:
            yield Ask(self.notify(hint), last=True)
        return found
