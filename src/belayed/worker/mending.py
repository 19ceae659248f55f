"""Repairs rows that the database refuses to move: one odd row must not stop a worker.

A row may hold values that the table it is to move to does not take, where its own table has lost its checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from belayed.changes import BATCH, refused
from belayed.claim import Finished
from belayed.errors import SchemaMissing, StoreError, StoreUnavailable
from belayed.job import State
from belayed.safelog import log
from belayed.store import Store
from belayed.store.base import Rescued, Sign, Turn
from belayed.worker.verdict import plain

Perform = Callable[[Any], Any]


def written(perform: Perform, store: Store, one: Finished) -> Turn:
    """Write one outcome: if the database refuses it, with its row mended, and then as any database takes it."""
    try:
        return perform(store.turn([one]))  # type: ignore[no-any-return]
    except (StoreUnavailable, SchemaMissing):
        raise
    except Exception:
        mended(perform, store, [one.id])
    try:
        return perform(store.turn([one]))  # type: ignore[no-any-return]
    except (StoreUnavailable, SchemaMissing):
        raise
    except Exception as refusal:
        return perform(store.turn([plain(one, refusal)]))  # type: ignore[no-any-return]


def rescued(perform: Perform, store: Store, dead: Sequence[Sign]) -> Rescued:
    """Rescue the jobs of dead workers; if the database refuses it, with their rows mended."""
    try:
        return perform(store.rescue(dead))  # type: ignore[no-any-return]
    except StoreError as error:
        if not refused(error):
            raise
        log.warning("the database refused a rescue, its rows are mended: %s", error)
    mend_all(perform, store, State.RUNNING)
    return perform(store.rescue(dead))  # type: ignore[no-any-return]


def mend_all(perform: Perform, store: Store, state: State) -> None:
    """Mend the rows of all jobs in *state*."""
    last = -(2**63)
    while ids := perform(store.matching({"states": [state]}, after=last, count=BATCH)):
        mended(perform, store, ids)
        last = ids[-1]


def mended(perform: Perform, store: Store, ids: Sequence[int]) -> None:
    """Mend the rows of these jobs, those that the database lets be mended."""
    try:
        perform(store.mend(ids))
    except (StoreUnavailable, SchemaMissing):
        raise
    except StoreError as error:
        if len(ids) == 1:
            log.warning("the row of job #%d cannot be mended: %s", ids[0], error, extra={"job_id": ids[0]})
            return
        # One of them is refused, and all were rolled back.
        for id in ids:
            mended(perform, store, [id])
