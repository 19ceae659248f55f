"""What SQLite does differently: times are microseconds, and several lanes are merged here."""

from __future__ import annotations

import heapq
import secrets
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from belayed.claim import MICROSECOND, micros, moment
from belayed.steps import Ask, Steps
from belayed.store.base import Wanted
from belayed.store.dialect import Call
from belayed.store.lanes import Lane, Lanes, Serving
from belayed.store.rows import as_json
from belayed.store.sql import SqlStore

LONG_AGO = -(2**63)
CHUNK = 16
"""How many jobs of a lane the merge looks at first; a lane that wins gets twice as many the next time."""


class SqliteStore(SqlStore):
    """A store in a SQLite file, of version 3.37 or later."""

    dialect = "sqlite"

    def time(self, value: Any) -> datetime:
        return moment(value)

    def micros(self, value: Any) -> int:
        return int(value)

    def marked(self, at: int | None) -> Any:
        return at

    def bind(self, time: datetime | None) -> Any:
        return None if time is None else micros(time)

    def text(self, time: datetime | None) -> Any:
        return self.bind(time)

    def clock(self, now: datetime | None) -> Any:
        return time.time_ns() // 1000 + self.ahead // MICROSECOND if now is None else self.bind(now)

    def reserved(self, count: int, now: datetime | None) -> Steps[tuple[list[int], datetime]]:
        table = f"{self.tables.prefix}jobs"
        ((last, at),) = yield from self.ask("reserve", table=table, count=count, now=self.clock(now))
        return list(range(last - count + 1, last + 1)), self.time(at)

    def lanes(self, serving: Serving) -> Lanes:
        # A scan is a few microseconds here, and deleted rows leave the index at once: marks would gain nothing.
        return Lanes(serving, remember=False)

    def claiming(self, wanted: Wanted, lanes: Sequence[Lane], now: Any) -> Steps[list[Call]]:
        if len(lanes) == 1:
            return (yield from super().claiming(wanted, lanes, now))
        ids = yield from self.merged(lanes, wanted.count)
        token = secrets.token_hex(8)
        return self.calls("claim_ids", ids=as_json(ids), worker=wanted.worker, token=token, now=now)

    def merged(self, lanes: Sequence[Lane], count: int) -> Steps[list[int]]:
        """The ids that come first over all *lanes*: a merge that reads on only in the lanes that win."""
        waiting: list[tuple[tuple[int, int, int], int, bool]] = [
            (
                (lane.priority, LONG_AGO if lane.mark_at is None else lane.mark_at, lane.mark_id - 1),
                nth,
                True,
            )
            for nth, lane in enumerate(lanes)
        ]
        heapq.heapify(waiting)
        chunk = dict.fromkeys(range(len(lanes)), CHUNK)
        ids: list[int] = []
        while waiting and len(ids) < count:
            at, nth, read_on = heapq.heappop(waiting)
            if not read_on:
                ids.append(at[2])
                continue
            rows = yield from self.peek(lanes[nth], at, chunk[nth])
            for row in rows:
                heapq.heappush(waiting, (row, nth, False))
            if len(rows) == chunk[nth]:
                heapq.heappush(waiting, (rows[-1], nth, True))
            chunk[nth] *= 2
        return ids

    def peek(self, lane: Lane, at: tuple[int, int, int], count: int) -> Steps[list[tuple[int, int, int]]]:
        """The next jobs of a lane after a position: priority, run_at and id."""
        priority, run_at, id = at
        position = {"priority": priority, "run_at": run_at, "id": id}
        calls = self.calls("peek", queue=lane.queue, upto=lane.upto, count=count, **position)
        answers = yield Ask(calls, read=True)
        return [(row[0], row[1], row[2]) for row in answers[0]]
