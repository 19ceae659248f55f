"""Connections of ours: few, opened when first needed, closed when idle, and never carried over a fork."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from belayed.connections.within import WITHIN
from belayed.errors import StoreError, StoreUnavailable
from belayed.forking import at_fork
from belayed.steps import Steps

T = TypeVar("T")

IDLE = 60.0
"""Seconds after which an idle connection is closed."""
MOST = 4
"""Connections of a pool: enough for the threads of a web process, which hold one for a millisecond each."""


class OwnConnection(Protocol):
    def perform(self, steps: Steps[T]) -> T: ...
    def usable(self) -> bool: ...
    def close(self) -> None: ...


class OwnAsyncConnection(Protocol):
    async def perform(self, steps: Steps[T]) -> T: ...
    def usable(self) -> bool: ...
    async def close(self) -> None: ...


C = TypeVar("C", bound=OwnConnection)
A = TypeVar("A")
B = TypeVar("B", bound=OwnAsyncConnection)

NO_PLACE = object()
"""At which an iterator of places would end: none of them."""
LEAKED: list[object] = []
"""Connections that a fork has brought into this process: closing one would end the parent's session."""


class Process:
    """Tells a process from its parent: to ask the system each time would take longer than all else here."""

    this = object()

    @classmethod
    def begin(cls) -> None:
        cls.this = object()


at_fork(in_child=Process.begin)


class Pool(Generic[C]):
    """Connections for threads. They stay for ever if *idle* is 0."""

    def __init__(
        self, open: Callable[[], C], *, most: int = MOST, idle: float = IDLE, timeout: float | None = None
    ) -> None:
        self.open, self.most, self.idle, self.timeout = open, most, idle, timeout
        self.reset()

    def reset(self) -> None:
        self.process = Process.this
        self.free: list[tuple[float, C]] = []
        """The idle ones and since when, the last used last. Taken and given without a lock: Python's lists have one."""
        # One for each connection that there may be. A semaphore of Python's takes ten times as long.
        self.places: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(self.most):
            self.places.put(None)
        # An iterator gives what it has got to `extend` without a step of Python's in between, at which a job could be
        # stopped, with a place that nobody would give back.
        self.free_places: Iterator[None] = iter(self.places.get_nowait, NO_PLACE)
        self.users: list[int] = []
        """The threads that have one or wait for one, each as often as it does."""
        self.lock = threading.Lock()
        self.timer: threading.Timer | None = None

    def perform(self, steps: Steps[T]) -> T:
        """The result of *steps*, in a transaction of their own."""
        return self.use(performed, steps)

    def use(self, act: Callable[[C, A], T], given: A) -> T:
        """What *act* does with a connection and what is *given*, in one operation of the connection's."""
        if self.process is not Process.this:
            LEAKED.append(self.free)
            self.reset()
        thread = threading.get_ident()
        taken: list[None] = []
        """The place of this call."""
        try:
            # Before it takes a place: a signal handler may come in between.
            self.users.append(thread)
            try:
                try:
                    taken = [*islice(self.free_places, 1)]
                except queue.Empty:
                    self.wait_for_place(thread, taken)
                connection = self.take()
                try:
                    result = act(connection, given)
                except BaseException as error:
                    self.failed(connection, error)
                    raise
                self.give(connection)
                return result
            finally:
                if taken:
                    self.places.put(None)
        finally:
            self.users.remove(thread)

    def wait_for_place(self, thread: int, taken: list[None]) -> None:
        """Wait until another thread is done with its connection."""
        if self.users.count(thread) > self.most:
            raise StoreError(WITHIN)
        try:
            taken.extend(islice(iter(partial(self.places.get, timeout=self.timeout), NO_PLACE), 1))
        except queue.Empty:
            raise all_busy(self.most, self.timeout) from None

    def failed(self, connection: C, error: BaseException) -> None:
        """Close a connection that has not done what it was asked, if that is its fault."""
        lost = isinstance(error, StoreUnavailable)
        if lost:
            # The others, too, for what they may keep: a session that a failover has made read-only stays so.
            self.drop_idle(0)
        if (lost and self.idle) or not connection.usable():
            connection.close()
        else:
            self.give(connection)

    def take(self) -> C:
        while self.free:
            try:
                _, connection = self.free.pop()
            except IndexError:
                # Another thread was first.
                break
            if connection.usable():
                return connection
            connection.close()
        return self.open()

    def give(self, connection: C) -> None:
        """Keep a connection that has done what it was asked: whether it is still of use is seen when it is taken."""
        self.free.append((time.monotonic(), connection))
        if self.timer is None and self.idle:
            self.look_later()

    def look_later(self) -> None:
        """Come back for what is idle by then."""
        with self.lock:
            if self.timer is None:
                self.timer = threading.Timer(self.idle, self.tidy)
                self.timer.daemon = True
                self.timer.start()

    def tidy(self) -> None:
        """Close what has been idle, and come again while there is anything left."""
        with self.lock:
            self.timer = None
        self.drop_idle(self.idle)
        if self.free:
            self.look_later()

    def drop_idle(self, idle: float) -> None:
        limit = time.monotonic() - idle
        for one in [one for one in self.free if one[0] <= limit]:
            # A thread may have taken it meanwhile.
            with suppress(ValueError):
                self.free.remove(one)
                one[1].close()

    def close(self) -> None:
        """Close the idle connections. The pool can be used again."""
        if self.process is not Process.this:
            return
        with self.lock:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None
        self.drop_idle(0)


