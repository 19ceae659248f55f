"""Where attempts run: threads for `def` jobs and one event loop for `async def` jobs, all in this process."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from belayed.claim import Claimed, Finished, Running
from belayed.errors import AttemptStopped
from belayed.job import Outcome, State
from belayed.payload import Loaded, registry
from belayed.worker.attempt import Attempts
from belayed.worker.backlog import STALL, Backlog
from belayed.worker.demand import PATIENCE, Demand
from belayed.worker.news import News
from belayed.worker.page import Lease

log = logging.getLogger("belayed")

set_async_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc


class ThreadSlot:
    """A thread that runs one `def` job after the other."""

    def __init__(self, slots: Slots, number: int) -> None:
        self.slots = slots
        self.run: Running | None = None
        self.lock = threading.Lock()
        # A daemon: a job that will not end must not keep the process from ending.
        self.thread = threading.Thread(target=self.work, name=f"belayed-slot-{number}", daemon=True)

    def work(self) -> None:
        while (claimed := self.slots.waiting.take()) is not None:
            contextvars.Context().run(self.attempt, claimed)

    def attempt(self, claimed: Claimed) -> None:
        """Run one job to its outcome. A stop that arrives after its end is swallowed here, never by the next job."""
        slots = self.slots
        # Before a stop can come: one that came within the logging would leave its lock taken for ever.
        if not slots.begin(claimed):
            return
        run = slots.attempts.begun(claimed)
        loaded: Loaded | None = None
        value: Any = None
        error: BaseException | None = None
        try:
            self.run = run
            slots.last_start = run.begun
            loaded = slots.attempts.load(run)
            if not loaded.is_async:
                value, error = slots.attempts.run(run, loaded)
        except BaseException as raised:
            error = raised
        # No stop gets through from here on. One that was sent is caught here: another takes its place, or follows it if
        # it has come already. (To clear it with NULL leaves CPython looking for it for ever: 3.12 is slower from then
        # on, and 3.11 hangs as soon as anything traces.) Not a function of its own: the stop could come at its first
        # instruction, outside of its `try`, and end the thread.
        caught = False
        while True:
            try:
                with self.lock:
                    self.run = None
                if run.stopping is not None and not caught:
                    set_async_exception(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(AttemptStopped))
                    while True:
                        pass
                break
            except AttemptStopped:
                caught = True
        # The verdict comes after: a stop within it would change what has been decided.
        if loaded is not None and loaded.is_async and error is None:
            run.stopping = None
            slots.hand_over(run, loaded)
            return
        slots.done(claimed, slots.attempts.told(run, loaded, value, error), is_async=False)

    def stop(self, id: int, outcome: Outcome, reason: str) -> bool:
        """Raise AttemptStopped in the job, if it is this one and was not stopped before."""
        with self.lock:
            run = self.run
            if run is None or run.claimed.id != id or run.stopping is not None:
                return False
            run.stopping, run.reason = outcome, reason
            set_async_exception(ctypes.c_ulong(self.thread.ident or 0), ctypes.py_object(AttemptStopped))
            return True


class LoopSlots:
    """An event loop in a thread that runs `async def` jobs, a number at a time."""

    def __init__(self, slots: Slots, size: int) -> None:
        self.slots, self.size = slots, size
        self.waiting: deque[tuple[Claimed, Running | None, Loaded | None]] = deque()
        self.tasks: dict[int, tuple[Running, asyncio.Task[None]]] = {}
        self.lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None
        self.closing = False

    def __len__(self) -> int:
        return len(self.waiting) + len(self.tasks)

    def add(self, items: Iterable[tuple[Claimed, Running | None, Loaded | None]]) -> None:
        with self.lock:
            if self.loop is None:
                ready = threading.Event()
                self.thread = threading.Thread(target=self.serve, args=(ready,), name="belayed-loop", daemon=True)
                self.thread.start()
                ready.wait()
        assert self.loop is not None
        self.waiting.extend(items)
        self.loop.call_soon_threadsafe(self.pump)

    def serve(self, ready: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self.loop = runner.get_loop()
            self.loop.call_soon(ready.set)
            while not self.closing:
                try:
                    self.loop.run_forever()
                except BaseException:
                    # A SystemExit in a task that a job has started leaves the event loop; the other jobs go on.
                    log.exception("a task that some job has started left the event loop, which goes on")
            runner.run(self.slots.attempts.jobs.aclose())

    def pump(self) -> None:
        """Start what waits while there is a slot."""
        while self.waiting and len(self.tasks) < self.size:
            try:
                claimed, run, loaded = self.waiting.popleft()
            except IndexError:
                return
            run = run or self.slots.attempts.begun(claimed)
            assert self.loop is not None
            # A context of its own: this may be called in that of the job that has just ended.
            task = self.loop.create_task(self.attempt(run, loaded), context=contextvars.Context())
            self.tasks[claimed.id] = run, task

    async def attempt(self, run: Running, loaded: Loaded | None) -> None:
        slots = self.slots
        value: Any = None
        error: BaseException | None = None
        # A thread that found it to be a coroutine has begun it.
        if loaded is None and not slots.begin(run.claimed):
            del self.tasks[run.claimed.id]
            return
        try:
            if loaded is None:
                loaded = await slots.attempts.aload(run)
            value, error = await slots.attempts.arun(run, loaded)
        except BaseException as raised:
            error = raised
        del self.tasks[run.claimed.id]
        slots.done(run.claimed, slots.attempts.told(run, loaded, value, error), is_async=True)
        self.pump()

    def stop(self, id: int, outcome: Outcome, reason: str) -> None:
        """Cancel the job's coroutine."""
        if self.loop is not None and id in self.tasks:
            self.loop.call_soon_threadsafe(self.cancel, id, outcome, reason)

    def cancel(self, id: int, outcome: Outcome, reason: str) -> None:
        if (found := self.tasks.get(id)) and found[0].stopping is None:
            found[0].stopping, found[0].reason = outcome, reason
            found[1].cancel()

    def close(self) -> None:
        if self.loop is not None and self.thread is not None and self.thread.is_alive():
            self.closing = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(5)


