"""What a worker does beside running jobs, each on its timer: beat, rescue, promote, prune."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from belayed.config import Config, WorkerConfig
from belayed.errors import StoreError
from belayed.hints import EAGER
from belayed.job import Filter, Outcome, State
from belayed.safelog import log
from belayed.store import Store
from belayed.store.answers import Promoted, Rescued, Sign, Signs, WorkerRow
from belayed.worker.contract import Slots
from belayed.worker.duties import VAIN, Duties, HeldBack, Overlooked
from belayed.worker.inherited import Inherited
from belayed.worker.mending import Perform, each, is_locked, is_refusal, rescued
from belayed.worker.page import clock
from belayed.worker.pruning import Pruning
from belayed.worker.watch import Watch

LOOKS_LATE = 0.5
"""Seconds by which a look for ready jobs may be late before this asks for what is due by itself."""
PROMOTE_BATCH = RESCUE_BATCH = 1000
AGAIN = 0.01
"""Seconds until another look for what is due, where none became ready: twice as many each time, to `LOOKS_LATE`."""
LOOKING, STRAYS = "looking for dead workers", "giving back claims that did not reach this worker"
RESCUE, PROMOTE = "rescuing the jobs of dead workers", "making scheduled jobs ready"


class Beaten(NamedTuple):
    """What a beat has brought."""

    until: float
    """When the claims lapse, on the clock of leases."""
    valid_from: float | None
    """Claims asked for before this may have lapsed already: there was a break. None: there was none."""
    cancels: list[int]


class Upkeep:
    """The timers of one worker. Every duty may be done by all workers at once: none of them needs a leader."""

    def __init__(self, store: Store, config: Config, worker: WorkerConfig, row: WorkerRow) -> None:
        self.store, self.config, self.row = store, config, row
        self.beat_every = worker.beat.total_seconds()
        self.lapse = worker.lapse.total_seconds()
        self.beat_at = self.rescue_at = self.promote_at = 0.0
        self.told_at = float("-inf")
        self.duties = Duties(self.prove)
        self.pruning = Pruning(store, config, self.duties)
        self.prune_at = time.monotonic() + self.pruning.pause() * random.random()
        self.stuck_rescues, self.stuck_strays = HeldBack("rescue"), HeldBack("give back")
        self.stuck_promotions = HeldBack("make ready")
        self.hushed_rescues, self.hushed_strays = Overlooked("rescue"), Overlooked("give back")
        self.hushed_promotions = Overlooked("make ready")
        self.vain = 0
        """How often in a row nothing that was due has become ready."""
        self.beating_since: float | None = None
        self.last_beat = 0.0
        self.watch = Watch(row.id, self.lapse, self.beat_every)
        self.inherited = Inherited(row)

    @property
    def workers(self) -> int:
        """How many workers there are, as far as this one has seen."""
        return 1 + len(self.watch.since)

    def next_at(self) -> float:
        """When the next duty is due, on the monotonic clock."""
        return min(self.beat_at, self.rescue_at, self.promote_at, self.prune_at)

    def tend(
        self, now: float, perform: Perform, slots: Slots, known: Callable[[], Collection[int]], longest: float
    ) -> bool:
        """Do the duties whose timers have run out; whether jobs have become ready. *longest* is as of `promote`.

        A duty that the database refuses, or does not answer in time, is put off, and keeps no other from being done.
        Raises the error of a store that is away, or that refuses the beat.
        """
        news = False
        if now >= self.beat_at:
            lease = self.beat(perform)
            slots.renew(lease.until, lease.valid_from)
            for id in lease.cancels:
                slots.stop(id, Outcome.CANCELLED, "cancelled while it ran")
        if now >= self.rescue_at:
            news, poisoned = self.rescue(perform, known())
            for id in poisoned:
                slots.notify(id)
        if now >= self.promote_at:
            news |= self.promote(perform, longest)
        if now >= self.prune_at:
            self.prune(perform)
        return news

    def prove(self) -> None:
        """Beat before anything else is asked: it shows whether the database is there."""
        self.beat_at = 0.0

    def told(self) -> None:
        """A hint tells of a new time to be due: for a while there may be others, whose hints are held back."""
        self.promote_at, self.told_at = 0.0, time.monotonic()

    def scheduled_in(self, seconds: float) -> None:
        """A job of ours will be due then."""
        self.promote_at = min(self.promote_at, time.monotonic() + seconds)

    def beat(self, perform: Perform) -> Beaten:
        """Beat; until when the claims hold, and the running jobs that were asked to be cancelled."""
        # Taken before it is sent: the row can only say later than this.
        now, valid_from = clock(), None
        beat = perform(self.store.beat(self.row))
        if self.beating_since is None or now - self.last_beat > self.lapse or (beat.fresh and self.last_beat):
            if self.last_beat:
                log.warning("no beat for %.1f s: other workers may have taken this one's jobs", now - self.last_beat)
                valid_from = now
            self.beating_since = now
        self.last_beat = now
        self.beat_at = time.monotonic() + self.beat_every * random.uniform(0.9, 1.0)
        return Beaten(now + self.lapse, valid_from, beat.cancels)

    def may_rescue(self) -> bool:
        """Whether it may rescue others: only after a full lapse of unbroken beats, or all would after an outage."""
        if self.beating_since is None or clock() - self.last_beat > self.lapse:
            return False
        return self.last_beat - self.beating_since >= self.lapse

    def rescue(self, perform: Perform, held: Collection[int]) -> tuple[bool, list[int]]:
        """Give back the jobs of workers that died, and claims of ours that never reached us.

        Whether there were any, and the jobs that were put aside.
        """
        asked = time.monotonic()
        self.rescue_at = asked + self.beat_every * random.uniform(0.9, 1.1)
        signs: Signs | None = self.duties.attempt(LOOKING, lambda: perform(self.store.signs(self.row.id)))
        if signs is None:
            return False, []
        dead = self.watch.dead(signs.workers, asked, time.monotonic())
        self.look_at_inherited(perform)
        strays = self.duties.attempt(STRAYS, lambda: self.strays(perform, signs.held, held))
        if strays:
            log.warning("gave back %d jobs whose claims had not reached this worker", len(strays))
        self.rescue_at = min(self.rescue_at, self.watch.due + 0.001)
        if not dead or not self.may_rescue():
            return bool(strays), []
        saved = self.duties.attempt(RESCUE, lambda: self.saved(perform, dead))
        if saved is None:
            return bool(strays), []
        if count := len(saved.saved):
            log.warning(
                "rescued %d job%s of workers that stopped beating: %s",
                count,
                "" if count == 1 else "s",
                saved.workers,
            )
        for id in saved.poisoned:
            text = "job #%d was put aside as poison: its workers died again and again while they held it"
            log.error(text, id, extra={"job_id": id})
        return bool(strays or saved.saved), saved.poisoned

    def look_at_inherited(self, perform: Perform) -> None:
        """Log what workers hold that were dead when this one started: with at most one statement, at the first look."""
        if not self.inherited.asked:
            others = bool(self.watch.since)
            rows = self.duties.attempt(LOOKING, lambda: perform(self.store.workers())) if others else None
            self.inherited.ask(rows, self.rescued_in)
        else:
            self.inherited.look(lambda row: self.watch.silent(row.id), self.rescued_in)

    def rescued_in(self, row: WorkerRow) -> float:
        """Seconds until a worker's jobs are rescued, by this one at the latest."""
        ours = 0.0 if self.beating_since is None else self.beating_since + self.lapse - clock()
        return max(0.0, row.lapse - self.watch.silent(row.id), ours)

    def strays(self, perform: Perform, claimed: Collection[int], held: Collection[int]) -> list[int]:
        """Give back those of the *claimed* jobs that are not *held*, as far as the database lets them go."""
        known = {*held, *self.stuck_strays.ids(), *self.hushed_strays.ids()}
        left = set(claimed).difference(known)
        if not left:
            return []
        try:
            back: list[int] = perform(self.store.strays(self.row.id, list(known)))
        except StoreError as error:
            if not is_refusal(error):
                raise
        else:
            self.hushed_strays.tried(left, self.kept(perform, left.difference(back)))
            return back

        def given_back(some: Sequence[int]) -> list[int]:
            others = known.union(left).difference(some)
            return perform(self.store.strays(self.row.id, list(others)))  # type: ignore[no-any-return]

        return [id for ids in self.stuck_strays.sort_out(each(given_back, sorted(left))) for id in ids]

    def kept(self, perform: Perform, ids: Collection[int]) -> set[int]:
        """Those of these jobs that run as before, by their rows, which nobody has locked."""
        if not ids:
            return set()
        run: Filter = {"ids": sorted(ids), "states": [State.RUNNING]}
        left = set(perform(self.store.matching(run, after=-(2**63), count=len(ids))))
        return left.difference(perform(self.store.locked(sorted(left)))) if left else left

    def saved(self, perform: Perform, dead: Sequence[Sign]) -> Rescued:
        """Rescue the jobs of dead workers, as far as the database lets them go."""
        workers, hushed = [one.worker for one in dead], self.hushed_rescues
        if not (self.stuck_rescues or hushed or hushed.missed):
            try:
                found = rescued(perform, self.store, dead)
            except StoreError as error:
                if not is_refusal(error) or is_locked(error):
                    raise
            else:
                if found.workers and not (found.saved or found.poisoned):
                    # They may hold none, or none that is not locked; or the database passes over them.
                    ids = perform(self.store.held_by(found.workers, count=RESCUE_BATCH))
                    hushed.tried(ids, self.kept(perform, ids))
                return found
        passed_over = {*self.stuck_rescues.ids(), *hushed.ids()}
        ids = perform(self.store.held_by(workers, count=RESCUE_BATCH + len(passed_over)))
        ids = [id for id in ids if id not in passed_over]
        # The lost attempt of those that were passed over is on record already.
        known = {id for id in ids if id in hushed.missed or id in hushed.rows}
        parts = [
            *self.apart(perform, dead, [id for id in ids if id not in known], recorded=True),
            *self.apart(perform, dead, sorted(known), recorded=False),
        ]
        found = Rescued(
            [id for part in parts for id in part.saved],
            [id for part in parts for id in part.poisoned],
            sorted({worker for part in parts for worker in part.workers}),
        )
        left = set(ids).difference(found.saved, found.poisoned, self.stuck_rescues.rows)
        # Of workers that have beaten since, nothing was to be rescued.
        hushed.tried(ids, self.kept(perform, left) if found.workers else ())
        return found

    def apart(self, perform: Perform, dead: Sequence[Sign], ids: Sequence[int], *, recorded: bool) -> list[Rescued]:
        """Rescue those of these jobs that the database lets go."""

        def one_part(some: Sequence[int]) -> Rescued:
            return rescued(perform, self.store, dead, some, recorded=recorded)

        return list(self.stuck_rescues.sort_out(each(one_part, ids))) if ids else []

    def promote(self, perform: Perform, longest: float) -> bool:
        """Make due jobs ready; whether there were any. The next look is when one is due, or after *longest* seconds.

        Jobs come without a hint too: from a process whose hint was held back, from a worker that has died since.
        """
        self.promote_at = time.monotonic() + longest
        promoted = self.duties.attempt(PROMOTE, lambda: self.promoted(perform))
        if promoted is None:
            self.promote_at = max(self.promote_at, self.duties.due(PROMOTE))
            return False
        wait = longest if promoted.next_due is None else min(longest, max(0.0, promoted.next_due))
        # One that is due and was not made ready is locked by somebody else, perhaps for long; or it is passed over.
        self.vain = 0 if promoted.jobs or wait else min(self.vain + 1, 10)
        if self.vain:
            wait = min(AGAIN * 2.0**self.vain, LOOKS_LATE)
        now = time.monotonic()
        self.promote_at = now + (min(wait, EAGER) if now < self.told_at + EAGER else wait)
        return bool(promoted.jobs)

    def promoted(self, perform: Perform) -> Promoted:
        """Make due jobs ready, as far as the database lets them be."""
        if not (self.stuck_promotions or self.hushed_promotions or self.vain >= VAIN):
            try:
                return perform(self.store.promote())  # type: ignore[no-any-return]
            except StoreError as error:
                if not is_refusal(error):
                    raise
        passed_over = {*self.stuck_promotions.ids(), *self.hushed_promotions.ids()}
        most = PROMOTE_BATCH + len(passed_over)
        found = perform(self.store.scheduled(count=most))
        rows = [row for row in found if row[0] not in passed_over]
        due = [id for id, seconds in rows if seconds <= 0]
        asked: list[int] = []

        def made_ready(some: Sequence[int]) -> Promoted:
            part: Promoted = perform(self.store.promote(only=some))
            asked.extend(some)
            return part

        jobs = sum(part.jobs for part in self.stuck_promotions.sort_out(each(made_ready, due))) if due else 0
        if jobs < len(asked) and self.left_scheduled(perform, asked, most):
            return Promoted(jobs, 0.0)
        # There may be others that are due behind those of a whole batch.
        behind = 0.0 if len(found) == most else None
        return Promoted(jobs, next((row[1] for row in rows if row[1] > 0), behind))

    def left_scheduled(self, perform: Perform, asked: Sequence[int], most: int) -> bool:
        """Whether one of the jobs that were *asked* for is due as before: it is locked, or may be passed over."""
        left = {id for id, seconds in perform(self.store.scheduled(count=most)) if seconds <= 0}.intersection(asked)
        locked = set(perform(self.store.locked(sorted(left)))) if left else set()
        self.hushed_promotions.tried(asked, left - locked)
        return not left <= self.hushed_promotions.rows.keys()

    def looked(self, next_due: float | None, poll_at: float) -> None:
        """A look for ready jobs has just seen when the next scheduled one is due, and the next look will see it again.

        If there is one: while all slots are busy there is none.
        """
        if (self.stuck_promotions or self.hushed_promotions or self.vain) and next_due is not None and next_due <= 0:
            # It may be one that is passed over.
            self.promote_at = min(self.promote_at, poll_at + LOOKS_LATE)
            return
        due = float("inf") if next_due is None else time.monotonic() + next_due
        self.promote_at = max(self.duties.due(PROMOTE), min(due, poll_at + LOOKS_LATE))

    def prune(self, perform: Perform) -> None:
        """Delete a batch of what the history need not keep."""
        self.prune_at = time.monotonic() + self.pruning.pause()
        self.prune_at = time.monotonic() + self.pruning.slice(perform)
