"""Changes of many jobs: by their ids or by a filter, a batch in each transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from belayed.database import Database, Plan
from belayed.errors import OptionError, StoreError
from belayed.job import LIVE, Filter, State
from belayed.options import check_filter, check_ids, check_priority, check_queue, check_run_at
from belayed.steps import Steps
from belayed.store import Store

BATCH = 1000
"""Jobs that one transaction changes at most."""
Action = Literal["cancel", "retry", "delete"]
Change = Callable[[Sequence[int]], Steps[list[int]]]


def bulk_change(store: Store, action: Action, filter: Filter) -> tuple[Change, Filter]:
    """The operation of *action*, and the filter with the states that it means when it names none."""
    change: Change = {"cancel": store.cancel, "retry": store.retry, "delete": store.delete}[action]
    if action == "delete":
        return change, filter
    return change, with_states(filter, list(LIVE) if action == "cancel" else [State.FAILED])


def move(
    store: Store, filter: Filter, queue: str | None, priority: int | None, run_at: datetime | timedelta | None
) -> tuple[Change, Filter]:
    """The operation that changes the queue, priority or time of waiting jobs, and the filter of such jobs."""
    if queue is not None:
        check_queue(queue)
    if priority is not None:
        check_priority(priority)
    check_run_at(run_at)
    delay = run_at.total_seconds() if isinstance(run_at, timedelta) else None
    at = run_at if isinstance(run_at, datetime) else None

    def change(ids: Sequence[int]) -> Steps[list[int]]:
        return store.change(ids, queue=queue, priority=priority, run_at=at, delay=delay)

    return change, with_states(filter, [State.SCHEDULED, State.READY])


def with_states(filter: Filter, states: list[State]) -> Filter:
    """*filter*, meaning *states* when it says something but names none."""
    return {**filter, "states": states} if filter and "states" not in filter else filter


def each_batch(
    database: Database,
    change: Change,
    filter: Filter,
    ids: tuple[int, ...] = (),
    report: Callable[[int], None] | None = None,
) -> Plan[int]:
    """Change the jobs of these ids, or all that the filter finds: how many; *report* is told after each batch."""
    check_ids(ids)
    check_filter(filter)
    if bool(ids) == bool(filter):
        raise OptionError("which jobs? Give ids, or a filter such as states=[State.FAILED] or queues=['mail']")
    changed, last, start = 0, 0, 0
    while True:
        if ids:
            batch = list(ids[start : (start := start + BATCH)])
        else:
            found = database.store.matching
            batch = yield from database.existing(lambda: found(filter, after=last, count=BATCH))  # noqa: B023
        if not batch:
            return changed
        last = batch[-1]
        count = len((yield from changed_batch(database, change, batch)))
        changed += count
        if report is not None:
            report(count)


def changed_batch(database: Database, change: Change, batch: Sequence[int]) -> Plan[list[int]]:
    """Change a batch; the ids. Rows whose values the database refuses in another table are mended first."""
    try:
        return (yield from database.existing(lambda: change(batch)))
    except StoreError as error:
        if not refused(error):
            raise
        yield database.store.mend(batch)
        return (yield from database.existing(lambda: change(batch)))


def refused(error: StoreError) -> bool:
    """Whether the database is there, and has refused what it was asked: to ask again changes nothing."""
    return type(error) is StoreError
