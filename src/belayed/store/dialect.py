"""How calls are made in a SQL dialect, and how its rows are read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from belayed.claim import Claimed, moment, time_limit
from belayed.job import LIVE, Attempt, Draft, Filter, Job, State
from belayed.meta import meta_of
from belayed.steps import Ask, Params, Row, Statement, Steps
from belayed.store.answers import Inserted, WorkerRow
from belayed.store.base import Store
from belayed.store.reading import (
    STATES,
    flag_of,
    number_of,
    optional_flag,
    optional_number,
    optional_text,
    outcome_of,
    seconds_of,
    state_of,
    text_of,
)
from belayed.store.rows import as_json, order_of_claims, seconds
from belayed.store.statements import Tables, catalogue

Call = tuple[Statement, Params]


class Dialect(Store):
    """A SQL dialect: its catalogue of statements, and how it writes times."""

    def __init__(self, tables: Tables | None = None) -> None:
        self.tables = tables or Tables()
        self.statements = catalogue(self.dialect, self.tables)

    def place(self) -> Steps[str | None]:
        rows = yield from self.ask("place", last=True, read=True, table=self.tables.named("jobs"))
        return rows[0][0] if rows else None

    def pin(self, schema: str) -> None:
        self.tables = replace(self.tables, schema=schema)
        self.statements = catalogue(self.dialect, self.tables)
        self.pinned = True

    @abstractmethod
    def time(self, value: Any) -> datetime:
        """A time as the database gave it."""

    @abstractmethod
    def micros(self, value: Any) -> int:
        """A time as the database gave it, in microseconds since 1970."""

    def marked(self, at: int | None) -> Any:
        """The time of a lane's mark as a bind."""
        return None if at is None else self.bind(moment(at))

    @abstractmethod
    def bind(self, time: datetime | None) -> Any:
        """A time as a bind; None stays None."""

    @abstractmethod
    def text(self, time: datetime | None) -> Any:
        """A time within a JSON bind; None stays None."""

    @abstractmethod
    def reserved(self, count: int, now: datetime | None) -> Steps[tuple[list[int], datetime]]:
        """Ascending ids for a bulk load, and the time that its jobs are created at."""

    def clock(self, now: datetime | None) -> Any:
        """The bind `now`: None leaves it to the database."""
        if now is None and not self.ahead:
            return None
        return self.bind(now or datetime.now(UTC) + self.ahead)

    def calls(self, name: str, /, **params: Any) -> list[Call]:
        """The statements of *name*, each with these binds."""
        return [(statement, params) for statement in self.statements[name]]

    def ask(self, name: str, /, *, last: bool = False, read: bool = False, **params: Any) -> Steps[list[Row]]:
        """The rows that the last statement of *name* answers."""
        answers = yield Ask(self.calls(name, **params), last=last, read=read)
        return answers[-1]

    def hinted(self, hint: str | None) -> Params:
        """The binds of a hint, for dialects that send it with the insert."""
        return {}

    def notify(self, hint: str | None) -> list[Call]:
        """The call that sends a hint, if the dialect can and there is one."""
        return []

    def listed(self, nth: int, draft: Draft) -> dict[str, Any]:
        """A draft as a row of a JSON bind."""
        due = self.text(draft.run_at) if isinstance(draft.run_at, datetime) else None
        return {"nth": nth, "due": due, **self.columns(draft)}

    def columns(self, draft: Draft) -> Params:
        """What a draft says, but for a time that is not from now on."""
        return {
            "queue": draft.queue,
            "priority": draft.priority,
            "delay": draft.run_at.total_seconds() if isinstance(draft.run_at, timedelta) else 0.0,
            "task": draft.task,
            "payload": draft.text,
            "max_attempts": draft.max_attempts,
            "max_run_time": seconds(draft.max_run_time),
            "keep_failed": draft.keep_failed,
            "meta": as_json(draft.meta) if draft.meta else None,
        }

    def conditions(self, filter: Filter) -> Params:
        """The binds of a filter: a condition that is not given is NULL."""

        def listed(values: Iterable[Any] | None) -> str | None:
            return None if values is None else as_json(list(values))

        states = filter.get("states")
        if states is not None:
            states = list(states)
        return {
            "in_jobs": states is None or any(state in LIVE for state in states),
            "in_history": states is None or any(state not in LIVE for state in states),
            "ids": listed(filter.get("ids")),
            "states": listed(states),
            "queues": listed(filter.get("queues")),
            "tasks": listed(filter.get("tasks")),
            "created_after": self.bind(filter.get("created_after")),
            "created_before": self.bind(filter.get("created_before")),
        }

    def inserted(self, row: Row) -> Inserted:
        created_at = self.time(row[3])
        run_at = created_at if row[2] == row[3] else self.time(row[2])
        return Inserted(row[0], STATES[row[1]], run_at, created_at)

    def claimed(self, rows: Iterable[Row]) -> list[Claimed]:
        """Claimed jobs, in the order of claims. Equal texts are one object: so they travel once to a child."""
        same, micros = dict[str, str]().setdefault, self.micros
        jobs = [
            Claimed._make((
                row[0], same(row[1], row[1]), row[2], micros(row[3]), same(row[4], row[4]), row[5], micros(row[6]),
                *row[7:17], same(row[17], row[17]), row[18],
            ))
            for row in rows
        ]  # fmt: skip
        jobs.sort(key=order_of_claims)
        return jobs

    def optional_time(self, value: Any) -> datetime | None:
        return None if value is None else self.time(value)

    def job(self, row: Row) -> Job:
        """A job from the columns `live` or `ended` of the catalogue, whatever they hold."""
        state, run_time = state_of(row[1]), seconds_of(row[22])
        return Job(
            id=row[0],
            state=state,
            queue=text_of(row[2]),
            priority=number_of(row[3]),
            run_at=self.time(row[4]),
            task=text_of(row[5]),
            payload=optional_text(row[6]),
            created_at=self.time(row[7]),
            attempt=number_of(row[8]),
            failures=number_of(row[9]),
            crashes=number_of(row[10]),
            rescues=number_of(row[11]),
            free_retries=number_of(row[12]),
            max_attempts=optional_number(row[13]),
            max_run_time=time_limit(seconds_of(row[14])),
            keep_failed=optional_flag(row[15]),
            meta=meta_of(optional_text(row[16])),
            error=optional_text(row[17]),
            worker=optional_text(row[18]) if state not in LIVE or state is State.RUNNING else None,
            started_at=self.optional_time(row[19]),
            cancel_requested=flag_of(row[20]),
            finished_at=self.optional_time(row[21]),
            run_time=time_limit(run_time),
            result_text=optional_text(row[23]),
        )

    def attempt(self, row: Row) -> Attempt:
        return Attempt(
            number_of(row[0]),
            outcome_of(row[1]),
            optional_text(row[2]),
            self.optional_time(row[3]),
            self.time(row[4]),
            *map(optional_text, row[5:]),
        )

    def worker(self, row: Row) -> WorkerRow:
        """A worker, from a row of `workers`."""
        return WorkerRow(
            id=text_of(row[0]),
            name=text_of(row[1]),
            host=text_of(row[2]),
            pid=number_of(row[3]),
            queues=text_of(row[4]),
            version=text_of(row[5]),
            started_at=self.time(row[6]),
            beat_at=self.time(row[7]),
            alive=flag_of(row[8]),
            running=row[9],
        )
