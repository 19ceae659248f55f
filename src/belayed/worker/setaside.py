"""Outcomes that the database refuses: each is set aside and tried again later, so that all others are written.

Its job stays claimed in the meantime: the worker beats for it. docs/explain/claims-and-fencing.md
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from belayed.claim import Finished
from belayed.errors import BelayedError, StoreError
from belayed.job import Filter, State
from belayed.safelog import log
from belayed.store import Store
from belayed.store.answers import PASSED_OVER
from belayed.worker.mending import AT_A_TIME, Perform, is_late, is_locked, is_refusal, written
from belayed.worker.report import about, humane, known

FIRST, LONGEST = 1.0, 60.0
"""Seconds until the second try, and between two tries at most."""
LONGEST_LOCKED = 5.0
"""The same where somebody else's lock is in the way, which will end. A look at it waits for nothing."""
MOST = 1000
"""Outcomes that are set aside at most: with so many nothing is claimed, as what runs could not be written either."""
HEAVY = 1 << 26
"""Characters of their texts, at most."""
BEYOND = 1.0
"""Seconds after the grace for what has ended at its end."""
SHOWN = 20
"""Jobs that are named at the end."""


@dataclass(slots=True)
class Entry:
    """An outcome that is set aside."""

    one: Finished
    size: int
    locked: bool = False
    tries: int = 0
    due: float = 0.0


