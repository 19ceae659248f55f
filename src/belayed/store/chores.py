"""The operations of a worker beside claims and outcomes: its beat, and what it does for all jobs and the history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from belayed.errors import StoreError, StoreUnavailable
from belayed.job import State
from belayed.steps import Ask, Row, Steps
from belayed.store.answers import PASSED_OVER, Beat, Place, Promoted, Rescued, Sign, Signs, WorkerRow
from belayed.store.dialect import Dialect
from belayed.store.reading import seconds_of, text_of
from belayed.store.rows import as_json

POISON = "put aside as poison: its worker stopped beating {most} times while it held this job"


class Chores(Dialect):
    """These operations, as belayed.store.base describes them."""

    def beat(self, worker: WorkerRow, *, now: datetime | None = None) -> Steps[Beat]:
        at = self.clock(now)
        rows = yield from self.ask("beat", last=True, worker=worker.id, now=at)
        cancels = [row[0] for row in rows if row[0] is not None]
        fresh = len(cancels) == len(rows)
        if fresh:
            columns = {name: getattr(worker, name) for name in ("lapse", "pid", "name", "host", "queues", "version")}
            if not (yield from self.ask("register", last=True, worker=worker.id, now=at, **columns)):
                # It would be dead to the others, which would run its jobs beside it.
                raise StoreError(f"the worker cannot be registered, and claims nothing: {PASSED_OVER}")
        return Beat(fresh, cancels)

    def retire(self, worker: str) -> Steps[None]:
        yield from self.ask("retire", last=True, worker=worker)

    def signs(self, worker: str = "") -> Steps[Signs]:
        rows = yield from self.ask("signs", last=True, read=True, worker=worker)
        workers = [Sign(text_of(row[0]), text_of(row[1]), seconds_of(row[2])) for row in rows if row[0] is not None]
        return Signs(workers, [row[3] for row in rows if row[0] is None])

    def rescue(
        self,
        dead: Sequence[Sign],
        *,
        most: int = 10,
        only: Sequence[int] | None = None,
        recorded: bool = True,
        now: datetime | None = None,
    ) -> Steps[Rescued]:
        at = self.clock(now)
        seen = as_json([{"worker": one.worker, "sign": one.sign} for one in dead])
        # Under a lock: a worker that beats from here on waits, and does not lose what it holds. It does not matter how
        # late a server that was stopped carries this out: who has beaten since is not touched.
        asking = [*self.calls("lapsed", signs=seen), *self.calls("orphaned", signs=seen)]
        lapsed, orphaned = [[row[0] for row in rows] for rows in (yield Ask(asking))]
        workers = [*lapsed, *orphaned]
        which = {
            "workers": as_json(workers),
            "only": None if only is None else as_json(list(only)),
            "most": most,
            "recorded": recorded,
            "count": 1000,
            "now": at,
        }
        saving = self.calls("rescue", **which)
        poisoning = self.calls("poison", error=POISON.format(most=most), **which)
        answers = yield Ask([*saving, *poisoning])
        saved = [row[0] for row in answers[len(saving) - 1]]
        settling = self.calls("settle", ids=as_json(saved), now=at)
        yield Ask([*settling, *self.calls("bury", workers=as_json(lapsed))], last=True)
        return Rescued(saved, [row[0] for row in answers[-1]], workers)

    def held_by(self, workers: Sequence[str], *, count: int = 1000) -> Steps[list[int]]:
        rows = yield from self.ask("held_by", last=True, read=True, workers=as_json(list(workers)), count=count)
        return [row[0] for row in rows]

    def locked(self, ids: Sequence[int]) -> Steps[list[int]]:
        rows = yield from self.ask("locked", last=True, ids=as_json(list(ids)))
        return [row[0] for row in rows]

    def strays(self, worker: str, known: Sequence[int], *, now: datetime | None = None) -> Steps[list[int]]:
        rows = yield from self.ask("strays", worker=worker, ids=as_json(list(known)))
        ids = [row[0] for row in rows]
        yield Ask(self.calls("settle", ids=as_json(ids), now=self.clock(now)), last=True)
        return ids

    def promote(
        self, *, count: int = 1000, only: Sequence[int] | None = None, now: datetime | None = None
    ) -> Steps[Promoted]:
        at = self.clock(now)
        due = yield from self.ask("next_due", last=True, read=True, now=at)
        if not due or due[0][0] > 0:
            return Promoted(0, due[0][0] if due else None)
        listed = None if only is None else as_json(list(only))
        # If more are due than a batch takes, the last quarter are the most urgent: they do not wait for 100,000 others.
        urgent = 0 if only is not None else count // 4
        *_, ((jobs,),), due = yield self.promoting("promote", at, count=count - urgent, only=listed)
        if urgent and jobs == count - urgent and due and due[0][0] <= 0:
            try:
                *_, ((more,),), due = yield self.promoting("promote_urgent", at, count=urgent)
                jobs += more
            except StoreUnavailable:
                raise
            except StoreError:
                # One that the database refuses is found when its turn comes by time; the first part is ready.
                pass
        return Promoted(jobs, due[0][0] if due else None)

    def promoting(self, name: str, at: Any, **given: Any) -> Ask:
        return Ask([*self.calls(name, now=at, **given), *self.calls("next_due", now=at)], last=True)

    def scheduled(self, *, count: int = 1000, now: datetime | None = None) -> Steps[list[tuple[int, float]]]:
        rows = yield from self.ask("scheduled", last=True, read=True, count=count, now=self.clock(now))
        return [(row[0], row[1]) for row in rows]

    def prune(self, state: State, age: float, *, count: int = 1000, now: datetime | None = None) -> Steps[int]:
        at = self.clock(now)
        rows = yield from self.ask("prune", last=True, state=state.value, age=float(age), count=count, now=at)
        return deleted(rows)

    def passed(self, place: Place | None, count: int) -> Steps[Place | None]:
        finished_at, id = (None, 2**63 - 1) if place is None else (self.bind(place.finished_at), place.id)
        rows = yield from self.ask("passed", last=True, read=True, finished_at=finished_at, id=id, count=count)
        return Place(self.time(rows[0][0]), rows[0][1]) if rows else None

    def prune_excess(self, edge: Place, *, count: int = 1000) -> Steps[int]:
        place = {"finished_at": self.bind(edge.finished_at), "id": edge.id}
        rows = yield from self.ask("prune_excess", last=True, count=count, **place)
        return deleted(rows)


def deleted(rows: list[Row]) -> int:
    """How many jobs were deleted. Raises StoreError if it was none, though there are some to be deleted."""
    ((number, left),) = rows
    if left and not number:
        raise StoreError(f"no job was deleted: {PASSED_OVER}")
    return int(number)
