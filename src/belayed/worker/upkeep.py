"""What a worker does beside running jobs, each on its timer: beat, rescue, promote, prune."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, NamedTuple

from belayed.config import Config, WorkerConfig
from belayed.hints import EAGER
from belayed.job import Outcome, State
from belayed.safelog import log
from belayed.store import Store
from belayed.store.base import WorkerRow
from belayed.worker.contract import Slots
from belayed.worker.mending import rescued
from belayed.worker.page import clock
from belayed.worker.watch import Watch

LOOKS_LATE = 0.5
"""Seconds by which a look for ready jobs may be late before this asks for what is due by itself."""
PRUNE_EVERY = 180.0
PRUNE_BATCH = 1000
PRUNE_SHARE = 20
"""Pruning takes at most one part in so many of the time: it pauses so many times what its last batch took."""

Perform = Callable[[Any], Any]


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
        self.prune_at = time.monotonic() + random.uniform(0, PRUNE_EVERY)
        self.beating_since: float | None = None
        self.last_beat = 0.0
        self.watch = Watch(row.id, self.lapse, self.beat_every)
        self.behind = False

    def next_at(self) -> float:
        """When the next duty is due, on the monotonic clock."""
        return min(self.beat_at, self.rescue_at, self.promote_at, self.prune_at)

    def tend(
        self, now: float, perform: Perform, slots: Slots, known: Callable[[], Collection[int]], longest: float
    ) -> bool:
        """Do the duties whose timers have run out; whether jobs have become ready. *longest* is as of `promote`."""
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
        signs = perform(self.store.signs(self.row.id))
        dead = self.watch.dead(signs.workers, asked, time.monotonic())
        strays = []
        if set(signs.held).difference(held):
            strays = perform(self.store.strays(self.row.id, list(held)))
        if strays:
            log.warning("gave back %d jobs whose claims had not reached this worker", len(strays))
        self.rescue_at = min(self.rescue_at, self.watch.due + 0.001)
        if not dead or not self.may_rescue():
            return bool(strays), []
        saved = rescued(perform, self.store, dead)
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

    def promote(self, perform: Perform, longest: float) -> bool:
        """Make due jobs ready; whether there were any. The next look is when one is due, or after *longest* seconds.

        Jobs come without a hint too: from a process whose hint was held back, from a worker that has died since.
        """
        promoted = perform(self.store.promote())
        wait = longest if promoted.next_due is None else min(longest, max(0.0, promoted.next_due))
        now = time.monotonic()
        self.promote_at = now + (min(wait, EAGER) if now < self.told_at + EAGER else wait)
        return bool(promoted.jobs)

    def looked(self, next_due: float | None, poll_at: float) -> None:
        """A look for ready jobs has just seen when the next scheduled one is due, and the next look will see it again.

        If there is one: while all slots are busy there is none.
        """
        due = float("inf") if next_due is None else time.monotonic() + next_due
        self.promote_at = min(due, poll_at + LOOKS_LATE)

    def prune(self, perform: Perform) -> None:
        """Delete a batch of what the history need not keep."""
        begun = time.monotonic()
        full = False
        for state, keep in (
            (State.SUCCEEDED, self.config.keep_succeeded),
            (State.FAILED, self.config.keep_failed),
            (State.CANCELLED, self.config.keep_cancelled),
        ):
            if isinstance(keep, timedelta):
                full |= perform(self.store.prune(state, keep.total_seconds(), count=PRUNE_BATCH)) == PRUNE_BATCH
        if self.config.keep_succeeded is not True:
            full |= perform(self.store.prune_excess(self.config.max_succeeded, count=PRUNE_BATCH)) == PRUNE_BATCH
        took = time.monotonic() - begun
        pause = max(took * PRUNE_SHARE, 0.0 if full else PRUNE_EVERY * random.uniform(0.8, 1.2))
        self.prune_at = time.monotonic() + pause
        if full != self.behind:
            self.behind = full
            log.info("pruning the history %s", "is behind: more ends than it may delete" if full else "has caught up")