class SetAside:
    """The outcomes that one worker could not write."""

    def __init__(
        self,
        perform: Perform,
        store: Store,
        took: Callable[[list[Finished], set[int]], None],
        prove: Callable[[], None],
    ) -> None:
        """*took* is called with outcomes that were sent, and the jobs whose were written: `settled` sorts out the rest.

        *prove* is called when no answer has come in time: it may be an outcome's own fault, but the worker must beat.
        """
        self.perform, self.store, self.took, self.prove = perform, store, took, prove
        self.parts: deque[list[Finished]] = deque()
        """Outcomes that were refused together, to be written in smaller and smaller parts."""
        self.entries: dict[int, Entry] = {}
        self.size = 0
        self.due_at = inf
        self.late: list[Finished] = []
        """What was not answered in time when it was first sent."""
        self.last_by: float | None = None
        """Until when each is tried once more, at the end."""

    def __bool__(self) -> bool:
        return bool(self.parts or self.entries)

    @property
    def ids(self) -> set[int]:
        """The jobs whose claims are held on to."""
        return {one.id for part in self.parts for one in part}.union(self.entries)

    @property
    def full(self) -> bool:
        return len(self.entries) >= MOST or self.size >= HEAVY

    def took_over(self, outcomes: list[Finished], error: Exception) -> bool:
        """Take outcomes that were not written together, if that may be due to one of them; False: the store is away.

        May raise the error of a store that is away.
        """
        late, self.late = self.late, []
        if not outcomes:
            return False
        if is_late(error):
            # Late a second time, though a beat was answered between: one of them takes too long.
            if not late or late[0] is not outcomes[0]:
                self.late = outcomes
                self.prove()
                return False
        elif not is_refusal(error):
            return False
        if len(outcomes) == 1:
            # There is more to be tried than this.
            self.parts.append(outcomes)
        else:
            self.part(outcomes, error)
        self.set_timer()
        return True

    def settled(self, worker: str, refused: list[Finished]) -> tuple[list[Finished], dict[int, State | None]]:
        """Set aside those of the *refused* whose claims hold: the database has passed over their rows.

        The others, and which of these are written all the same, with the state that the job ended in. Raises
        StoreError; then nothing has become of any of them.
        """
        settled: dict[int, State | None] = self.perform(self.store.settled(worker, refused))
        run: Filter = {"ids": [one.id for one in refused], "states": [State.RUNNING]}
        running = set(self.perform(self.store.matching(run, after=-(2**63), count=len(refused))))
        kept = {one.id: one for one in refused if one.id in running and self.perform(self.store.holds(one))}
        for one in refused:
            if kept.get(one.id) is not one:
                self.forget(one)
                continue
            if one.id in settled and one.state is not State.SUCCEEDED:
                # The record of the attempt is there already, and would be made again at each try.
                one.recorded = False
            self.set_aside(one, StoreError(PASSED_OVER))
        return [one for one in refused if kept.get(one.id) is not one], settled

    def part(self, outcomes: list[Finished], error: Exception) -> None:
        """Take outcomes that the database has refused together."""
        if is_locked(error):
            locked = set(self.perform(self.store.locked([one.id for one in outcomes])))
            if locked:
                for one in outcomes:
                    if one.id in locked:
                        self.set_aside(one, error)
                outcomes = [one for one in outcomes if one.id not in locked]
                if outcomes:
                    self.parts.appendleft(outcomes)
                return
        if len(outcomes) == 1:
            self.set_aside(outcomes[0], error)
            return
        half = len(outcomes) // 2
        self.parts.appendleft(outcomes[half:])
        self.parts.appendleft(outcomes[:half])

    def tend(self, now: float) -> None:
        """Try again what is due, for a short time."""
        if due := [entry for entry in self.entries.values() if entry.due <= now]:
            self.parts.append([entry.one for entry in due])
            for entry in due:
                entry.due = inf
        self.write(now + AT_A_TIME)
        self.set_timer()

    def write(self, until: float) -> None:
        """Write the parts. Raises the error of a store that is away: then they wait here."""
        while self.parts:
            part = self.parts[0]
            try:
                held = self.written(part)
            except Exception as error:
                if not is_late(error) and not is_refusal(error):
                    raise
                self.parts.popleft()
                try:
                    self.part(part, error)
                except BaseException:
                    self.parts.appendleft(part)
                    raise
                if is_late(error):
                    self.prove()
                    return
            else:
                self.parts.popleft()
                for one in part:
                    if one.id in held:
                        self.forget(one, is_written=True)
                self.took(part, held)
            if time.monotonic() > until:
                return

    def written(self, part: list[Finished]) -> set[int]:
        if len(part) > 1:
            return self.perform(self.store.turn(part)).held  # type: ignore[no-any-return]
        return written(self.perform, self.store, part[0])

    def set_aside(self, one: Finished, error: Exception) -> None:
        """Keep an outcome for later."""
        entry = self.entries.get(one.id)
        if entry is None or entry.one is not one:
            if entry is not None:
                # Of an earlier claim, which is lost.
                self.forget(entry.one)
            # It may wait for hours: the text of its traceback is enough.
            one.error = None
            entry = self.entries[one.id] = Entry(one, size_of(one))
            self.size += entry.size
        locked = entry.locked = is_locked(error)
        wait = min(FIRST * 2.0**entry.tries, LONGEST_LOCKED if locked else LONGEST) * random.uniform(0.5, 1.0)
        entry.tries += 1
        entry.due = time.monotonic() + wait
        self.set_timer()
        if entry.tries > 1:
            return
        task, queue, _ = known(one)
        say, why = (log.warning, LOCKED) if locked else (log.error, REFUSED)
        text = "the database does not take the outcome of %s #%d (%s), which is set aside, again in %s: %s. %s"
        say(text, task, one.id, one.outcome.value, humane(wait), error, why, extra=about(one, task, queue))

    def forget(self, one: Finished, *, is_written: bool = False) -> None:
        entry = self.entries.get(one.id)
        if entry is None or entry.one is not one:
            # Nothing is kept of it, or there is one of a later claim, which has not been written.
            return
        del self.entries[one.id]
        self.size -= entry.size
        if is_written:
            task, queue, _ = known(one)
            text = "the outcome of %s #%d, which was set aside, is written, at try %d"
            log.info(text, task, one.id, entry.tries + 1, extra=about(one, task, queue))

    def set_timer(self) -> None:
        due = min((entry.due for entry in self.entries.values()), default=inf)
        self.due_at = 0.0 if self.parts else due

    def is_over(self, by: float, now: bool) -> bool:
        """Whether, at the end, each was tried once more, and those of locked rows until *by*, or it is to be *now*."""
        if now or time.monotonic() > by + BEYOND:
            return True
        if self.parts:
            return False
        if self.last_by is None:
            self.last_by = by
            for entry in self.entries.values():
                entry.due = 0.0
            self.set_timer()
        goes_on = time.monotonic() < self.last_by
        return not any(entry.due == 0.0 or (entry.locked and goes_on) for entry in self.entries.values())

    def left(self) -> BelayedError | None:
        """What the worker ends with if there are outcomes left."""
        ids = sorted(self.ids)
        if not ids:
            return None
        named = ", ".join(f"#{id}" for id in ids[:SHOWN]) + (" …" if len(ids) > SHOWN else "")
        return BelayedError(
            f"the database did not take the outcome of {named}: it is lost with this worker, and other workers rescue "
            "each such job after the lapse and run it again. The log says what refused it"
        )


LOCKED = "Another transaction holds its row, or one that belongs to it: it is in pg_locks and pg_stat_activity"
REFUSED = (
    "Look for what refuses it: triggers, constraints and foreign keys of Belayed's tables, a sequence behind its rows; "
    "`belayed doctor` names what it finds"
)


def size_of(one: Finished) -> int:
    """About how many characters are kept with an outcome."""
    payload = one.job.payload if one.job is not None else None
    return sum(len(text) for text in (one.result, one.traceback, one.message, payload) if text is not None)