def performed(connection: OwnConnection, steps: Steps[T]) -> T:
    return connection.perform(steps)


class AsyncPool(Generic[B]):
    """Connections for event loops, each loop with its own."""

    def __init__(
        self, open: Callable[[], Awaitable[B]], *, most: int = MOST, idle: float = IDLE, timeout: float | None = None
    ) -> None:
        self.open, self.most, self.idle, self.timeout = open, most, idle, timeout
        self.reset()

    def reset(self) -> None:
        self.process = Process.this
        self.loops: weakref.WeakKeyDictionary[Any, AsyncPoolOfLoop[B]] = weakref.WeakKeyDictionary()

    async def perform(self, steps: Steps[T]) -> T:
        """The result of *steps*, in a transaction of their own."""
        if self.process is not Process.this:
            LEAKED.append(dict(self.loops))
            self.reset()
        loop = asyncio.get_running_loop()
        pool = self.loops.get(loop)
        if pool is None:
            pool = self.loops[loop] = AsyncPoolOfLoop(self)
        return await pool.perform(steps)

    async def close(self) -> None:
        """Close the idle connections of the running event loop."""
        pool = self.loops.pop(asyncio.get_running_loop(), None)
        if pool is not None and self.process is Process.this:
            await pool.close()


class AsyncPoolOfLoop(Generic[B]):
    """The connections of one event loop. Keeps nothing that knows the loop, which would keep that for ever."""

    def __init__(self, pool: AsyncPool[B]) -> None:
        self.open, self.most, self.idle, self.timeout = pool.open, pool.most, pool.idle, pool.timeout
        self.free: list[tuple[float, B]] = []
        """The idle ones and since when, the last used last."""
        self.places = AsyncPlaces(self.most)
        self.comes_back = False
        """Whether a look at what is idle is due."""
        self.looking: set[asyncio.Task[None]] = set()

    async def perform(self, steps: Steps[T]) -> T:
        try:
            await self.places.take(self.timeout)
        except TimeoutError:
            raise all_busy(self.most, self.timeout) from None
        try:
            return await self.performed(await self.take(), steps)
        finally:
            self.places.give()

    async def performed(self, connection: B, steps: Steps[T]) -> T:
        try:
            result = await connection.perform(steps)
        except BaseException as error:
            if isinstance(error, StoreUnavailable):
                await self.close()
                await connection.close()
            elif connection.usable():
                self.give(connection)
            else:
                await connection.close()
            raise
        self.give(connection)
        return result

    async def take(self) -> B:
        limit = time.monotonic() - self.idle
        while self.free:
            since, connection = self.free.pop()
            if since > limit and connection.usable():
                return connection
            await connection.close()
        return await self.open()

    def give(self, connection: B) -> None:
        self.free.append((time.monotonic(), connection))
        if not self.comes_back:
            self.look_later()

    def look_later(self) -> None:
        """Come back for what is idle by then."""
        self.comes_back = True
        # In a context of its own: that of the caller may keep a whole request.
        asyncio.get_running_loop().call_later(self.idle, self.look, context=contextvars.Context())

    def look(self) -> None:
        looking = asyncio.get_running_loop().create_task(self.tidy())
        self.looking.add(looking)
        looking.add_done_callback(self.looking.discard)

    async def tidy(self) -> None:
        """Close what has been idle, and come again while there is anything left."""
        self.comes_back = False
        limit = time.monotonic() - self.idle
        while self.free and self.free[0][0] <= limit:
            await self.free.pop(0)[1].close()
        if self.free and not self.comes_back:
            self.look_later()

    async def close(self) -> None:
        while self.free:
            await self.free.pop()[1].close()


class AsyncPlaces:
    """So many places. A semaphore of asyncio's would keep the event loop that it has waited in, and so for ever."""

    def __init__(self, count: int) -> None:
        self.count = count
        """Free ones; none while anybody waits."""
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def take(self, timeout: float | None) -> None:
        """Take a place, after those who wait already. Raises TimeoutError."""
        if self.count:
            self.count -= 1
            return
        one = asyncio.get_running_loop().create_future()
        self.waiting.append(one)
        try:
            async with asyncio.timeout(timeout):
                await one
        except BaseException:
            if one.done() and not one.cancelled():
                # It was given a place at the same moment.
                self.give()
            raise
        finally:
            with suppress(ValueError):
                self.waiting.remove(one)

    def give(self) -> None:
        """Give a place back, or to the first that waits."""
        while self.waiting:
            one = self.waiting.popleft()
            if not one.done():
                one.set_result(None)
                return
        self.count += 1


def all_busy(most: int, timeout: float | None) -> StoreUnavailable:
    """The error of a caller for whom no connection has become free."""
    return StoreUnavailable(f"none of the {most} connections to the database has become free in {timeout:g} s")
