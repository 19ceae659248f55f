"""The slots of a supervisor: they are in child processes. What the store's loop calls, and what children send.

Two threads meet here, under a lock that nobody holds while waiting: the store's loop, and that of nursery.py.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.config import WorkerConfig
from belayed.job import Outcome, State
from belayed.worker.connecting import Said
from belayed.worker.demand import PATIENCE, Demand
from belayed.worker.frames import SHOWN, BadFrame, unheard_row
from belayed.worker.handed import Child, Handed
from belayed.worker.heard import Success, completed_from, ended_from, kinds_from, successes_from
from belayed.worker.page import Lease, clock
from belayed.worker.silence import always, nothing
from belayed.worker.suspects import WAIT, Suspects, may_end_workers
from belayed.worker.verdict import released

FEW = 8
"""So few claimed jobs are handed over at once: to wake the other thread for it takes longer than to do it."""
NEWS = 1000
"""So much that plugins are to be told is kept while there is no child."""


class Children:
    """Jobs in child processes."""

    def __init__(self, config: WorkerConfig) -> None:
        self.config = config
        self.lock = threading.RLock()
        self.wake: Callable[[], None] = nothing
        self.began: Callable[[Claimed], None] = nothing
        self.stuck: Callable[[Claimed, float], None] = nothing
        self.written: Callable[[], bool] = always
        self.broken = ""
        """A child whose slots have died ends, and is replaced."""
        self.alarm: Callable[[], None] = nothing
        """Wakes the thread that serves the children."""
        self.list: list[Child] = []
        self.demand = Demand(config.threads, config.async_slots, config.read_ahead)
        self.lease = Lease()
        # Nothing starts before the first beat.
        self.lease.until = 0.0
        self.jobs: dict[int, Handed] = {}
        """All that are here, or whose outcome has not been fetched."""
        self.waiting: deque[Handed] = deque()
        self.suspects = Suspects()
        self.said = Said(self)
        self.waiting_coroutines = 0
        self.ended: deque[Finished] = deque()
        self.last_handed = time.monotonic()
        self.stopping, self.interrupted, self.vacated = False, "", False
        self.news: deque[Finished | int] = deque(maxlen=NEWS)
        """What plugins are to be told of, by the next child that is there."""

    # What the store's loop calls.

    def open(self) -> None:
        """They are open when there is a child."""

    def start(self, jobs: Sequence[Claimed], claimed_at: float) -> None:
        """Take claimed jobs, to be run in their order as slots get free."""
        with self.lock:
            if not self.waiting:
                self.last_handed = time.monotonic()
            kinds, coroutines = self.demand.kinds, 0
            for job in jobs:
                is_async = kinds.get(job.task, False)
                one = self.jobs[job.id] = Handed(job, claimed_at, is_async)
                if job.suspect:
                    self.suspected(one)
                else:
                    self.waiting.append(one)
                    coroutines += is_async
            self.waiting_coroutines += coroutines
            self.demand.claimed(len(jobs) - coroutines, coroutines)
            if len(self.waiting) <= FEW:
                self.hand_over()
        self.alarm()

    def pending(self) -> bool:
        """Whether there are outcomes to be fetched."""
        return bool(self.ended)

    def outcomes(self) -> list[Finished]:
        """What has ended since the last time."""
        with self.lock:
            found, doubtful = list(self.ended), self.suspects.doubtful
            self.ended.clear()
            for one in found:
                handed = self.jobs.pop(one.id, None)
                if doubtful and one.state.ended:
                    doubtful.discard(one.id)
                if handed is not None:
                    one.job = handed.job
        return found

    def known(self) -> set[int]:
        """The jobs that are here or whose outcome has not been fetched."""
        with self.lock:
            return set(self.jobs)

    def holds(self, id: int) -> bool:
        return id in self.jobs

    def names(self) -> list[str]:
        """The jobs that children have, in words."""
        with self.lock:
            return [one.job.name for child in self.list for one in child.handed.values()]

    def counts(self) -> tuple[int, int]:
        """How many jobs wait, or are in children that take more: in threads, and as coroutines."""
        working = [child for child in self.list if child.working]
        self.demand.threads = len(working) * self.config.threads
        self.demand.async_slots = len(working) * self.config.async_slots
        threads = sum(child.threads for child in working) + len(self.waiting) - self.waiting_coroutines
        return threads, sum(child.coroutines for child in working) + self.waiting_coroutines

    def room(self) -> int:
        """How many more jobs to claim: none while no child is ready.

        Nor while a suspect is to be the only one here: claims would bring others, which had to be given back first.
        """
        with self.lock:
            if self.suspects.next_is_only(self.list):
                return 0
            counts = self.counts()
            return self.demand.room(*counts) if self.demand.threads else 0

    def starving(self) -> bool:
        """Whether slots are, or will soon be, without work."""
        with self.lock:
            return self.demand.starving(*self.counts())

    def idle(self) -> bool:
        """Whether nothing runs, waits or has ended unnoticed. A worker that stops waits for no child to tell news."""
        return not self.jobs and (self.stopping or not self.news)

    def renew(self, until: float, valid_from: float | None) -> None:
        """Let attempts start until then; those whose claims are older than *valid_from* must not start any more."""
        with self.lock:
            if valid_from is not None:
                self.lease.valid_from = valid_from
                self.release_waiting()
            self.lease.until = until
            for child in self.list:
                child.process.page.renew(self.lease)

    def tend(self, now: float) -> float:
        """Let go what waits for too long; when to come again."""
        with self.lock:
            due = float("inf")
            if self.waiting:
                due = self.last_handed + PATIENCE
                if now >= due:
                    self.demand.slow()
                    for one in self.drained(self.waiting):
                        self.let_go(one)
                    self.waiting_coroutines = 0
            if self.suspects:
                # They may have waited for what has just been written.
                self.alarm()
                suspects_due = self.suspects.wait_until(self.list)
                if now < suspects_due:
                    return min(due, suspects_due)
                self.release_suspects(now)
            return due

    def suspected(self, one: Handed) -> None:
        """Take a suspect, to be run alone, or let it go until it is its turn."""
        if (pause := self.suspects.admit(one, self.jobs.values())) is not None:
            self.let_go(one, pause)

    def release_suspects(self, now: float) -> None:
        """Let go of the suspects, for a while: another worker may have room, or a child that starts."""
        with self.lock:
            if self.suspects:
                self.suspects.expect(now, WAIT)
            for one in self.drained(self.suspects):
                self.let_go(one, WAIT)

    def stop(self, id: int, outcome: Outcome, reason: str) -> None:
        """End an attempt: by what its child can do, and if that is in vain by the child's death."""
        with self.lock:
            one = self.jobs.get(id)
            if one is None:
                return
            child = next((child for child in self.list if child.handed.get(one.cell) is one), None)
            if child is not None:
                if one.stop is None:
                    one.stop, one.stopped_at = (outcome, reason), clock()
                child.process.send("stop", [id, outcome, reason])
            elif one in self.suspects:
                self.suspects.remove(one)
                self.let_go(one)
            elif one in self.waiting:
                self.waiting.remove(one)
                self.waiting_coroutines -= one.is_async
                self.let_go(one)
        self.alarm()

    def take_back(self) -> None:
        """Let go of what has not started; children say what of theirs that is."""
        with self.lock:
            if not self.stopping:
                for child in self.list:
                    child.process.send("back")
            self.stopping = True
            self.release_waiting()

    def release_waiting(self) -> None:
        for one in [*self.drained(self.waiting), *self.drained(self.suspects)]:
            self.let_go(one)
        self.waiting_coroutines = 0

    def drained(self, waiting: deque[Handed]) -> list[Handed]:
        found = list(waiting)
        waiting.clear()
        return found

    def interrupt(self, reason: str) -> None:
        """Stop all that runs; children that do not obey are killed (nursery.py)."""
        with self.lock:
            if self.interrupted:
                return
            self.interrupted = reason
            for child in self.list:
                for one in list(child.handed.values()):
                    self.stop(one.job.id, Outcome.INTERRUPTED, reason)
        self.alarm()

    def vacate(self) -> bool:
        """Have the children ended, none of which has a job; whether they are gone."""
        self.vacated = True
        self.alarm()
        return not self.list

    def notify(self, news: Finished | int) -> None:
        """Have a healthy child tell the plugins, as soon as there is one."""
        with self.lock:
            self.news.append(news)
        self.alarm()

    def close(self) -> None:
        """The supervisor ends the children."""

    # What children send.

    def tell(self) -> None:
        """Have a healthy child tell the plugins what there is to be told."""
        with self.lock:
            child = next((child for child in self.list if child.working), None)
            while self.news and child is not None:
                news = self.news.popleft()
                child.process.send("news", news if isinstance(news, int) else unheard_row(news))
                self.wake()

    def hand_over(self) -> None:
        """Hand out what waits to the children that have room, the most urgent first."""
        with self.lock:
            frames: dict[Child, list[Any]] = {}
            # Asked once: whether a child takes jobs changes with the time.
            room = {child: child.room(self.config, self.demand) for child in self.list if child.working}
            skipped: list[Handed] = []
            only = next(iter(room.items())) if len(room) == 1 else None
            # Of functions and of coroutines: how many more can be handed over, and so no more are looked at.
            waiting = len(self.waiting) - self.waiting_coroutines, self.waiting_coroutines
            left = [min(sum(free[kind] for free in room.values()), waiting[kind]) for kind in (False, True)]
            while self.waiting and (left[0] > 0 or left[1] > 0):
                one = self.waiting.popleft()
                child, free = only or max(room.items(), key=lambda item: min(item[1][one.is_async], item[1][2]))
                if free[one.is_async] <= 0 or free[2] <= 0:
                    skipped.append(one)
                    if len(skipped) > self.config.read_ahead:
                        break
                    continue
                free[one.is_async] -= 1
                free[2] -= 1
                left[one.is_async] -= 1
                self.waiting_coroutines -= one.is_async
                self.give(child, one, frames)
            self.waiting.extendleft(reversed(skipped))
            for child in self.list:
                if self.suspects and child.takes_suspect:
                    self.give_alone(child, frames)
            self.send(frames)

    def send(self, frames: dict[Child, list[Any]]) -> None:
        """Send the children what was given to them."""
        for child, rows in frames.items():
            self.last_handed = time.monotonic()
            child.sends()
            child.process.hand("jobs", rows)

    def give_alone(self, child: Child, frames: dict[Child, list[Any]]) -> None:
        """Hand a suspect to a child for such; one that other jobs may have spoilt needs a new child."""
        if may_end_workers(self.suspects[0].job) and (self.ended or not self.written()):
            # Those that were let go for it are not back yet.
            return
        if self.suspects[0].job.id in self.suspects.doubtful and child.given:
            child.leaving = "a suspect needs a new one"
            self.alarm()
            return
        self.suspects.moved_at = time.monotonic()
        self.give(child, self.suspects.popleft(), frames)
        # Others are claimed again.
        self.wake()

    def give(self, child: Child, one: Handed, frames: dict[Child, list[Any]]) -> None:
        child.take(one)
        frames.setdefault(child, []).append((one.cell, one.claimed_at, tuple(one.job)))

    def heard(self, child: Child, kind: str, body: Any) -> None:
        """Take in a frame of a child that is ready. Raises BadFrame, and has changed nothing then."""
        if kind == "succeeded":
            self.succeeded(child, successes_from(body, child))
        elif kind == "ended":
            self.took(child, ended_from(body, child))
        elif kind == "completed":
            one, finished = completed_from(body, child)
            one.completed = finished
        elif kind == "kinds":
            kinds = kinds_from(body, child)
            child.taught.update(kinds)
            self.demand.learn(kinds)
        elif kind == "parameters":
            self.said.heard(child, body)
        else:
            raise BadFrame(f"unknown kind {kind[:SHOWN]!r}")

    def succeeded(self, child: Child, successes: list[Success]) -> None:
        """Take in the successes that a child has sent: most of all outcomes, so this is short."""
        counts, micros = [0, 0], [0, 0]
        for one, took, result, keep in successes:
            child.drop(one)
            job = one.job
            finished = Finished.succeeded(job.id, job.token, took / 1e6, result, keep, job.attempt + 1)
            finished.child, finished.job = child, job
            self.ended.append(finished)
            counts[one.is_async] += 1
            micros[one.is_async] += took
        child.idle_since = child.ended_at = time.monotonic()
        for is_async in (False, True):
            if counts[is_async]:
                self.demand.took(is_async, micros[is_async] / counts[is_async] / 1e6, counts[is_async])

    def took(self, child: Child, outcomes: list[tuple[Handed, Finished]]) -> None:
        """Take in the other outcomes that a child has sent."""
        child.idle_since = child.ended_at = time.monotonic()
        for one, finished in outcomes:
            if one.cell in child.withdrawn:
                child.lets_go(one.cell)
                continue
            child.drop(one)
            if not finished.started and finished.message is None and finished.state is State.READY:
                if not (self.stopping or child.leaving):
                    # No slot got free there.
                    self.demand.slow(one.is_async)
                # It may have been written over: then the child would start nothing until the next beat.
                child.process.page.renew(self.lease)
                self.returned(one)
                continue
            if finished.started:
                self.demand.took(one.is_async, finished.seconds)
            if one.job.suspect and finished.outcome is Outcome.INTERRUPTED:
                # It has not shown that it does no harm.
                finished.suspect = True
            finished.child = child
            self.ended.append(finished)

    def returned(self, one: Handed) -> None:
        """A job that its child has not started: another child may, unless its claim may have lapsed."""
        one.stop = None
        if self.stopping or not self.lease.holds(one.claimed_at):
            self.let_go(one)
        elif one.job.suspect:
            self.suspects.add(one)
        else:
            self.waiting.appendleft(one)
            self.waiting_coroutines += one.is_async

    def let_go(self, one: Handed, delay: float | None = None) -> None:
        """Give a job back that has not started: it costs it nothing."""
        finished = released(one.job, delay)
        self.ended.append(finished)
        self.wake()

    def adopt(self, child: Child) -> None:
        """Have a new child."""
        with self.lock:
            child.process.page.renew(self.lease)
            self.list.append(child)
