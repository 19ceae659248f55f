"""The one loop of a worker: it alone talks to the store, in turns that finish and claim at once."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.config import WorkerConfig
from belayed.database import Database
from belayed.errors import BelayedError, SchemaMissing, StoreError, StoreUnavailable
from belayed.hints import look_after
from belayed.job import State
from belayed.safelog import log
from belayed.store.answers import LOOK, Turn, WorkerRow
from belayed.store.lanes import Serving
from belayed.worker.claims import Claims
from belayed.worker.contract import Slots
from belayed.worker.ending import Ending, unsound
from belayed.worker.line import Line
from belayed.worker.page import clock
from belayed.worker.record import Answer, Record
from belayed.worker.report import Report, Summary
from belayed.worker.setaside import SetAside
from belayed.worker.upkeep import Upkeep
from belayed.worker.verdict import released
from belayed.worker.wakeup import Wakeup

LINGER = 0.01
"""The longest that an outcome waits for company, in seconds, while the slots have work."""
COMPANY = 50
"""So many outcomes do not wait for more."""
BESIDE = 2.0
"""Seconds after which a job is looked at again that was claimed beside a lost attempt of it that runs here."""
LONGEST = 0.25
"""Seconds after which a pass ends, however much there is to do."""
REASON = "its worker was stopped"
YIELD = 0.001
"""Seconds between two writes on SQLite: without a pause nobody else gets the write lock."""


class Loop:
    """Claims jobs for the slots, writes what becomes of them, and keeps the worker's duties."""

    def __init__(self, jobs: Database, config: WorkerConfig, row: WorkerRow, slots: Slots) -> None:
        self.jobs, self.config, self.row, self.slots = jobs, config, row, slots
        self.store = jobs.store
        # A store that does not answer must be noticed while there is time for another try.
        self.line = Line(jobs, config.lapse.total_seconds() / 3)
        self.perform = self.line.perform
        # Who is back late after an outage is dead to those that were back early.
        self.longest_pause = min(5.0, config.lapse.total_seconds() / 6)
        self.report = Report(jobs.config)
        self.wakeup = Wakeup(self.line.listener, config.poll_interval.total_seconds(), self.line.watched)
        self.line.opened = self.wakeup.doubt
        slots.wake, slots.began, slots.stuck = self.wakeup.wake, self.report.started, self.report.stuck
        slots.written = lambda: not (self.collecting or self.unwritten or self.aside.parts)
        self.upkeep = Upkeep(self.store, jobs.config, config, row)
        self.lanes = self.store.lanes(Serving(config.queues, config.min_priority, config.max_priority))
        self.aside = SetAside(self.perform, self.store, self.take_written, self.upkeep.prove)
        self.claims = Claims(self.perform, self.store, row.id, self.lanes, self.start)
        self.record = Record(self.report, self.went_on)
        self.unwritten: list[Finished] = []
        self.together = 0
        """How many outcomes were written last."""
        self.first_unwritten = self.poll_at = self.wrote_at = self.look_at = self.tend_at = 0.0
        self.heard_at = float("-inf")
        """When a hint was heard, or jobs were found: where some are, there may be more."""
        self.version: Any = None
        self.until_empty = self.paused = self.collecting = False
        self.ending = Ending(config.grace.total_seconds())
        self.stop_by: float | None = None
        self.failure: BelayedError | None = None
        self.outages = 0
        self.passed_at, self.news = time.monotonic(), ""
        """When the last pass began; what a signal handler must not log itself."""
        self.around_pass: Callable[[], AbstractContextManager[None]] = nullcontext
        """Entered around each pass, but not around the waits between them."""

    def run(self, until_empty: bool = False) -> Summary:
        """Work until stopped, or until no job is ready."""
        begun, self.until_empty = time.monotonic(), until_empty or self.config.exit_on_complete
        try:
            self.slots.open()
            while not self.over():
                self.guarded(self.one_pass)
        finally:
            self.leave()
        self.summary.seconds = time.monotonic() - begun
        if (failure := self.failure or self.aside.left()) is not None:
            raise failure
        return self.summary

    def stop(self, now: bool = False, patient: bool = False) -> None:
        """Ask the loop to end, *now* or *patient* as in Ending.ask: from any thread or signal handler."""
        self.ending.ask(now, patient)
        self.wakeup.alarm()

    @property
    def stop_asked(self) -> bool:
        return self.ending.asked

    def pause(self, paused: bool = True) -> None:
        """Claim nothing more, or claim again; what has been claimed is run. From any thread or signal handler."""
        if paused != self.paused:
            self.news = "paused: nothing more is claimed until SIGCONT" if paused else "goes on claiming"
        self.paused = paused
        self.poll_at = 0.0
        self.wakeup.alarm()

    @property
    def summary(self) -> Summary:
        return self.record.summary

    @property
    def closed(self) -> bool:
        """Whether nothing is to be claimed."""
        return self.stop_asked or self.paused or self.aside.full

    def guarded(self, one_pass: Callable[[], None]) -> None:
        """One pass; an outage of the store is waited out, and what has ended meanwhile is kept."""
        try:
            one_pass()
        except SchemaMissing:
            raise
        except StoreError as error:
            self.line.close()
            self.lanes.forget()
            # Hints that come meanwhile are lost.
            self.poll_at = self.upkeep.promote_at = 0.0
            self.outages += 1
            if self.outages == 1:
                log.error("the store is not available, running jobs go on: %s", error)
            if self.given_up():
                raise
            pause = min(self.longest_pause, 0.1 * 2 ** min(self.outages, 6)) * random.uniform(0.5, 1.0)
            self.wakeup.wait(pause, lambda: True, None)
        else:
            if self.outages:
                log.info("the store is available again, after %d failed tries", self.outages)
                self.outages = 0
                self.upkeep.rescue_at = 0.0

    def given_up(self) -> bool:
        """Whether a stopped worker waits for the store alone, and has for as long as it may."""
        if self.slots.known() or self.stop_by is None:
            return False
        return (self.ending.now or time.monotonic() > self.stop_by) and self.slots.vacate()

    def one_pass(self) -> None:
        """Do what is due, then wait for the next thing."""
        self.passed_at = time.monotonic()
        with self.around_pass():
            self.work()
        self.rest()

    def work(self) -> None:
        """Do what is due: first what needs no store, which may be away for long."""
        now = time.monotonic()
        if self.news:
            log.info(self.news)
            self.news = ""
        if self.slots.broken and self.failure is None:
            self.failure = unsound(self.slots.broken)
            self.stop()
        if self.stop_asked:
            self.wind_up(now)
        self.tend_at = self.slots.tend(now)
        self.collect()
        if not self.outages:
            self.take(self.wakeup.listen(now))
        if now >= self.upkeep.next_at():
            if self.upkeep.tend(now, self.perform, self.slots, self.known, self.wakeup.poll_after()):
                self.poll_at = 0.0
                self.lanes.forget()
        if now >= self.aside.due_at:
            self.aside.tend(now)
        if self.record.refused or self.turn_is_due(time.monotonic()):
            self.turns()
        self.report.tick()
        self.report.pace(self.summary)

    def known(self) -> set[int]:
        """The jobs that this worker holds claims of."""
        return self.slots.known() | {one.id for one in (*self.unwritten, *self.record.refused)} | self.aside.ids

    def collect(self) -> None:
        """Fetch what has ended."""
        # For those who ask from another thread whether all is written.
        self.collecting = True
        found = self.slots.outcomes()
        if written := [one for one in found if one.written]:
            self.record.take(written, {one.id for one in written})
            found = [one for one in found if not one.written]
        if found:
            if not self.unwritten:
                self.first_unwritten = time.monotonic()
            self.unwritten += found
        self.collecting = False

    def turn_is_due(self, now: float) -> bool:
        """Whether to go to the store: outcomes travel in company, as long as the slots have work meanwhile."""
        if self.store.dialect == "sqlite" and now - self.wrote_at < YIELD:
            return False
        if self.unwritten:
            full = len(self.unwritten) >= self.company() or self.slots.starving()
            return full or now - self.first_unwritten >= LINGER
        return now >= self.poll_at and not self.closed and self.slots.room() > 0

    def company(self) -> int:
        """So many outcomes do not wait: as came while the last were written, so that at full speed none waits."""
        return min(max(COMPANY, self.together // 2), self.config.read_ahead // 2)

    def turns(self) -> None:
        """A turn, and at full speed some more: what one brings is taken in while the database has the next."""
        answer = self.turn(None)
        while answer is not None and self.at_full_speed():
            answer = self.turn(answer)
        self.take_in(answer)
        if self.claims.careful and not self.closed:
            found = self.claims.carefully(self.slots.room())
            self.poll_at = time.monotonic() + (0.0 if found or self.claims.more else self.wakeup.poll_after())
        # What has been claimed may wait for threads that sleep.
        self.tend_at = self.slots.tend(time.monotonic())
        self.take_written([], set())

    def at_full_speed(self) -> bool:
        """Whether another turn is due before anything else: as much has ended as while the last one was written."""
        if self.store.dialect == "sqlite" or self.stop_asked or self.news:
            # On SQLite others must get the write lock, and nothing is done meanwhile.
            return False
        self.collect()
        due = min(self.upkeep.next_at(), self.tend_at, self.passed_at + LONGEST)
        return time.monotonic() < due and len(self.unwritten) >= self.company() and not self.slots.starving()

    def turn(self, last: Answer | None) -> Answer | None:
        """Write what has ended and claim for the free slots, in one trip; meanwhile take in what the last one brought.

        None: there is no answer that is to be taken in.
        """
        count = 0 if self.closed else self.slots.room() - (len(last.turn.claimed) if last else 0)
        wanted = self.claims.wanted(count)
        finished = list(self.unwritten)
        # Before it is asked: what is claimed while this process is suspended counts as of now.
        begun, claimed_at = time.monotonic(), clock()
        try:
            turn: Turn = self.perform(self.store.turn(finished, wanted), lambda: self.take_in(last))
        except Exception as error:
            if isinstance(error, StoreUnavailable):
                self.record.unanswered(finished)
            if not (self.aside.took_over(finished, error) if finished else self.claims.took_over(error)):
                raise
            del self.unwritten[: len(finished)]
            return None
        del self.unwritten[: len(finished)]
        self.together = len(finished)
        now = self.wrote_at = time.monotonic()
        self.slots.demand.turns_pace.took(now - begun)
        if wanted is not None:
            self.poll_at = now
            self.wakeup.looked(now, bool(turn.claimed), told=look_after(now, self.heard_at) is not None)
            scanned = self.lanes.scanned_at >= self.passed_at
            self.claims.looked(bool(turn.claimed), scanned)
            if turn.claimed:
                self.heard_at = now if self.wakeup.hears else self.heard_at
            else:
                self.poll_at += look_after(now, self.heard_at, self.upkeep.workers) or self.wakeup.poll_after()
                if scanned:
                    self.upkeep.looked(self.lanes.next_due, self.poll_at)
        return Answer(turn, claimed_at, finished)

    def take_in(self, answer: Answer | None) -> None:
        """Start what a turn has claimed, and record what it has written. Asks the database nothing."""
        if answer is not None:
            self.start(answer.turn.claimed, answer.claimed_at)
            self.record.take(answer.finished, answer.turn.held)

    def start(self, claimed: list[Claimed], claimed_at: float) -> None:
        """Run what was claimed; but no job beside an attempt of it that this worker has lost and that still runs."""
        if beside := [job for job in claimed if self.slots.holds(job.id)]:
            for job in beside:
                one = released(job)
                one.delay = BESIDE
                self.unwritten.append(one)
            claimed = [job for job in claimed if not self.slots.holds(job.id)]
        self.slots.start(claimed, claimed_at)

    def went_on(self, one: Finished) -> None:
        """An outcome was written that is no success."""
        if one.delay is not None:
            self.upkeep.scheduled_in(one.delay)
        elif one.started and one.state is State.READY:
            self.take([LOOK])
        if one.unheard:
            self.slots.notify(one)

    def take_written(self, finished: list[Finished], held: set[int]) -> None:
        """Record outcomes that were written by themselves, and ask the store about those whose claims did not hold.

        Raises StoreError; then these are kept, and asked about again.
        """
        self.record.take(finished, held)
        if self.record.refused:
            self.record.refused, settled = self.aside.settled(self.row.id, self.record.refused)
            self.record.settle(settled)

    def rest(self) -> None:
        """Wait until something is due."""
        now = time.monotonic()
        if self.unwritten:
            # Briefly, as the slots do not say when they are about to run dry.
            if not self.turn_is_due(now):
                time.sleep(0.001)
            return
        if (self.until_empty or self.stop_asked) and self.slots.idle() and not self.aside:
            return
        due = [self.upkeep.next_at(), self.wakeup.prove_at, self.tend_at, self.aside.due_at, now + 60.0]
        if not self.closed and self.slots.room() > 0:
            due.append(self.poll_at)
        if self.stop_by is not None:
            due.append(self.look_at or self.stop_by)
        if (seconds := min(due) - now) > 0:
            self.take(self.wakeup.wait(seconds, lambda: not self.slots.pending(), self.watcher()))

    def watcher(self) -> Callable[[], bool] | None:
        """On SQLite: whether another connection has written since the last look."""
        if not self.line.watched or self.closed or self.slots.room() <= 0:
            return None

        def changed() -> bool:
            version = self.line.version()
            if version == self.version:
                return False
            self.version = version
            self.poll_at = self.upkeep.promote_at = 0.0
            return True

        return changed

    def take(self, hints: list[str]) -> None:
        """Hints of other processes: of a ready job (its priority and queue), or of a new time to be due (@)."""
        for hint in hints:
            priority, _, queue = hint.partition(" ")
            if hint == LOOK:
                self.poll_at = self.upkeep.promote_at = 0.0
                self.lanes.forget()
            elif hint == "@":
                self.upkeep.told()
                self.heard_at = time.monotonic()
            elif re.fullmatch("-?[0-9]{1,10}", priority) and self.lanes.hint(queue, int(priority)):
                self.poll_at, self.heard_at = 0.0, time.monotonic()

    def over(self) -> bool:
        """Whether the run has come to its end."""
        if self.unwritten or self.record.refused or not self.slots.idle():
            return False
        by = time.monotonic() + self.config.grace.total_seconds() if self.stop_by is None else self.stop_by
        if self.stop_asked:
            return self.aside.is_over(by, self.ending.now)
        # Without room nobody knows: a child may just be on its way.
        if not self.until_empty or self.paused or self.slots.room() <= 0:
            return False
        self.lanes.forget()
        self.guarded(self.last_look)
        busy = self.outages or self.unwritten or self.claims.unsure or not self.slots.idle()
        return not busy and self.aside.is_over(by, self.ending.now)

    def last_look(self) -> None:
        """Whether there is anything left: what is due, too, and nobody has made ready yet."""
        self.upkeep.promote(self.perform, self.wakeup.poll_after())
        self.turns()

    def wind_up(self, now: float) -> None:
        """After a stop: give back what has not started, wait for what runs, then stop it."""
        self.slots.take_back()
        if self.stop_by is None:
            self.stop_by = self.ending.by
            if running := len(self.slots.known()):
                self.report.stopping(running, self.ending, self.slots.names())
        if self.ending.is_up(now):
            self.look_at = now + 1
            self.slots.interrupt(REASON)

    def leave(self) -> None:
        """Say good-bye to the store, if it is there and nothing is held any more."""
        try:
            if self.slots.idle() and not (self.unwritten or self.record.refused or self.aside):
                self.perform(self.store.retire(self.row.id))
        except StoreError as error:
            log.warning("could not sign off from the store: %s", error)
        self.line.close()
        self.slots.close()
        self.wakeup.close()
        self.report.tick(last=True)
        self.report.pace(self.summary, last=True)