class Slots:
    """Slots in this process. `wake` is called when an outcome is there.

    `mark` and then `began` are called when a job starts, in its thread, before anything of it is looked at;
    `done_with` when its code has ended.
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
    ) -> None:
        self.attempts, self.patience = attempts, patience
        self.wake: Callable[[], None] = nothing
        self.mark: Callable[[int], None] = nothing
        self.began: Callable[[Claimed], None] = nothing
        self.done_with: Callable[[Finished], None] = nothing
        self.stuck: Callable[[Claimed, float], None] = nothing
        self.waiting = Backlog(threads)
        self.threads = [ThreadSlot(self, number) for number in range(1, threads + 1)]
        self.news = News(attempts.jobs)
        self.loop = LoopSlots(self, async_slots)
        self.demand = Demand(threads, async_slots, read_ahead)
        self.ended: deque[Finished] = deque()
        self.lease = lease or Lease()
        self.last_start = time.monotonic()
        self.claimed_at: dict[int, float] = {}
        """The jobs that are here or whose outcome has not been fetched, and when their claims were asked for."""
        self.forbidden: set[int] = set()
        """Those that must not start: they were stopped while they waited."""

    def open(self) -> None:
        self.demand.learn({name: one.is_async for name, one in registry.items()})
        for slot in self.threads:
            slot.thread.start()

    def start(self, jobs: Sequence[Claimed], claimed_at: float) -> None:
        """Take claimed jobs, to be run in their order as slots get free."""
        coroutines, functions = [], []
        for job in jobs:
            self.claimed_at[job.id] = claimed_at
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

    def hand_over(self, run: Running, loaded: Loaded) -> None:
        """Give a job that a thread found to be a coroutine to the event loop."""
        self.demand.learn({run.claimed.task: True})
        self.loop.add([(run.claimed, run, loaded)])

    def done(self, claimed: Claimed, finished: Finished, is_async: bool) -> None:
        finished.job = claimed
        self.done_with(finished)
        self.demand.took(is_async, finished.seconds)
        self.ended.append(finished)
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
            self.forbidden.discard(one.id)
            found.append(one)
        return found

    def known(self) -> set[int]:
        """The jobs that are here or whose outcome has not been fetched."""
        return set(self.claimed_at)

    def holds(self, id: int) -> bool:
        return id in self.claimed_at

    def counts(self) -> tuple[int, int]:
        """How many jobs run or wait in threads and in the event loop."""
        return sum(slot.run is not None for slot in self.threads) + len(self.waiting), len(self.loop)

    def room(self) -> int:
        """How many more jobs to claim."""
        return self.demand.room(*self.counts())

    def starving(self) -> bool:
        """Whether slots are, or will soon be, without work."""
        return self.demand.starving(*self.counts())

    def idle(self) -> bool:
        """Whether nothing runs, waits or has ended unnoticed."""
        return not self.claimed_at and not self.ended

    def begin(self, claimed: Claimed) -> bool:
        """Let an attempt start, unless its claim may have lapsed or it was stopped before: then the job is let go."""
        id = claimed.id
        if id in self.forbidden or not self.lease.holds(self.claimed_at.get(id, 0.0)):
            self.let_go(claimed)
            return False
        self.mark(id)
        self.began(claimed)
        return True

    def let_go(self, claimed: Claimed) -> None:
        self.ended.append(released(claimed))
        self.wake()

    def renew(self, until: float, valid_from: float | None) -> None:
        """Let attempts start until then; those whose claims are older than *valid_from* must not start any more."""
        if valid_from is not None:
            self.lease.valid_from = valid_from
            self.take_back()
        self.lease.until = until

    def tend(self, now: float) -> float:
        """Stop what is over its time, let go what waits for too long; when to come again."""
        self.expire(now)
        due = [run.deadline for run in self.running() if run.deadline is not None and run.stopping is None]
        if self.waiting:
            if now >= self.last_start + self.patience:
                self.demand.slow()
                self.release_waiting()
            elif now >= self.last_start + STALL:
                self.waiting.call()
                due.append(self.last_start + self.patience)
            else:
                due.append(self.last_start + STALL)
        return min(due, default=float("inf"))

    def take_back(self) -> None:
        """Let go of the jobs that wait: they will not start here."""
        self.release_waiting()
        while self.loop.waiting:
            try:
                claimed, _, _ = self.loop.waiting.popleft()
            except IndexError:
                break
            self.ended.append(released(claimed))

    def release_waiting(self) -> None:
        """Let go of the jobs that no thread has taken: another worker may have one free."""
        self.ended.extend(map(released, self.waiting.release()))

    def running(self) -> list[Running]:
        """The attempts that run now."""
        threads = [run for slot in self.threads if (run := slot.run) is not None]
        return [*threads, *(run for run, _ in list(self.loop.tasks.values()))]

    def stop(self, id: int, outcome: Outcome, reason: str) -> None:
        """End an attempt from outside: by an exception in its thread, or by cancelling its coroutine."""
        if any(slot.stop(id, outcome, reason) for slot in self.threads):
            return
        if id in self.loop.tasks:
            self.loop.stop(id, outcome, reason)
        elif id in self.claimed_at:
            self.forbidden.add(id)

    def interrupt(self, reason: str) -> None:
        """Stop all that runs. What does not end keeps its claim: to release it would run it twice."""
        for run in self.running():
            if run.stopping is None:
                self.stop(run.claimed.id, Outcome.INTERRUPTED, reason)
            else:
                self.stuck(run.claimed, time.monotonic() - run.begun)

    def expire(self, now: float) -> None:
        """Stop the attempts whose time is over."""
        for run in self.running():
            if run.deadline is not None and now > run.deadline and run.stopping is None:
                limit = run.deadline - run.begun
                self.stop(run.claimed.id, Outcome.TIMED_OUT, f"stopped after max_run_time, {limit:g} s")

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


def nothing(*_args: object) -> None:
    """What is called where nobody listens."""


def released(job: Claimed) -> Finished:
    """A job that goes back without having been run: it costs it nothing."""
    finished = Finished(job.id, job.token, Outcome.INTERRUPTED, State.READY, started=False, suspect=job.suspect)
    finished.job = job
    return finished
