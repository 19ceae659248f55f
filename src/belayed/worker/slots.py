"""Where attempts run: threads for `def` jobs and one event loop for `async def` jobs, all in this process."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from belayed.claim import Claimed, Finished, Running
from belayed.connections.leftovers import leftovers
from belayed.job import Outcome
from belayed.payload import registry
from belayed.safelog import last_words, name_of, shown
from belayed.worker.apart import Apart
from belayed.worker.attempt import Attempts, Ready
from belayed.worker.backlog import STALL, Backlog
from belayed.worker.copies import end_copy, end_instead, keep_from_copies
from belayed.worker.demand import PATIENCE, Demand
from belayed.worker.loopslots import LoopSlots
from belayed.worker.news import News
from belayed.worker.page import Lease
from belayed.worker.prints import end_lines
from belayed.worker.saying import HANGS, Hanging, Said, Saying, hanging
from belayed.worker.silence import always, never, nothing
from belayed.worker.standstill import Standstill
from belayed.worker.threadslot import ThreadSlot
from belayed.worker.verdict import released, untold


class Slots:
    """Slots in this process. `wake` is called when an outcome is there, `broke` when a slot has died.

    `mark` and then `began` are called when a job starts, in its thread, before anything of it is looked at; it does not
    start where `mark` says no. `done_with` is called when its code has ended. `began` logs: what it raises changes
    nothing. While `is_quiet` says so, no start is to be logged; that asks nothing of logging.
    """

    def __init__(
        self,
        attempts: Attempts,
        *,
        threads: int,
        async_slots: int,
        read_ahead: int,
        patience: float = PATIENCE,
        lease: Lease | None = None,
        apart: bool = True,
    ) -> None:
        self.attempts, self.patience, self.pid = attempts, patience, os.getpid()
        attempts.learn = self.learn
        keep_from_copies(self)
        self.wake: Callable[[], None] = nothing
        self.mark: Callable[[int], bool] = always
        self.began: Callable[[Claimed], None] = nothing
        self.done_with: Callable[[Finished], None] = nothing
        self.is_quiet: Callable[[], bool] = never
        self.look_at = float("-inf")
        self.look: Callable[[], None] = nothing
        self.broke: Callable[[], None] = nothing
        self.stuck: Callable[[Claimed, float], None] = nothing
        self.waiting = Backlog(threads, attempts.jobs.resting)
        self.threads = [ThreadSlot(self, number) for number in range(1, threads + 1)]
        self.given_up: list[ThreadSlot] = []
        """Threads that hang in what is called around a job."""
        self.broken = ""
        """Why no more jobs can be run here."""
        self.written: Callable[[], bool] = always
        self.apart = Apart() if apart else None
        """Holds back suspects until nothing else runs; where a supervisor does that, they run as they come."""
        self.news = News(attempts.jobs)
        self.loop = LoopSlots(self, async_slots)
        self.standstill = Standstill(self.loop, patience, withdraws=apart)
        self.demand = Demand(threads, async_slots, read_ahead)
        self.ended: deque[Finished] = deque()
        self.lease = lease or Lease()
        self.last_start = time.monotonic()
        self.claimed_at: dict[int, float] = {}
        """The jobs that are here or whose outcome has not been fetched, and when their claims were asked for."""
        self.stops: dict[int, tuple[Outcome, str]] = {}
        """Of those the ones that were stopped: one that has not started must not, and one that starts looks here."""

    def open(self) -> None:
        last_words.keep()
        self.demand.learn({name: one.is_async for name, one in registry.items()})
        for slot in self.threads:
            slot.thread.start()

    def start(self, jobs: Sequence[Claimed], claimed_at: float) -> None:
        """Take claimed jobs, to be run in their order as slots get free."""
        for job in jobs:
            self.claimed_at[job.id] = claimed_at
        if self.apart is not None:
            jobs, others, delay = self.apart.sorted(jobs, time.monotonic())
            for job in others:
                self.let_go(job, delay)
        self.dispatch(jobs)

    def dispatch(self, jobs: Sequence[Claimed]) -> None:
        """Have jobs run by those that can."""
        coroutines, functions = [], []
        for job in jobs:
            if self.is_async(job.task):
                coroutines.append((job, None, None))
            else:
                functions.append(job)
        self.demand.claimed(len(functions), len(coroutines))
        if functions:
            if not self.waiting:
                self.last_start = time.monotonic()
            self.waiting.add(functions, self.demand.threads_pace.seconds)
        if coroutines:
            self.loop.add(coroutines)

    def is_async(self, name: str) -> bool:
        """Whether a job is known to be a coroutine: as one like it has been, or as a task says of itself."""
        known = self.demand.kinds.get(name)
        if known is None and name in registry:
            self.demand.learn({name: registry[name].is_async})
            return registry[name].is_async
        return bool(known)

    def learn(self, claimed: Claimed, is_async: bool) -> None:
        """Take note that jobs like this one are coroutines, or are none."""
        self.demand.learn({claimed.task: is_async})

    def hand_over(self, run: Running, ready: Ready) -> None:
        """Give a job that a thread found to be a coroutine to the event loop."""
        id = run.claimed.id
        leftovers.handed_over(run)
        self.learn(run.claimed, True)
        self.loop.add([(run.claimed, run, ready)])
        if (stop := self.stops.get(id)) is not None:
            # It came while neither the thread nor the event loop knew of the job.
            self.loop.stop(id, *stop)
        elif run.deadline is not None and run.deadline < self.look_at:
            self.look()

    def end_copy(self, error: BaseException | None) -> None:
        """End this process if a job has forked it, and its copy of the job has come to its end."""
        if os.getpid() != self.pid:
            end_copy(error)

    def leave_copy(self) -> None:
        """Let a copy run nothing but the code that has forked it, whoever has."""
        end_instead(self, ["begins", "done", "tend"])
        for slot in self.threads:
            # Another thread may have held it.
            slot.lock = threading.Lock()

    def done(self, claimed: Claimed, finished: Finished, saying: Saying, is_async: bool) -> None:
        """Take an outcome, unless it took so long to find it that the thread was given up."""
        finished.job = claimed
        if claimed.suspect and finished.outcome is Outcome.INTERRUPTED:
            # It has not shown that it does no harm.
            finished.suspect = True
        if saying.conclude():
            self.over(finished, is_async)

    def over(self, finished: Finished, is_async: bool) -> None:
        """Pass on the outcome of an attempt that had begun: all of them come by here.

        A supervisor believes none before it has seen that the code has ended.
        """
        end_lines(finished.id)
        self.done_with(finished)
        self.demand.took(is_async, finished.seconds)
        self.ended.append(finished)
        self.wake()

    def died(self, name: str, claimed: Claimed | None, error: BaseException) -> None:
        """A thread that runs jobs has ended by an error, while it had *claimed*: this worker is not sound any more.

        To start another thread instead would hide what is wrong, and what died may have held a lock.
        """
        self.broken = self.broken or f"{name} died of {name_of(error)}"
        last_words.say(f"belayed: {name} died, so this process ends: {shown(error)}")
        self.broke()
        if claimed is not None and claimed.id in self.claimed_at:
            is_async = self.is_async(claimed.task)
            self.over(untold(claimed, 0.0, error, self.attempts.config), is_async)
        if self.loop.dead():
            # Nothing of it can go on.
            self.ended.extend(map(released, self.loop.abandon()))
        self.wake()

    def pending(self) -> bool:
        """Whether there are outcomes to be fetched."""
        return bool(self.ended)

    def outcomes(self) -> list[Finished]:
        """What has ended since the last time."""
        found = []
        while self.ended:
            one = self.ended.popleft()
            self.claimed_at.pop(one.id, None)
            self.stops.pop(one.id, None)
            found.append(one)
        return found

    def known(self) -> set[int]:
        """The jobs that are here or whose outcome has not been fetched."""
        return set(self.claimed_at)

    def holds(self, id: int) -> bool:
        return id in self.claimed_at

    def names(self) -> list[str]:
        """The jobs that run, in words."""
        return [run.claimed.name for run in (*self.running(), *self.judged())]

    def counts(self) -> tuple[int, int]:
        """How many jobs run or wait in threads and in the event loop."""
        return sum(slot.run is not None for slot in self.threads) + len(self.waiting), len(self.loop)

    def room(self) -> int:
        """How many more jobs to claim."""
        if self.broken or self.standstill.is_quiet:
            return 0
        room = self.demand.room(*self.counts())
        return room if self.apart is None else self.apart.room(room, len(self.claimed_at))

    def starving(self) -> bool:
        """Whether slots are, or will soon be, without work."""
        return self.demand.starving(*self.counts())

    def idle(self) -> bool:
        """Whether nothing runs, waits or has ended unnoticed."""
        return not self.claimed_at and not self.ended

    def begins(self, claimed: Claimed, saying: Saying) -> bool:
        """Let an attempt start and log it, unless its claim may have lapsed or it was stopped: then let the job go."""
        id = claimed.id
        if id in self.stops or not self.lease.holds(self.claimed_at.get(id, 0.0)) or not self.mark(id):
            self.let_go(claimed)
            return False
        return self.is_quiet() or saying.say(self.began, claimed)

    def let_go(self, claimed: Claimed, delay: float | None = None) -> None:
        """Give a job back that has not started: it costs it nothing."""
        finished = released(claimed, delay)
        self.ended.append(finished)
        self.wake()

    def renew(self, until: float, valid_from: float | None) -> None:
        """Let attempts start until then; those whose claims are older than *valid_from* must not start any more."""
        if valid_from is not None:
            self.lease.valid_from = valid_from
            self.take_back()
        self.lease.until = until

    def tend(self, now: float) -> float:
        """Stop what is over its time, let go what waits for too long; when to come again."""
        due = self.expire(now)
        self.unhang(now)
        for run in self.judged():
            if run.deadline is not None and now > run.deadline + HANGS:
                self.stuck(run.claimed, now - run.begun)
        if self.apart is not None:
            due = min(due, self.tend_apart(self.apart, now))
        stale, loop_due = self.standstill.release(now)
        if stale:
            self.demand.slow(is_async=True)
        for job in stale:
            self.let_go(job, self.standstill.delay)
        due = min(due, loop_due, self.loop.saying.due(), *(slot.saying.due() for slot in self.threads))
        if self.waiting:
            if now >= self.last_start + self.patience:
                self.demand.slow()
                self.release_waiting()
            elif now >= self.last_start + STALL:
                self.waiting.call()
                due = min(due, self.last_start + self.patience)
            else:
                due = min(due, self.last_start + STALL)
        return due

    def tend_apart(self, apart: Apart, now: float) -> float:
        """Run the suspect that waits, once nothing else is here, or let it go."""
        if apart.waiting is None:
            return float("inf")
        alone = len(self.claimed_at) == 1 and not self.ended and self.written()
        if alone:
            self.dispatch([apart.taken()])
        elif now >= apart.due:
            self.let_go(*apart.passed_over(now))
        return apart.due

    def unhang(self, now: float) -> None:
        """Go on without the threads that hang in what is called around jobs: outcomes are known, or there are none."""
        for number, slot in enumerate(self.threads):
            if (said := slot.saying.hung(now)) is not None:
                self.resolve(said, is_async=False)
                self.given_up = [one for one in self.given_up if one.thread.is_alive()]
                self.given_up.append(slot)
                if len(self.given_up) > len(self.threads):
                    self.died(slot.thread.name, None, Hanging("what is called around jobs hangs"))
                    return
                other = self.threads[number] = ThreadSlot(self, number + 1)
                other.thread.start()
        if (said := self.loop.saying.hung(now)) is not None:
            self.resolve(said, is_async=True)
            self.died("the event loop", None, Hanging("what is called around a job hangs"))

    def resolve(self, said: Said, is_async: bool) -> None:
        """Take the outcome of a job whose thread was given up; one that had not begun goes back."""
        claimed, about = said
        last_words.say(f"belayed: {hanging(said)}: belayed goes on without its thread ({claimed.name})")
        if about is None:
            self.loop.tasks.pop(claimed.id, None)
            self.let_go(claimed)
            return
        finished = self.attempts.outcome_of(about)
        finished.job = claimed
        self.over(finished, is_async)

    def take_back(self) -> None:
        """Let go of the jobs that wait: they will not start here."""
        self.release_waiting()
        if self.apart is not None and self.apart.waiting is not None:
            self.ended.append(released(self.apart.taken()))
        self.ended.extend(map(released, self.loop.release()))

    def release_waiting(self) -> None:
        """Let go of the jobs that no thread has taken: another worker may have one free."""
        self.ended.extend(map(released, self.waiting.release()))

    def running(self) -> list[Running]:
        """The attempts that run now."""
        threads = [run for slot in self.threads if (run := slot.run) is not None]
        return [*threads, *self.loop.running()]

    def judged(self) -> list[Running]:
        """The attempts whose code has ended, but not what is called at their end: it cannot be stopped here."""
        found = [saying.judging() for saying in (*(slot.saying for slot in self.threads), self.loop.saying)]
        return [run for run in found if run is not None]

    def stop(self, id: int, outcome: Outcome, reason: str) -> None:
        """End an attempt from outside: by an exception in its thread, or by cancelling its coroutine."""
        if id in self.claimed_at:
            # First of all: what starts now, or is handed over, can be stopped either here or there.
            self.stops.setdefault(id, (outcome, reason))
        if not any(slot.stop(id, outcome, reason) for slot in self.threads):
            self.loop.stop(id, outcome, reason)

    def interrupt(self, reason: str) -> None:
        """Stop all that runs. What does not end keeps its claim: to release it would run it twice."""
        for run in self.running():
            if run.stopping is None:
                self.stop(run.claimed.id, Outcome.INTERRUPTED, reason)
            else:
                self.stuck(run.claimed, time.monotonic() - run.begun)
        for run in self.judged():
            self.stuck(run.claimed, time.monotonic() - run.begun)

    def expire(self, now: float) -> float:
        """Stop the attempts whose time is over; when the next one's is. From any thread."""
        due = float("inf")
        for run in self.running():
            if run.deadline is None or run.stopping is not None:
                continue
            if now > run.deadline:
                limit = run.deadline - run.begun
                self.stop(run.claimed.id, Outcome.TIMED_OUT, f"stopped after max_run_time, {limit:g} s")
            else:
                due = min(due, run.deadline)
        return due

    def vacate(self) -> bool:
        """Nothing can be ended here."""
        return True

    def notify(self, news: Finished | int) -> None:
        """Tell the plugins."""
        self.news.tell(news)

    def close(self) -> None:
        """End the threads that are free; those whose job will not end stay behind."""
        self.news.told()
        self.waiting.close()
        for slot in self.threads:
            if slot.run is None and slot.thread.is_alive():
                slot.thread.join(5)
        self.loop.close()
