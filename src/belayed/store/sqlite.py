"""What SQLite does differently: times are microseconds, and several lanes are merged here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import count as numbers
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

from belayed.claim import MICROSECOND, Claimed, micros, moment
from belayed.errors import IdsExhausted, SchemaMissing, StoreError
from belayed.job import Draft
from belayed.steps import Row, Steps
from belayed.store.answers import Drafts, Inserted, Made, inserted_only
from belayed.store.findings import quoted
from belayed.store.lanes import Lane, Lanes, Serving, enough
from belayed.store.reading import claimed_row, micros_of
from belayed.store.rows import as_json, order_of_claims
from belayed.store.sql import SqlStore
from belayed.store.statements import Tables

T = TypeVar("T")

LONG_AGO = -(2**63)
MAIN = "main"
"""The schema of the file that a connection was opened with; others are temporary or attached."""
MOST_ID = 2**63 - 1
ROUNDS = 3
"""After so many looks twice as many lanes are looked at each time."""
Place = tuple[int, int, int, bool, int]
"""Of a job: its priority, run_at and id; whether it is none, but where to look on after it; and which lane it is in."""


class SqliteStore(SqlStore):
    """A store in a SQLite file, of version 3.37 or later."""

    dialect = "sqlite"
    one_writer = True

    def __init__(self, tables: Tables | None = None) -> None:
        # In full: on a connection of the application's, a temporary table or view of the same name would be taken.
        super().__init__(replace(tables or Tables(), schema=MAIN))

    def time(self, value: Any) -> datetime:
        return moment(micros_of(value))

    def micros(self, value: Any) -> int:
        return micros_of(value)

    def claimed(self, rows: Iterable[Row]) -> list[Claimed]:
        # The times are microseconds already, and `claimed_row` has looked at them.
        same = dict[str, str]().setdefault
        jobs = [
            Claimed._make((
                row[0], same(row[1], row[1]), row[2], row[3], same(row[4], row[4]),
                *row[5:17], same(row[17], row[17]), row[18],
            ))
            for row in map(claimed_row, rows)
        ]  # fmt: skip
        jobs.sort(key=order_of_claims)
        return jobs

    def marked(self, at: int | None) -> Any:
        return at

    def bind(self, time: datetime | None) -> Any:
        return None if time is None else micros(time)

    def text(self, time: datetime | None) -> Any:
        return self.bind(time)

    def clock(self, now: datetime | None) -> Any:
        return time.time_ns() // 1000 + self.ahead // MICROSECOND if now is None else self.bind(now)

    def untied(self, kind: str, table: str, name: str, owner: str) -> str:
        if kind == "trigger":
            return f"DROP TRIGGER {quoted(name)};"
        return f"make {owner} anew without REFERENCES {table}: a plain integer keeps the id"

    def reserved(self, count: int, now: datetime | None) -> Steps[tuple[list[int], datetime]]:
        ((last, at),) = yield from self.ask("reserve", now=self.clock(now))
        if last + count > MOST_ID:
            raise IdsExhausted
        return list(range(last + 1, last + count + 1)), self.time(at)

    def insert(self, draft: Draft, *, hint: str | None = None, now: datetime | None = None) -> Steps[Inserted]:
        return (yield from self.explained(super().insert(draft, hint=hint, now=now)))

    def insert_many(
        self,
        drafts: Drafts,
        *,
        made: Made = inserted_only,
        hint: str | None = None,
        now: datetime | None = None,
    ) -> Steps[list[Any]]:
        return (yield from self.explained(super().insert_many(drafts, made=made, hint=hint, now=now)))

    def explained(self, saving: Steps[T]) -> Steps[T]:
        """What *saving* answers; if it is refused, the error says why."""
        try:
            return (yield from saving)
        except StoreError as error:
            # Only here, as the application wants to write: a look at the tables must leave no trace.
            asking = self.looked_at_tables(error) if isinstance(error, SchemaMissing) else self.explanation(error)
            if asking is not None:
                yield from asking
            raise

    def explanation(self, error: StoreError) -> Steps[None] | None:
        return self.looked_at_ids(error) if "is full" in str(error) else None

    def looked_at_tables(self, error: StoreError) -> Steps[None]:
        """Raise the refusal that *error* is if Belayed's tables are there: a trigger misses one of its own."""
        yield from self.version()
        cause = error.__cause__ or error
        raise StoreError(f"the database refused a statement: {cause}") from cause

    def looked_at_ids(self, error: StoreError) -> Steps[None]:
        """Raise IdsExhausted if no id is left, which SQLite calls a full disk."""
        jobs, _ = yield from self.ask("ids", read=True)
        if jobs[1] == MOST_ID:
            raise IdsExhausted from error

    def lanes(self, serving: Serving) -> Lanes:
        # A scan is a few microseconds here, and deleted rows leave the index at once: marks would gain nothing.
        return Lanes(serving, remember=False)

    def looked_up(self, lanes: Lanes, count: int) -> Steps[list[int] | None]:
        return (yield from self.first_of(lanes, count))

    def first_of(self, lanes: Lanes, count: int) -> Steps[list[int]]:
        """A few jobs of each lane are looked at, then more of those lanes in which another of the first may be.

        Lanes of paused queues have none to offer: after a few rounds more and more lanes are looked at together.
        """
        places: list[Place] = [
            (lane.priority, LONG_AGO if lane.mark_at is None else lane.mark_at, lane.mark_id - 1, True, nth)
            for nth, lane in enumerate(lanes.lanes)
        ]
        few = 0
        for round in numbers():
            places.sort()
            if not any(place[3] for place in places[:count]):
                break
            unsure = [place for place in places[: count << max(0, round - ROUNDS)] if place[3]]
            # Of one lane there can be no more than all.
            few = min(count, max(4 * few, enough(count / len(unsure))))
            found = yield from self.peek(lanes.lanes, unsure, few)
            passed = set(unsure)
            places = [*(place for place in places if place not in passed), *found]
        return [place[2] for place in places[:count]]

    def peek(self, lanes: Sequence[Lane], places: Sequence[Place], few: int) -> Steps[list[Place]]:
        """The next jobs after *places* to look on at, a *few* of each; and where there may be more."""
        listed = [[nth, lanes[nth].queue, lanes[nth].upto, *position] for *position, _, nth in places]
        rows = yield from self.ask("peek", read=True, lanes=as_json(listed), count=few)
        found: list[Place] = [(priority, run_at, id, False, nth) for nth, priority, run_at, id in rows]
        # Those of a lane come one after the other, but in which order is not said.
        for nth, jobs in groupby(found, itemgetter(4)):
            lane = list(jobs)
            if len(lane) == few:
                found.append((*max(lane)[:3], True, nth))
        return found
