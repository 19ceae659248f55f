"""An event loop that runs `async def` jobs."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from belayed.claim import Claimed, Running
from belayed.errors import AttemptStopped
from belayed.job import Outcome
from belayed.payload import Loaded
from belayed.safelog import log
from belayed.worker.aside import Aside
from belayed.worker.attempt import Ready
from belayed.worker.contract import Host
from belayed.worker.copies import detach, keep_from_copies
from belayed.worker.saying import Saying

NAME = "belayed-loop"


class LoopSlots:
    """An event loop in a thread that runs `async def` jobs, a number at a time."""

    def __init__(self, slots: Host, size: int) -> None:
        self.slots, self.size = slots, size
        self.waiting: deque[tuple[Claimed, Running | None, Ready | None]] = deque()
        self.tasks: dict[int, tuple[Running, asyncio.Task[None]]] = {}
        self.unbegun: dict[tuple[int, str], Claimed] = {}
        """Those of the tasks that have not begun, by job and claim. The thread that takes one out decides about it."""
        self.made = 0
        """Tasks of ours that have not ended: one that has its outcome still has to tell it."""
        self.lock = threading.Lock()
        self.saying = Saying()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None
        self.closing = False
        keep_from_copies(self)

    def __len__(self) -> int:
        return len(self.waiting) + len(self.tasks)

    def leave_copy(self) -> None:
        """Let no other coroutine go on in a copy that one has forked."""
        if self.loop is not None and self.thread is threading.current_thread():
            detach(self.loop)

    def add(self, items: Iterable[tuple[Claimed, Running | None, Ready | None]]) -> None:
        with self.lock:
            if self.thread is None:
                ready = threading.Event()
                self.thread = threading.Thread(target=self.serve, args=(ready,), name=NAME, daemon=True)
                self.thread.start()
                ready.wait()
        self.waiting.extend(items)
        if self.loop is None or self.loop.is_closed():
            # Its thread has died, and said so: the worker ends, and gives these back.
            return
        self.loop.call_soon_threadsafe(self.pump)

    def serve(self, ready: threading.Event) -> None:
        """Run the event loop. A thread that ends by an error takes its worker along."""
        try:
            with asyncio.Runner() as runner:
                self.loop = runner.get_loop()
                self.loop.call_soon(ready.set)
                while not self.closing:
                    try:
                        self.loop.run_forever()
                    except (SystemExit, KeyboardInterrupt):
                        # One in a task that a job has started leaves the event loop; the other jobs go on. What else
                        # comes out of it is the loop's own, and would come again: a job has closed its files.
                        with Aside():
                            log.exception("a task that some job has started left the event loop, which goes on")
                runner.run(self.slots.attempts.jobs.aclose())
        except BaseException as error:
            if not self.closing:
                self.slots.died(NAME, None, error)
        finally:
            ready.set()

    def pump(self) -> None:
        """Start what waits while there is a slot."""
        claimed: Claimed | None = None
        try:
            while self.waiting and len(self.tasks) < self.size:
                try:
                    claimed, run, ready = self.waiting.popleft()
                except IndexError:
                    return
                self.begin(claimed, run, ready)
                claimed = None
        except BaseException as error:
            self.slots.died(NAME, claimed, error)

    def begin(self, claimed: Claimed, run: Running | None, ready: Ready | None) -> None:
        """Make the task of a job."""
        run = run or self.slots.attempts.begun(claimed)
        assert self.loop is not None
        is_fresh = ready is None
        if is_fresh:
            self.unbegun[claimed.id, claimed.token] = claimed
        # A context of its own: this may be called in that of the job that has just ended.
        task = self.loop.create_task(self.attempt(run, ready), context=contextvars.Context())
        self.tasks[claimed.id] = run, task
        self.made += 1
        task.add_done_callback(partial(self.over, claimed, is_fresh))
        if run.deadline is not None and run.deadline < self.slots.look_at:
            self.slots.look()

    async def attempt(self, run: Running, ready: Ready | None) -> None:
        """Run one job to its outcome."""
        try:
            await self.attempted(run, ready)
            self.pump()
        except GeneratorExit:
            # It is freed with an event loop that some job has closed. Its outcome is settled.
            raise
        except BaseException as error:
            self.saying.box.clear()
            self.slots.died(NAME, run.claimed, error)

    async def attempted(self, run: Running, ready: Ready | None) -> None:
        slots, claimed = self.slots, run.claimed
        loaded: Loaded | None = None
        value: Any = None
        error: BaseException | None = None
        # A thread that found it to be a coroutine has begun it.
        if ready is None and self.unbegun.pop((claimed.id, claimed.token), None) is None:
            # It was withdrawn.
            return
        if ready is None and not slots.begins(claimed, self.saying):
            self.tasks.pop(claimed.id, None)
            return
        try:
            if (stop := slots.stops.get(claimed.id)) is not None:
                # It came while this was handed over, or its start was logged.
                run.stopping, run.reason = stop
                raise AttemptStopped(stop[0].value, stop[1])
            async with slots.attempts.jobs.around_coroutine(run):
                if ready is None:
                    ready = await slots.attempts.aload(run)
                loaded, value, error = await slots.attempts.arun(run, ready)
        except BaseException as raised:
            error = raised
        slots.end_copy(error)
        if self.tasks.pop(claimed.id, None) is None:
            # The event loop was closed, this was given back, and now it is freed.
            return
        self.saying.judge(run)
        finished = slots.attempts.told(run, loaded, value, error)
        slots.done(claimed, finished, self.saying, is_async=True)

    def over(self, claimed: Claimed, is_fresh: bool, task: asyncio.Task[None]) -> None:
        """A task has ended. One that still has its slot was cancelled before its first step, by a neighbour."""
        self.made -= 1
        found = self.tasks.get(claimed.id)
        if found is not None and found[1] is task:
            self.tasks.pop(claimed.id, None)
            if not is_fresh or self.unbegun.pop((claimed.id, claimed.token), None) is not None:
                self.slots.let_go(claimed)
            self.pump()

    def running(self) -> list[Running]:
        """The attempts that run now, or have begun in a thread that has handed them over."""
        handed = [run for _, run, _ in list(self.waiting) if run is not None]
        return [*handed, *(run for run, _ in list(self.tasks.values()))]

    def next_one(self) -> object:
        """What is to start next; None: nothing waits. From another thread."""
        if self.unbegun and (unbegun := list(self.unbegun.values())):
            return unbegun[0]
        try:
            return self.waiting[0]
        except IndexError:
            return None

    def release(self) -> list[Claimed]:
        """Take out what waits. From another thread."""
        found = []
        while self.waiting:
            try:
                found.append(self.waiting.popleft()[0])
            except IndexError:
                break
        return found

    def withdraw(self) -> list[Claimed]:
        """Take out the tasks that have not begun, and will not any more. From another thread."""
        found = [claimed for key in list(self.unbegun) if (claimed := self.unbegun.pop(key, None)) is not None]
        for claimed in found:
            self.tasks.pop(claimed.id, None)
        return found

    def call(self, function: Callable[[], None]) -> bool:
        """Have the loop call this when it comes round; False: it never will."""
        if self.loop is None:
            return False
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:
            # It is closed.
            return False
        return True

    def stop(self, id: int, outcome: Outcome, reason: str) -> None:
        """Cancel the job's coroutine. From any thread."""
        if self.loop is not None:
            try:
                self.loop.call_soon_threadsafe(self.cancel, id, outcome, reason)
            except RuntimeError:
                # A job has closed it: nothing more begins there, and nothing ends but what runs at this moment.
                if (found := self.tasks.get(id)) is not None:
                    found[0].stopping = found[0].stopping or outcome

    def cancel(self, id: int, outcome: Outcome, reason: str) -> None:
        """Cancel a task; one that has not taken its first step finds the stop there, as does a job that waits."""
        if id in self.tasks:
            run, task = self.tasks[id]
            if run.stopping is None:
                run.stopping, run.reason = outcome, reason
                if inspect.getcoroutinestate(task.get_coro()) != inspect.CORO_CREATED:  # type: ignore[arg-type]
                    task.cancel()
            return
        for item in list(self.waiting):
            if item[0].id == id:
                try:
                    self.waiting.remove(item)
                except ValueError:
                    # It goes back: the worker ends, or its claim has lapsed.
                    return
                # Beyond the number of slots, as it ends at once.
                self.begin(*item)

    def dead(self) -> bool:
        """Whether its thread has ended, so that nothing of it can run any more."""
        return self.thread is not None and not self.closing and (self.loop is None or self.loop.is_closed())

    def abandon(self) -> list[Claimed]:
        """Take out all jobs of a loop that is dead."""
        found = [run.claimed for run, _ in self.tasks.values()] + [item[0] for item in self.waiting]
        self.tasks.clear()
        self.waiting.clear()
        return found

    def close(self) -> None:
        if self.loop is not None and self.thread is not None and self.thread.is_alive():
            self.closing = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(5)
