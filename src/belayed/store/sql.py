"""The operations that every SQL dialect shares; what differs is in the catalogues and in one small class each."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime
from time import monotonic
from typing import Any

from belayed.claim import Finished
from belayed.errors import BrokenPayload, StoreError
from belayed.job import Attempt, Draft, Filter, Job, Outcome, State
from belayed.steps import Ask, Load, Row, Steps
from belayed.store import schema
from belayed.store.answers import (
    LOOK,
    PASSED_OVER,
    Checked,
    Counts,
    Drafts,
    Ids,
    Inserted,
    Made,
    Overdue,
    QueueCount,
    Turn,
    Wanted,
    WorkerRow,
    inserted_only,
    saved,
)
from belayed.store.chores import Chores
from belayed.store.dialect import Call
from belayed.store.examining import Examining
from belayed.store.lanes import Lanes, Serving
from belayed.store.reading import number_of, state_of, text_of
from belayed.store.rows import LOADED, Again, as_json, loaded_row, order_of_claims, outcomes, placed

LOAD_FROM = 50
"""From so many jobs on, a bulk load is the faster way."""
FAR = 8
"""How many claims ahead a look sees, where claims follow one another."""


class SqlStore(Examining, Chores):
    """A store in a SQL database: the operations, as belayed.store.base describes them."""

    def claiming(self, wanted: Wanted, now: Any) -> Steps[list[Call]]:
        """The calls that claim from the lanes wanted; the last one answers with the claimed rows."""
        lanes, count = wanted.lanes, wanted.count
        claim = {"worker": wanted.worker, "token": secrets.token_hex(8), "now": now}
        if len(lanes.lanes) == 1 and wanted.only is None:
            (lane,) = lanes.lanes
            mark = {"mark_at": self.marked(lane.mark_at), "mark_id": lane.mark_id}
            lane_of = {"queue": lane.queue, "priority": lane.priority, "upto": lane.upto}
            return self.calls("claim", count=count, **lane_of, **mark, **claim)
        if wanted.only is None and lanes.hurried(count):
            lanes.look_far((yield from self.first_of(lanes, count * FAR)))
        low, high = lanes.serving.range
        claim |= {"low": low, "high": high}
        ids = wanted.only or lanes.following(count) or (yield from self.looked_up(lanes, count))
        if ids is None:
            return self.calls("claim_lanes", lanes=lanes.text(count, self.text), count=count, **claim)
        queues = as_json([lane.queue for lane in lanes.lanes])
        return self.calls("claim_ids", ids=as_json(ids), queues=queues, **claim)

    def first(self, lanes: Lanes, count: int, *, now: datetime | None = None) -> Steps[list[int]]:
        if lanes.due():
            yield from self.scan(lanes, self.clock(now))
        return (yield from self.first_of(lanes, count)) if lanes.lanes else []

    def first_of(self, lanes: Lanes, count: int) -> Steps[list[int]]:
        """The ids that come first over all *lanes*."""
        listed = lanes.text(count, self.text)
        ((ids,),) = yield from self.ask("look_lanes", last=True, read=True, lanes=listed, count=count)
        return json.loads(ids) if ids else []

    def looked_up(self, lanes: Lanes, count: int) -> Steps[list[int] | None]:
        """The ids to claim, in dialects whose claims cannot look for themselves."""
        return None
        yield

    def lanes(self, serving: Serving) -> Lanes:
        return Lanes(serving)

    def insert(self, draft: Draft, *, hint: str | None = None, now: datetime | None = None) -> Steps[Inserted]:
        if now is None and (call := self.plain_insert(draft, hint)) is not None:
            try:
                answers = yield Ask([call], last=True)
            except StoreError as error:
                self.silenced(error)
                return (yield from self.insert(draft))
            id, created_at = self.plainly_inserted(answers[0])
            return Inserted(id, State.READY, created_at, created_at)
        at = self.clock(now)
        run_at = draft.run_at
        due = self.bind(run_at) if isinstance(run_at, datetime) else None
        params = {"run_at": due, "now": at, **self.columns(draft), **self.hinted(self.told(hint))}
        answers = yield from self.written(self.calls("insert", **params))
        return self.inserted(saved(answers[-1]))

    def plain_insert(self, draft: Draft, hint: str | None) -> Call | None:
        """All that is to be asked to save *draft*, if it is due at once and says no more than it must."""
        if self.ahead or not draft.is_plain:
            return None
        params = {
            "queue": draft.queue,
            "priority": draft.priority,
            "task": draft.task,
            "payload": draft.text,
            "now": self.clock(None),
        }
        if self.told(hint) is None or not (binds := self.hinted(hint)):
            return self.statements["insert_ready"][0], params
        return self.statements["insert_told"][0], {**params, **binds}

    def plainly_inserted(self, rows: list[Row]) -> tuple[int, datetime]:
        """What the call of `plain_insert` has answered: the id, and when the job was created."""
        row = saved(rows)
        return row[0], self.time(row[1])

    def insert_many(
        self,
        drafts: Drafts,
        *,
        made: Made = inserted_only,
        hint: str | None = None,
        now: datetime | None = None,
    ) -> Steps[list[Any]]:
        if len(drafts) < LOAD_FROM:
            whole = list(drafts)
            rows = as_json([self.listed(nth, draft) for nth, draft in enumerate(whole)])
            calls = self.calls("insert_many", rows=rows, now=self.clock(now))
            answers = yield from self.written([*calls, *self.notify(hint)])
            rows_saved = sorted(self.inserted(row) for row in answers[len(calls) - 1])
            if missing := len(whole) - len(rows_saved):
                yield from self.none_saved(missing, len(whole), [one.id for one in rows_saved])
            return [made(draft, *one) for draft, one in zip(whole, rows_saved, strict=True)]
        ids, created_at = yield from self.reserved(len(drafts), now)
        at = self.bind(created_at)
        found: list[Any] = []

        def rows_of() -> Iterator[Row]:
            found.clear()
            for id, draft in zip(ids, drafts, strict=True):
                if draft.run_at is None:
                    state, run_at, due = State.READY, created_at, at
                else:
                    state, run_at = placed(draft.run_at, created_at)
                    due = self.bind(run_at)
                found.append(made(draft, id, state, run_at, created_at))
                yield loaded_row(id, state, draft, due, at)

        (load,) = self.statements["load"]
        names = (self.tables.schema, f"{self.tables.prefix}jobs")
        telling = self.notify(hint)
        # Not the last, so that what is passed over is seen before the COMMIT: it takes a trip of its own anyway.
        (((number,),),) = yield Load(load, LOADED, Again(rows_of), names)
        if missing := len(ids) - number:
            yield from self.none_saved(missing, len(ids), ids)
        if telling:
            try:
                yield Ask(telling, last=True)
            except StoreError as error:
                self.silenced(error)
                return (yield from self.insert_many(drafts, made=made, now=now))
        return found

    def none_saved(self, missing: int, wanted: int, ids: Sequence[int]) -> Steps[None]:
        """Take back which of the jobs with these *ids* were saved, as others are *missing*, and raise StoreError."""
        gone = yield from self.ask("delete_waiting", last=True, ids=as_json(list(ids)))
        left = f" ({wanted - missing - len(gone)} were saved)" if len(gone) < wanted - missing else ""
        raise StoreError(f"{missing} of {wanted} jobs were not saved, nor were the others{left}: {PASSED_OVER}")

    def turn(
        self, finished: Sequence[Finished], wanted: Wanted | None = None, *, now: datetime | None = None
    ) -> Steps[Turn]:
        at = self.clock(now)
        calls: list[Call] = []
        answering: list[int] = []
        for name, group, written in outcomes(finished):
            calls += self.calls(name, outcomes=written, now=at)
            answering.append(len(calls) - 1)
            if name == "back":
                calls += self.calls("settle", ids=as_json([one.id for one in group]), now=at)
                if any(one.started and not one.delay and one.hinted for one in group):
                    # Ready at once, after an interruption: for another worker, if this one is about to end.
                    calls += self.notify(LOOK)
        if many := [
            one.id for one in finished if one.attempt > 25 and one.outcome is not Outcome.SUCCEEDED and one.recorded
        ]:
            calls += self.calls("trim", ids=as_json(many))
        lanes = wanted.lanes if wanted and wanted.count > 0 else None
        if wanted and lanes is not None and not wanted.only and not lanes.following(wanted.count) and lanes.due():
            yield from self.scan(lanes, at)
        if wanted and lanes and lanes.lanes:
            calls += yield from self.claiming(wanted, at)
        if not calls:
            if lanes is not None:
                lanes.short = True
            return Turn(set(), [])
        answers = yield from self.written(calls)
        held = {row[0] for nth in answering for row in answers[nth]}
        if not wanted or not lanes or not lanes.lanes:
            return Turn(held, [])
        claimed = self.claimed(answers[-1])
        if len(claimed) < wanted.count and lanes.far and wanted.only is None:
            # Others have taken some of what had been looked at.
            lanes.look_far([])
            more = yield from self.claiming(Wanted(wanted.worker, wanted.count - len(claimed), lanes), at)
            answers = yield Ask(more, last=True)
            claimed = sorted([*claimed, *self.claimed(answers[-1])], key=order_of_claims)
        lanes.claimed(claimed, wanted.count)
        return Turn(held, claimed)

    def settled(self, worker: str, refused: Sequence[Finished]) -> Steps[dict[int, State | None]]:
        listed = as_json([{"id": one.id, "attempt": one.attempt} for one in refused])
        rows = yield from self.ask("settled", last=True, read=True, worker=worker, outcomes=listed)
        return {row[0]: None if row[1] is None else state_of(row[1]) for row in rows}

    def scan(self, lanes: Lanes, at: Any) -> Steps[None]:
        """Find the lanes that have ready jobs."""
        begun = monotonic()
        named = lanes.serving.named
        if named is None:
            rows = yield from self.ask("lanes", last=True, read=True, now=at)
        else:
            rows = yield from self.ask("lanes_of", last=True, read=True, queues=as_json(named), now=at)
        heads = [
            (text_of(row[0]), number_of(row[1]), self.micros(row[2]), row[3]) for row in rows if row[0] is not None
        ]
        lanes.found(heads, monotonic() - begun)
        lanes.next_due = next((row[3] / 1e6 for row in rows if row[0] is None), None)

    def payload(self, id: int, token: str) -> Steps[str | None]:
        rows = yield from self.ask("payload", last=True, read=True, id=id, token=token)
        if not rows:
            return None
        ((text, size),) = rows
        if text is None:
            raise BrokenPayload(f"the payload has {size or 0:,} bytes, more than any that Belayed saves")
        return text_of(text)

    def get(self, id: int) -> Steps[tuple[Job, list[Attempt]] | None]:
        answers = yield Ask([*self.calls("get", id=id), *self.calls("attempts", id=id)], last=True, read=True)
        if not answers[0]:
            return None
        return self.job(answers[0][0]), [self.attempt(row) for row in answers[1]]

    def attempts(self, id: int) -> Steps[list[Attempt]]:
        rows = yield from self.ask("attempts", last=True, read=True, id=id)
        return [self.attempt(row) for row in rows]

    def find(self, filter: Filter, *, before: int | None = None, count: int = 100) -> Steps[list[Job]]:
        page = {"before": 2**63 - 1 if before is None else before, "count": count}
        rows = yield from self.ask("find", last=True, read=True, **page, **self.conditions(filter))
        return [self.job(row) for row in rows]

    def matching(self, filter: Filter, *, after: int = 0, count: int = 1000) -> Steps[list[int]]:
        page = {"after": after, "count": count}
        rows = yield from self.ask("matching", last=True, read=True, **page, **self.conditions(filter))
        return [row[0] for row in rows]

    def counts(self, *, most: int = 1_000_000) -> Steps[Counts]:
        answers = yield Ask([*self.calls("counts"), *self.calls("ended_counts", most=most)], last=True, read=True)
        live = [QueueCount(text_of(row[0]), state_of(row[1]), row[2], self.time(row[3])) for row in answers[0]]
        return Counts(live, {State(row[0]): row[1] for row in answers[1]})

    def overdue(self, age: float, *, now: datetime | None = None) -> Steps[list[Overdue]]:
        rows = yield from self.ask("overdue", last=True, read=True, age=age, now=self.clock(now))
        return [Overdue(text_of(row[0]), row[1], self.time(row[2]), bool(row[3])) for row in rows]

    def workers(self, *, now: datetime | None = None) -> Steps[list[WorkerRow]]:
        rows = yield from self.ask("workers", last=True, read=True, now=self.clock(now))
        return [self.worker(row) for row in rows]

    def cancel(self, ids: Sequence[int], *, now: datetime | None = None) -> Steps[list[int]]:
        at = self.clock(now)
        waiting = self.calls("cancel_waiting", ids=as_json(list(ids)), now=at)
        running = self.calls("cancel_running", ids=as_json(list(ids)))
        answers = yield Ask([*waiting, *running], last=True)
        return [row[0] for row in (*answers[1], *answers[-1])]

    def retry(self, ids: Sequence[int], *, now: datetime | None = None) -> Steps[list[int]]:
        at = self.clock(now)
        ended = self.calls("retry_ended", ids=as_json(list(ids)), now=at)
        waiting = self.calls("retry_waiting", ids=as_json(list(ids)), now=at)
        answers = yield from self.written([*ended, *waiting, *self.notify(LOOK)])
        waited = answers[len(ended) + len(waiting) - 1]
        return [row[0] for row in (*answers[0], *waited)]

    def delete(self, ids: Sequence[int]) -> Steps[list[int]]:
        listed = as_json(list(ids))
        answers = yield Ask([*self.calls("delete_waiting", ids=listed), *self.calls("delete_ended", ids=listed)])
        gone = [row[0] for rows in answers for row in rows]
        yield from self.ask("delete_attempts", last=True, ids=as_json(gone))
        return gone

    def change(
        self,
        ids: Sequence[int],
        *,
        queue: str | None = None,
        priority: int | None = None,
        run_at: datetime | None = None,
        delay: float | None = None,
        now: datetime | None = None,
    ) -> Steps[list[int]]:
        to = {"queue": queue, "priority": priority, "run_at": self.bind(run_at), "delay": delay}
        changing = self.calls("change", ids=as_json(list(ids)), now=self.clock(now), **to)
        answers = yield from self.written([*changing, *self.notify(LOOK)])
        return [row[0] for row in answers[len(changing) - 1]]

    def mend(self, ids: Sequence[int]) -> Steps[None]:
        yield from self.ask("mend", last=True, ids=as_json(list(ids)))

    def pause(self, queue: str, *, now: datetime | None = None) -> Steps[None]:
        if not (yield from self.ask("pause", last=True, queue=queue, now=self.clock(now))):
            raise StoreError(f"the queue {queue!r} was not paused: {PASSED_OVER}")

    def resume(self, queue: str) -> Steps[None]:
        answers = yield from self.written([*self.calls("resume", queue=queue), *self.notify(LOOK)])
        # Most queues that are resumed without having been paused have no row.
        if not answers[0] and queue in (yield from self.paused()):
            raise StoreError(f"the queue {queue!r} is paused as before: {PASSED_OVER}")

    def paused(self) -> Steps[list[str]]:
        rows = yield from self.ask("paused", last=True, read=True)
        return [text_of(row[0]) for row in rows]

    def now(self) -> Steps[datetime]:
        rows = yield from self.ask("now", last=True, read=True, now=self.clock(None))
        return self.time(rows[0][0])

    def check(self) -> Steps[Checked]:
        rows = yield from self.ask("check", last=True, read=True)
        return Checked(*rows[0])

    def ids(self) -> Steps[list[Ids]]:
        rows = yield from self.ask("ids", last=True, read=True)
        return [Ids(*row) for row in rows]

    def version(self) -> Steps[int | None]:
        rows = yield from self.ask("version", last=True, read=True)
        return schema.checked(rows[0][0], self.dialect)

    def migrate(self, upto: int | None = None) -> Steps[list[int]]:
        return (yield from schema.migrate(self, upto))

    def drop(self) -> Steps[None]:
        yield from self.ask("drop", last=True)
