"""What becomes of jobs meanwhile: run at once, held back, kept in a store of their own, or due at another time."""

from __future__ import annotations

import functools
import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ContextDecorator, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar
from urllib.parse import quote

from belayed.config import current
from belayed.errors import BelayedError
from belayed.job import Job

P = ParamSpec("P")
T = TypeVar("T")


class Mode(ContextDecorator, AbstractContextManager[T]):
    """A context manager that decorates functions, and coroutines too: it is left when they have ended."""

    def __init__(self, make: Callable[[], AbstractContextManager[T]]) -> None:
        self.make = make
        self.inner: AbstractContextManager[T] | None = None

    def __enter__(self) -> T:
        self.inner = self.make()
        return self.inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self.inner is not None
        return self.inner.__exit__(kind, error, trace)

    def __call__(self, function: Any) -> Any:
        if not inspect.iscoroutinefunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await function(*args, **kwargs)

        return awaited

    def _recreate_cm(self) -> Self:
        """What ContextDecorator enters at each call."""
        return type(self)(self.make)


def mode(function: Callable[P, Iterator[T]]) -> Callable[P, Mode[T]]:
    """As `contextmanager`, for functions that coroutines are decorated with too."""

    @functools.wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> Mode[T]:
        return Mode(lambda: contextmanager(function)(*args, **kwargs))

    return made


@mode
def inline(jobs: Any = None) -> Iterator[None]:
    """Run each job where it is enqueued, through the codec and with its hooks; what it raises comes out there."""
    found = jobs or current()
    before = found.delay_jobs, found.held
    found.delay_jobs, found.held = False, None
    try:
        yield
    finally:
        found.delay_jobs, found.held = before


@mode
def held(jobs: Any = None) -> Iterator[list[Job]]:
    """Save nothing: what would be is in the list that this brings. Hooks are called, arguments are checked."""
    found = jobs or current()
    before, found.held = found.held, []
    try:
        yield found.held
    finally:
        found.held = before


@mode
def isolated(jobs: Any = None) -> Iterator[Any]:
    """Keep jobs in an SQLite file of their own meanwhile, empty at the start and removed at the end; the `Jobs`."""
    found = jobs or current()
    before, settings = found.url, found.config
    with tempfile.TemporaryDirectory(prefix="belayed-") as folder:
        found.move(f"sqlite:///{quote(str(Path(folder) / 'belayed.db'))}")
        try:
            yield found
        finally:
            found.move(before)
            found.config = settings


@mode
def travel(to: timedelta | datetime, jobs: Any = None) -> Iterator[None]:
    """Let the jobs' clock show another time meanwhile: so much later, or an aware time from where it goes on.

    It is the clock by which jobs are due and saved in this process, not that of the application's code.
    """
    if isinstance(to, datetime) and to.utcoffset() is None:
        raise BelayedError(f"travel({to!r}): the time has no zone; write datetime(…, tzinfo=UTC), or a timedelta")
    store = (jobs or current()).store
    before = store.ahead
    store.ahead = before + to if isinstance(to, timedelta) else to - datetime.now(UTC)
    try:
        yield
    finally:
        store.ahead = before
