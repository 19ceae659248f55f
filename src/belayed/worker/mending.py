"""Writes what the database has refused: one odd row, trigger or sequence must not stop a worker.

A row may hold values that the table it is to move to does not take, where its own table has lost its checks. An outcome
is more than its job's row: a record of the attempt and a hint to other workers belong to it, which may be refused too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, TypeVar

from belayed.changes import BATCH
from belayed.claim import Finished
from belayed.errors import SchemaMissing, StoreError, StoreUnavailable
from belayed.job import State
from belayed.safelog import log
from belayed.store import Store
from belayed.store.answers import Rescued, Sign
from belayed.worker.report import about, known
from belayed.worker.verdict import plain

AT_A_TIME = 0.25
"""Seconds of writing or claiming one by one after which everything else has its turn again."""

Perform = Callable[[Any], Any]
T = TypeVar("T")


def is_refusal(error: BaseException) -> bool:
    """Whether the database is there and has refused what it was asked: it may take something else."""
    if isinstance(error, StoreUnavailable):
        return error.why in ("locked", "refused")
    return isinstance(error, Exception) and not isinstance(error, SchemaMissing)


def is_locked(error: BaseException) -> bool:
    """Whether somebody else's lock was in the way."""
    return isinstance(error, StoreUnavailable) and error.why == "locked"


def is_late(error: BaseException) -> bool:
    """Whether no answer came in time: of the database, or of what it was asked."""
    return isinstance(error, StoreUnavailable) and error.why == "late"


def written(perform: Perform, store: Store, one: Finished) -> set[int]:
    """Write one outcome: if the database refuses it, with its row mended, and then without what is not the outcome.

    Whether its claim held, as a set of ids. Raises the refusal if there is nothing left to be left out.
    """
    try:
        return held(perform, store, one)
    except Exception as error:
        if not is_refusal(error) or is_locked(error):
            raise
        refusal = error
    mended(perform, store, [one.id], quiet=True)
    for variant, without in [(one, ""), *variants(one, refusal)]:
        try:
            found = held(perform, store, variant)
        except Exception as error:
            if not is_refusal(error) or is_locked(error):
                raise
            continue
        if without and found:
            task, queue, _ = known(one)
            text = "the outcome of %s #%d was written without %s, which the database refuses: %s"
            log.warning(text, task, one.id, without, refusal, extra=about(one, task, queue))
        return found
    raise refusal


def held(perform: Perform, store: Store, one: Finished) -> set[int]:
    return perform(store.turn([one])).held  # type: ignore[no-any-return]


def variants(one: Finished, refusal: Exception) -> Iterator[tuple[Finished, str]]:
    """The outcome with less and less that is not the outcome, and what is left out."""
    bare, without = [(one, "")], []
    if one.state is State.READY and one.started and not one.delay:
        without.append("a hint to other workers")
        bare.append((lacking(one), without[-1]))
    if one.state is not State.SUCCEEDED and one.started or not one.keep:
        without.append("the record of its attempts")
        bare.append((lacking(one, recorded=False), without[-1]))
    yield from bare[1:]
    simple = plain(one, refusal)
    if vars(simple) != vars(one):
        for variant, what in bare:
            less = f"some of its text and {what}" if what else "some of its text"
            yield plain(variant, refusal), less


def lacking(one: Finished, *, recorded: bool = True) -> Finished:
    """The outcome without a hint and, if not *recorded*, without a record of its attempts."""
    bare = copy(one)
    bare.hinted, bare.recorded = False, recorded
    return bare


def each(perform: Callable[[Sequence[int]], T], ids: Sequence[int]) -> Iterator[tuple[Sequence[int], T | Exception]]:
    """Do something for these jobs, or for as many of them at once as the database lets; a refusal is one job's own."""
    try:
        yield ids, perform(ids)
    except Exception as error:
        if not is_refusal(error):
            raise
        if len(ids) == 1:
            yield ids, error
            return
        half = len(ids) // 2
        yield from each(perform, ids[:half])
        yield from each(perform, ids[half:])


def rescued(
    perform: Perform, store: Store, dead: Sequence[Sign], only: Sequence[int] | None = None, *, recorded: bool = True
) -> Rescued:
    """Rescue the jobs of dead workers; if the database refuses it, with their rows mended, or without their records.

    *only* these jobs, if given; and without their records if not *recorded*. Raises the refusal.
    """
    try:
        return perform(store.rescue(dead, only=only, recorded=recorded))  # type: ignore[no-any-return]
    except StoreError as error:
        if not is_refusal(error) or is_locked(error):
            raise
        refusal = error
    if only is None:
        mend_all(perform, store, State.RUNNING)
    else:
        mended(perform, store, only, quiet=True)
    for with_record in (True, False) if recorded else (False,):
        try:
            found: Rescued = perform(store.rescue(dead, only=only, recorded=with_record))
        except StoreError as error:
            if not is_refusal(error):
                raise
            continue
        if recorded and not with_record and (found.saved or found.poisoned):
            text = "%d jobs were rescued without a record of the lost attempt, which the database refuses: %s"
            log.warning(text, len(found.saved) + len(found.poisoned), refusal)
        return found
    raise refusal


def mend_all(perform: Perform, store: Store, state: State) -> None:
    """Mend the rows of all jobs in *state*."""
    last = -(2**63)
    while ids := perform(store.matching({"states": [state]}, after=last, count=BATCH)):
        mended(perform, store, ids)
        last = ids[-1]


def mended(perform: Perform, store: Store, ids: Sequence[int], *, quiet: bool = False) -> None:
    """Mend the rows of these jobs, as far as the database lets them be mended. If not *quiet*, log the others."""
    for refused, answer in each(lambda some: perform(store.mend(some)), ids):
        if isinstance(answer, Exception) and not quiet:
            (id,) = refused
            log.warning("the row of job #%d cannot be mended: %s", id, answer, extra={"job_id": id})
