"""A store looks at itself: what others have made of its tables, and whether it can write to them."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.errors import StoreError
from belayed.job import Draft, Outcome, State
from belayed.steps import Ask, Row, Steps
from belayed.store.answers import LOOK, PASSED_OVER, Wanted, WorkerRow
from belayed.store.findings import Finding, Result, ok
from belayed.store.hinting import Hinting
from belayed.store.lanes import Serving

ERROR = {"error_type": "Probe", "message": "of doctor", "traceback": "…"}


@dataclass
class Text:
    """The payload of a job that never runs."""

    task: str

    def write(self, codec: Any) -> str:
        return "{}"


class Examining(Hinting):
    """A SQL store that answers for what it finds."""

    def findings(self) -> Steps[list[Finding]]:
        strangers = yield from self.ask("strangers", last=True, read=True)
        return self.relations(strangers)

    def relations(self, strangers: list[Row]) -> list[Finding]:
        """What others have tied to the tables: it can refuse, slow down or undo any write."""
        found = []
        for kind, table, name, owner in strangers:
            text = f"the {kind} {name!r} of {owner} is tied to {table}: it may refuse that a job is saved or ends"
            found.append(Finding("relations", Result.WARN, text, self.untied(kind, table, name, owner)))
        return found or [ok("relations", "nobody else's keys, triggers or rules are on the tables")]

    @abstractmethod
    def untied(self, kind: str, table: str, name: str, owner: str) -> str:
        """The statement that takes away what others have tied to a table."""

    def probe(self) -> Steps[Finding]:
        for stage, steps in self.stages():
            try:
                yield from steps
            except StoreError as error:
                fix = f"see what the database says: {error.__cause__ or error}"
                return Finding("writes", Result.FAIL, f"to {stage} is refused: {error}", " ".join(fix.split()))
        return ok("writes", "jobs can be saved, claimed, tried again, ended and deleted (tried, and rolled back)")

    def stages(self) -> Iterator[tuple[str, Steps[Any]]]:
        """Every kind of write, on jobs of a queue of their own."""
        queue = f"belayed doctor {secrets.token_hex(8)}"
        wanted = Wanted(queue, 2, self.lanes(Serving((queue,))))
        claimed: list[Claimed] = []
        ids: list[int] = []
        row = WorkerRow(queue, "doctor", "-", 1, "[]", "-")
        draft = Draft(Text("belayed.doctor"), "belayed.doctor", queue=queue, priority=0, text="{}")

        def claim(count: int) -> Steps[None]:
            wanted.lanes.scanned_at = float("-inf")
            claimed[:] = (yield from self.turn([], wanted)).claimed
            seen(len(claimed) == count)

        def end(outcome: Outcome, state: State, **more: Any) -> Steps[Any]:
            job = claimed.pop()
            ids.append(job.id)
            turn = yield from self.turn([Finished(job.id, job.token, outcome, state, **more)])
            seen(turn.held == {job.id})
            found = yield from self.get(job.id)
            seen(found is not None and found[0].state is state)
            seen(outcome is Outcome.SUCCEEDED or bool(found and found[1]))

        def cancel() -> Steps[None]:
            seen(len((yield from self.cancel([job.id for job in claimed]))) == len(claimed))

        def retry() -> Steps[None]:
            seen((yield from self.retry(ids[-1:])) == ids[-1:])

        def delete() -> Steps[None]:
            seen(set((yield from self.delete(ids))) == set(ids))
            seen(not (yield from self.attempts(ids[-1])))

        def promote() -> Steps[None]:
            later = yield from self.insert(replace(draft, run_at=timedelta(hours=1)))
            seen((yield from self.promote(only=[later.id], now=later.run_at)).jobs == 1)

        def pause() -> Steps[None]:
            yield from self.pause(queue)
            seen(queue in (yield from self.paused()))

        def retire() -> Steps[None]:
            yield from self.retire(queue)
            seen(queue not in [one.id for one in (yield from self.workers())])

        for _ in range(2):
            yield "save a job", self.insert(draft)
        yield "save jobs", self.insert_many([draft])
        yield "register a worker", self.beat(row)
        yield "let a worker beat", self.beat(row)
        yield "claim jobs", claim(2)
        yield "give a job back", end(Outcome.RETRY, State.READY, failed=True, delay=0.0, **ERROR)
        yield "end a job", end(Outcome.SUCCEEDED, State.SUCCEEDED)
        yield "claim jobs", claim(2)
        yield "fail a job", end(Outcome.FAILED, State.FAILED, failed=True, **ERROR)
        yield "cancel a job", cancel()
        yield "try a failed job again", retry()
        yield "delete jobs", delete()
        yield "make a scheduled job ready", promote()
        yield "pause a queue", pause()
        yield "resume a queue", self.resume(queue)
        yield "forget a worker", retire()
        if hint := self.notify(LOOK):
            yield "send a hint", asked(hint)


def seen(as_it_should_be: bool) -> None:
    """Raise StoreError for a write that was reported as done, and is not there."""
    if not as_it_should_be:
        raise StoreError(PASSED_OVER)


def asked(calls: list[Any]) -> Steps[None]:
    yield Ask(calls, last=True)
