"""Keeps a duty of a worker that fails from being in the way of others: it is put off, longer each time."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TypeVar

from belayed.errors import StoreError
from belayed.safelog import log
from belayed.store.answers import PASSED_OVER
from belayed.worker.mending import is_late, is_refusal
from belayed.worker.report import humane

FIRST, LONGEST = 1.0, 60.0
"""Seconds until the second try, and between two tries at most."""
FORGOTTEN = 180.0
"""Seconds after which a row is forgotten that was not refused again: it may be gone."""
MOST = 1000
"""Rows that are passed over at most: with more, a duty as a whole waits, and claims end at the first of the others."""

VAIN = 3
"""So many looks in vain, one after the other, are no chance: what others have taken is gone at the next look."""

T = TypeVar("T")


def pause_after(tries: int) -> float:
    """Seconds to wait after so many failures."""
    return min(FIRST * 2.0 ** min(tries - 1, 20), LONGEST) * random.uniform(0.5, 1.0)


class Duties:
    """The duties of one worker that have failed last."""

    def __init__(self, prove: Callable[[], None]) -> None:
        """*prove* is called when no answer has come in time: it may be due to the duty, but the worker must beat."""
        self.prove = prove
        self.failed: dict[str, tuple[int, float]] = {}
        """How often each has failed in a row, and when it is tried again."""

    def attempt(self, name: str, duty: Callable[[], T]) -> T | None:
        """What the *duty* returns; None: it has failed, now or lately. Raises the error of a store that is away."""
        tries, due = self.failed.get(name, (0, 0.0))
        if time.monotonic() < due:
            return None
        try:
            found = duty()
        except StoreError as error:
            if is_late(error):
                self.prove()
            elif not is_refusal(error):
                raise
            pause = pause_after(tries + 1)
            self.failed[name] = tries + 1, time.monotonic() + pause
            if not tries:
                text = "%s does not work, jobs and other duties go on; again in %s: %s"
                log.error(text, name, humane(pause), error)
            return None
        if self.failed.pop(name, None) is not None:
            log.info("%s works again, after %d failed tries", name, tries)
        return found

    def due(self, name: str) -> float:
        """When a duty that has failed is tried again; 0: it has not."""
        return self.failed.get(name, (0, 0.0))[1]


class HeldBack:
    """Rows that the database refuses to change: others are not to wait for them."""

    def __init__(self, what: str) -> None:
        self.what = what
        """What is refused, for the log."""
        self.rows: dict[int, tuple[int, float]] = {}
        """How often each was refused, and when it is tried again."""

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def full(self) -> bool:
        """Whether no other row can be passed over."""
        return len(self.rows) >= MOST

    def ids(self) -> Collection[int]:
        """Those to be passed over now."""
        now = time.monotonic()
        self.rows = {id: row for id, row in self.rows.items() if now < row[1] + FORGOTTEN}
        return {id for id, (_, due) in self.rows.items() if now < due}

    def add(self, id: int, error: Exception) -> None:
        """Pass over a row for a while. Raises *error* if there are too many."""
        tries, _ = self.rows.get(id, (0, 0.0))
        if not tries and self.full:
            raise error
        self.rows[id] = tries + 1, time.monotonic() + pause_after(tries + 1)
        if not tries:
            text = "the database refuses to %s job #%d, which is passed over for a while: %s"
            log.error(text, self.what, id, error, extra={"job_id": id})
            if self.full:
                log.error("%d such jobs are passed over: those behind the next one wait", MOST)

    def sort_out(self, answers: Iterable[tuple[Sequence[int], T | Exception]]) -> Iterator[T]:
        """The answers of `each`, as they come; the rows that were refused are held back."""
        for ids, answer in answers:
            if isinstance(answer, Exception):
                self.add(ids[0], answer)
                continue
            for id in ids:
                self.rows.pop(id, None)
            yield answer


class Overlooked(HeldBack):
    """Rows that the database leaves as they are, and reports no error: after a few looks in vain they are held back."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.missed: Counter[int] = Counter()
        """How many looks in a row were in vain for each that is not held back."""

    def tried(self, asked: Collection[int], left: Collection[int]) -> bool:
        """Take what has become of rows that were *asked* for: those *left* are as they were, and not locked by anybody.

        Whether another look is worth while at once: what others have changed it does not see any more.
        """
        for id in set(asked).difference(left):
            self.rows.pop(id, None)
        missed, self.missed = self.missed, Counter()
        for id in sorted(left):
            if id in self.rows or (missed[id] + 1 >= VAIN and not self.full):
                self.add(id, StoreError(PASSED_OVER))
            elif not self.full:
                self.missed[id] = missed[id] + 1
        return bool(self.missed)
