"""Where attempts run: threads for `def` jobs and one event loop for `async def` jobs, all in this process."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from belayed.claim import Claimed, Finished, Running
from belayed.errors import AttemptStopped
from belayed.job import Outcome
from belayed.payload import Loaded, registry
from belayed.worker.attempt import Attempts

log = logging.getLogger("belayed")

AHEAD = 0.05
"""Seconds of work to hold ready beyond what runs: about the time of a few turns at the store."""
PROBE = 10
"""Claims to try for coroutines while every thread is busy."""
PATIENCE = 1.0
"""Seconds that a claimed job waits for a thread before it goes back."""
set_async_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc


class Pace:
    """How long attempts of one kind take: a moving average."""

    def __init__(self) -> None:
        self.seconds: float | None = None

    def took(self, seconds: float) -> None:
        self.seconds = seconds if self.seconds is None else 0.9 * self.seconds + 0.1 * seconds

    def target(self, slots: int, most: int) -> int:
        """How many jobs to hold so that *slots* stay busy for a while: long ones get exactly the slots."""
        if self.seconds is None:
            return slots
        return min(slots + math.floor(slots * AHEAD / max(self.seconds, 1e-6)), max(slots, most))


class ThreadSlot:
    """A thread that runs one `def` job after the other."""

    def __init__(self, slots: Slots, number: int) -> None:
        self.slots = slots
        self.run: Running | None = None
        self.lock = threading.Lock()
        # A daemon: a job that will not end must not keep the process from ending.
        self.thread = threading.Thread(target=self.work, name=f"belayed-slot-{number}", daemon=True)

    def work(self) -> None:
        while (claimed := self.slots.waiting.get()) is not None:
            contextvars.Context().run(self.attempt, claimed)

    def attempt(self, claimed: Claimed) -> None:
        """Run one job to its outcome. A stop that arrives after its end is swallowed here, never by the next job."""
        slots = self.slots
        # Before a stop can come: one that came within the logging would leave its lock taken for ever.
        slots.began(claimed)
        run = slots.attempts.begun(claimed)
        loaded: Loaded | None = None
        value: Any = None
        error: BaseException | None = None
        try:
            self.run = run
            slots.last_start = run.begun
            if slots.lapsed():
                raise AttemptStopped("interrupted", "the claim may have lapsed before the attempt began")
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
        finished = slots.attempts.told(run, loaded, value, error)
        slots.threads_pace.took(finished.seconds)
        slots.done(finished)

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
        try:
            if slots.lapsed():
                raise AttemptStopped("interrupted", "the claim may have lapsed before the attempt began")
            if loaded is None:
                # A thread that found it to be a coroutine has said so.
                slots.began(run.claimed)
                loaded = await slots.attempts.aload(run)
            value, error = await slots.attempts.arun(run, loaded)
        except BaseException as raised:
            error = raised
        del self.tasks[run.claimed.id]
        finished = slots.attempts.told(run, loaded, value, error)
        slots.loop_pace.took(finished.seconds)
        slots.done(finished)
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
    """The slots of one worker. `wake` is called when an outcome is there, `began` when a job starts, in its thread."""

    def __init__(
        self,
        attempts: Attempts,
        *,
        threads: int,
        async_slots: int,
        read_ahead: int,
        wake: Callable[[], None],
        began: Callable[[Claimed], None],
    ) -> None:
        self.attempts, self.most, self.wake, self.began = attempts, read_ahead, wake, began
        self.waiting: queue.SimpleQueue[Claimed | None] = queue.SimpleQueue()
        self.threads = [ThreadSlot(self, number) for number in range(1, threads + 1)]
        self.loop = LoopSlots(self, async_slots)
        self.ended: deque[Finished] = deque()
        self.are_async: dict[str, bool] = {}
        self.async_share = 0.0
        self.threads_pace, self.loop_pace = Pace(), Pace()
        self.lease_until = math.inf
        """When the claims may have lapsed, on the monotonic clock: no attempt begins after it."""
        self.last_start = time.monotonic()
        self.probe_at = 0.0
        self.held: set[int] = set()
        """The jobs that have been started here and whose outcome has not been fetched."""

    def open(self) -> None:
        for slot in self.threads:
            slot.thread.start()

    def start(self, jobs: Iterable[Claimed]) -> None:
        """Take claimed jobs, to be run in their order as slots get free."""
        coroutines = []
        if not self.waiting.qsize():
            self.last_start = time.monotonic()
        for job in jobs:
            self.held.add(job.id)
            is_async = self.is_async(job.task)
            self.async_share = 0.98 * self.async_share + (0.02 if is_async else 0.0)
            if is_async:
                coroutines.append((job, None, None))
            else:
                self.waiting.put(job)
        if coroutines:
            self.loop.add(coroutines)

    def is_async(self, name: str) -> bool:
        """Whether a job is known to be a coroutine: as one like it has been, or as a task says of itself."""
        known = self.are_async.get(name)
        return registry[name].is_async if known is None and name in registry else bool(known)

    def hand_over(self, run: Running, loaded: Loaded) -> None:
        """Give a job that a thread found to be a coroutine to the event loop."""
        self.are_async[run.claimed.task] = True
        self.loop.add([(run.claimed, run, loaded)])

    def done(self, finished: Finished) -> None:
        self.ended.append(finished)
        self.wake()

    def outcomes(self) -> list[Finished]:
        """What has ended since the last time."""
        found = []
        while self.ended:
            one = self.ended.popleft()
            self.held.discard(one.id)
            found.append(one)
        return found

    def room(self) -> int:
        """How many more jobs to claim."""
        busy = sum(slot.run is not None for slot in self.threads)
        threads = self.threads_pace.target(len(self.threads), self.most) - busy - self.waiting.qsize()
        share = self.async_share
        loop = self.loop_pace.target(self.loop.size, self.most) - len(self.loop)
        if share > 0.99:
            return max(0, min(loop, self.most))
        if threads <= 0 < loop:
            # Every thread is busy, perhaps for hours: a few claims show whether coroutines wait behind.
            if time.monotonic() < self.probe_at or not (share or any(one.is_async for one in registry.values())):
                return 0
            return max(0, min(loop, PROBE - self.waiting.qsize()))
        if share < 0.01:
            return max(0, min(threads, self.most))
        return max(0, min(int(threads / (1 - share)), int(loop / share), self.most))

    def overdue_at(self) -> float | None:
        """When jobs that wait behind long ones are to go back; None: no job waits."""
        return self.last_start + PATIENCE if self.waiting.qsize() else None

    def overdue(self, now: float) -> list[Claimed]:
        """The `def` jobs that no thread has got free for: another worker may have one."""
        if not self.waiting.qsize() or now < self.last_start + PATIENCE:
            return []
        self.threads_pace.seconds = max(self.threads_pace.seconds or 0.0, PATIENCE)
        self.probe_at = now + 5 * PATIENCE
        return self.taken(self.waiting)

    def starving(self) -> bool:
        """Whether slots are, or will soon be, without work."""
        return self.waiting.qsize() <= len(self.threads) and len(self.loop.waiting) <= self.loop.size // 4

    def idle(self) -> bool:
        """Whether nothing runs, waits or has ended unnoticed."""
        return not self.held and not self.ended

    def lapsed(self) -> bool:
        return time.monotonic() > self.lease_until

    def take_back(self) -> list[Claimed]:
        """The jobs that wait and have not started: they will not start here."""
        found = self.taken(self.waiting)
        while self.loop.waiting:
            try:
                found.append(self.loop.waiting.popleft()[0])
            except IndexError:
                break
        self.held.difference_update(job.id for job in found)
        return found

    def taken(self, waiting: queue.SimpleQueue[Claimed | None]) -> list[Claimed]:
        """The jobs of a queue that no thread has taken."""
        found = []
        while True:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                found.append(job)
        self.held.difference_update(job.id for job in found)
        return found

    def running(self) -> list[Running]:
        """The attempts that run now."""
        threads = [run for slot in self.threads if (run := slot.run) is not None]
        return [*threads, *(run for run, _ in list(self.loop.tasks.values()))]

    def stop(self, id: int, outcome: Outcome, reason: str) -> None:
        """End an attempt from outside: by an exception in its thread, or by cancelling its coroutine."""
        for slot in self.threads:
            if slot.stop(id, outcome, reason):
                return
        self.loop.stop(id, outcome, reason)

    def expire(self, now: float) -> None:
        """Stop the attempts whose time is over."""
        for run in self.running():
            if run.deadline is not None and now > run.deadline and run.stopping is None:
                limit = run.deadline - run.begun
                self.stop(run.claimed.id, Outcome.TIMED_OUT, f"stopped after max_run_time, {limit:g} s")

    def close(self) -> None:
        """End the threads that are free; those whose job will not end stay behind."""
        for _ in self.threads:
            self.waiting.put(None)
        for slot in self.threads:
            if slot.run is None and slot.thread.is_alive():
                slot.thread.join(5)
        self.loop.close()
