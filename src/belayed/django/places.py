"""Threads for coroutines: Django's ORM works in one, and each `async def` job has one of its own meanwhile.

Without that all coroutines of a process would share one connection: a transaction that one of them has left open would
take the writes of the others with it. Django does the same for each request under ASGI. Threads that a job asks for
besides (`asyncio.to_thread`, `sync_to_async(…, thread_sensitive=False)`) are anybody's, call by call.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from contextvars import Context, copy_context
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from belayed.claim import Running, running
from belayed.django.connections import IDLE, Upkeep
from belayed.plugin import Within
from belayed.safelog import log

T = TypeVar("T")

MISSING = object()
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
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop whose other threads keep their connections clean."""

    @asynccontextmanager
    async def place(self, run: Running) -> AsyncIterator[None]:
        """Give an attempt a thread of its own, if it wants any."""
        if (loop := asyncio.get_running_loop()) is not self.loop:
            self.loop = loop
            # Not in the place of what the application has set, nor of threads that are there already.
            if getattr(loop, "_default_executor", None) is None:
                loop.set_default_executor(OtherThreads(self.upkeep))
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


class OtherThreads(ThreadPoolExecutor):
    """The threads of an event loop that any coroutine may use for a call: clean connections come before and after."""

    def __init__(self, upkeep: Upkeep) -> None:
        # So asyncio calls its own.
        super().__init__(thread_name_prefix="asyncio")
        self.upkeep = upkeep
        self.connections: dict[int, list[BaseDatabaseWrapper]] = {}
        """Those of each thread, to be closed when all have ended."""

    def submit(self, call: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        return super().submit(self.called, running.get(), partial(call, *args, **options))

    def called(self, run: Running | None, call: Callable[[], T]) -> T:
        """What a call returns that a job has asked for, or None for what none has."""
        with self.unharmed():
            self.upkeep.freshen()
        try:
            return call()
        finally:
            with self.unharmed():
                if run is not None:
                    self.upkeep.clean(run.claimed)
                self.connections[threading.get_ident()] = connections.all(initialized_only=True)

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Let no fault of a connection be one of the call: it may have nothing to do with it."""
        try:
            yield
        except Exception:
            log.exception("the connections of a thread could not be looked after; they are closed")
            with suppress(Exception):
                connections.close_all()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads; if that is waited for, close their connections."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if not wait:
            return
        for found in self.connections.values():
            for one in found:
                # Its thread has ended.
                one.inc_thread_sharing()
                with suppress(Exception):
                    one.close()
        self.connections.clear()


class Loading(Within):
    """What loads rows for a coroutine: in the thread that has its connections.

    Elsewhere than in a worker that is the thread of the request or the test, whose transaction may have the rows.
    """

    __slots__ = ("upkeep",)

    def __init__(self, around: AbstractContextManager[None], upkeep: Upkeep) -> None:
        super().__init__(around)
        self.upkeep = upkeep

    async def call(self, call: Callable[[], T]) -> T:
        return await sync_to_async(self.freshened, thread_sensitive=True)(call)

    def freshened(self, call: Callable[[], T]) -> T:
        """What a call returns, after a look at this thread's connections."""
        self.upkeep.freshen()
        return call()


class Around(Within):
    """The project's plugins around a coroutine: in the thread that has its connections, so that they may change those.

    All of it is called in one context, as a plugin resets there the variables that it has set. What each side has set
    is carried to the other.
    """

    __slots__ = ("context", "entered")

    def __init__(self, around: AbstractContextManager[None]) -> None:
        super().__init__(around)
        self.context: Context | None = None
        self.entered = False

    async def __aenter__(self) -> Callable[[Callable[[], T]], Awaitable[T]]:
        # It is entered by the first call: that is one way to the thread instead of two.
        return self.call

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A task of its own: a coroutine that is cancelled leaves its thread at work, and this waits there for its end.
        leaving = asyncio.ensure_future(sync_to_async(self.leave, thread_sensitive=True)(kind, raised, trace))
        done, _ = await asyncio.wait([leaving], timeout=PATIENCE)
        if done and (error := leaving.result()) is not None:
            raise error

    async def call(self, call: Callable[[], T]) -> T:
        return await sync_to_async(self.called, thread_sensitive=True)(call)

    def called(self, call: Callable[[], T]) -> T:
        """Enter the plugins, and make a call there."""
        return self.in_context(partial(self.enter, call))

    def enter(self, call: Callable[[], T]) -> T:
        if not self.entered:
            self.around.__enter__()
            self.entered = True
        return call()

    def leave(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> BaseException | None:
        """Leave the plugins, if they were entered; what they raise, as a task that raises SystemExit ends its loop."""
        if self.entered:
            try:
                self.in_context(partial(self.around.__exit__, kind, raised, trace))
            except BaseException as error:
                return error
        return None

    def in_context(self, call: Callable[[], T]) -> T:
        """What a call returns that is made in this attempt's own context."""
        here = copy_context()
        context = self.context = self.context or here
        if context is not here:
            context.run(carry, here)
        try:
            return context.run(call)
        finally:
            carry(context)


def carry(source: Context) -> None:
    """Set the variables of another context in this one."""
    for variable, value in source.items():
        if variable.get(MISSING) is not value:
            variable.set(value)


def thread_of(place: ThreadSensitiveContext) -> Executor | None:
    """The thread of a place; None: nobody has needed it so far."""
    return SyncToAsync.context_to_thread_executor.get(place)


async def called(thread: Executor, call: Callable[[], None]) -> None:
    """Call a function in a thread; one that has begun goes on if nobody waits any more."""
    await asyncio.get_running_loop().run_in_executor(thread, call)
