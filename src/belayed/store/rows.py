"""What travels to and from the database: drafts and outcomes as rows of JSON binds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.job import Draft, State
from belayed.steps import Row

as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


LOADED = (
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
"""The columns of a bulk load."""


class Again(Iterable[Row]):
    """Rows that are made while they are read: the database works on the first of them meanwhile."""

    def __init__(self, make: Callable[[], Iterator[Row]]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Row]:
        return self.make()


def placed(run_at: datetime | timedelta, now: datetime) -> tuple[State, datetime]:
    """The state of a job created *now* that says when it is to run, and that time: as the database says of its own."""
    if isinstance(run_at, timedelta):
        run_at = now + run_at
    return State.READY if run_at <= now else State.SCHEDULED, run_at


def loaded_row(id: int, state: State, draft: Draft, run_at: Any, created_at: Any) -> Row:
    """A draft as a row of a bulk load, its times as the dialect binds them."""
    return (
        id,
        state._value_,
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


def seconds(time: timedelta | None) -> float | None:
    return None if time is None else time.total_seconds()


order_of_claims = itemgetter(*(Claimed._fields.index(name) for name in ("priority", "run_at", "id")))
"""What claimed jobs are sorted by."""


def outcomes(finished: Sequence[Finished]) -> Iterable[tuple[str, list[Finished], str]]:
    """What has finished by the statement that writes it, in the order of ids, and as a JSON bind."""
    succeeded, ended, back = [], [], []
    for one in finished:
        if one.state is State.SUCCEEDED:
            succeeded.append(one)
        elif one.state.ended:
            ended.append(one)
        else:
            back.append(one)
    for name, group in (("succeed", succeeded), ("finish", ended), ("back", back)):
        if group:
            # In the order of ids: two transactions that change the same rows must lock them in the same order.
            group.sort(key=lambda one: one.id)
            written = succeeded_text(group) if name == "succeed" else as_json([WRITERS[name](one) for one in group])
            yield name, group, written


def succeeded_text(group: Sequence[Finished]) -> str:
    """The JSON of successes: written by hand, as an encoder takes three times as long for this."""
    return "[" + ",".join([
        f'{{"id":{one.id},"token":"{one.token}","seconds":{one.seconds!r},'
        f'"keep":{"true" if one.keep else "false" if one.recorded else "null"},'
        f'"result":{"null" if one.result is None else as_json(one.result)}}}'
        for one in group
    ]) + "]"  # fmt: skip


def ended_row(one: Finished) -> dict[str, Any]:
    return {
        "id": one.id,
        "token": one.token,
        "state": one.state.value,
        "outcome": one.outcome.value,
        "started": one.started,
        "seconds": one.seconds,
        "failed": one.failed,
        "crashed": one.crashed,
        "keep": one.keep,
        "recorded": one.recorded,
        "error": summary(one),
        "error_type": one.error_type,
        "message": one.message,
        "traceback": one.traceback,
    }


def back_row(one: Finished) -> dict[str, Any]:
    return {
        **ended_row(one),
        "delay": one.delay,
        "free": one.free,
        "unknown": one.unknown,
        "suspect": one.suspect,
    }


WRITERS = {"finish": ended_row, "back": back_row}


def summary(one: Finished) -> str | None:
    """The error in a line, for lists: its type and the first 500 characters of its message."""
    if one.error_type is None and one.message is None:
        return None
    return f"{one.error_type or 'stopped'}: {(one.message or '')[:500]}"
