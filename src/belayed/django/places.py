"""Threads for coroutines: Django's ORM works in one, and each `async def` job has one of its own meanwhile.

Without that all coroutines of a process would share one connection: a transaction that one of them has left open would
take the writes of the others with it. Django does the same for each request under ASGI.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import connections

from belayed.claim import Running
from belayed.django.connections import IDLE, Upkeep
from belayed.safelog import log

KEPT = 5
"""So many threads are kept for the next jobs, with their connections."""
PATIENCE = 1.0
"""Seconds to wait for a thread that a job has left at work: it was cancelled, and a query cannot be."""


class Places:
    """The threads in which coroutines of a worker have their connections."""

    def __init__(self, upkeep: Upkeep) -> None:
        self.upkeep = upkeep
        self.idle: list[tuple[float, ThreadSensitiveContext]] = []
        """Those that no job uses, and since when; the last used last."""

    @asynccontextmanager
    async def place(self, run: Running) -> AsyncIterator[None]:
        """Give an attempt a thread of its own, if it wants any."""
        place = await self.taken()
        token = SyncToAsync.thread_sensitive_context.set(place)
        try:
            yield
        finally:
            SyncToAsync.thread_sensitive_context.reset(token)
            if (thread := thread_of(place)) is not None:
                await self.left(place, thread, run)

    async def taken(self) -> ThreadSensitiveContext:
        """A place that no other job has, with connections that can be used."""
        self.tidy()
        while self.idle:
            place = self.idle.pop()[1]
            if (thread := thread_of(place)) is None:
                return place
            try:
                await called(thread, self.upkeep.freshen)
                return place
            except Exception:
                log.exception("the connections of a coroutine's thread could not be looked after; they are closed")
                self.end(place)
        return ThreadSensitiveContext()

    async def left(self, place: ThreadSensitiveContext, thread: Executor, run: Running) -> None:
        """Clean a thread's connections, and keep it for the next job."""
        try:
            await asyncio.wait_for(called(thread, lambda: self.upkeep.clean(run.job)), PATIENCE)
        except TimeoutError:
            claimed = run.claimed
            text = "%s #%d left a thread at work in the database; its connections are closed when it is done"
            log.warning(text, claimed.task, claimed.id, extra=claimed.extra)
            self.end(place)
        except Exception:
            log.exception("the connections of a coroutine's thread could not be cleaned; they are closed")
            self.end(place)
        else:
            self.idle.append((time.monotonic(), place))

    def tidy(self) -> None:
        """End the threads that are not needed any more."""
        while self.idle and (len(self.idle) > KEPT or time.monotonic() - self.idle[0][0] > IDLE):
            self.end(self.idle.pop(0)[1])

    def end(self, place: ThreadSensitiveContext) -> None:
        """Let a thread close its connections and end, as soon as it is free."""
        thread = SyncToAsync.context_to_thread_executor.pop(place, None)
        if thread is not None:
            thread.submit(connections.close_all)
            thread.shutdown(wait=False)

    def close(self) -> None:
        """End all threads."""
        while self.idle:
            self.end(self.idle.pop()[1])


def thread_of(place: ThreadSensitiveContext) -> Executor | None:
    """The thread of a place; None: nobody has needed it so far."""
    return SyncToAsync.context_to_thread_executor.get(place)


async def called(thread: Executor, call: Callable[[], None]) -> None:
    """Call a function in a thread; one that has begun goes on if nobody waits any more."""
    await asyncio.get_running_loop().run_in_executor(thread, call)
