"""Copies of a worker's process: what a job forks, by `os.fork`, `multiprocessing` or the like.

In a copy only the code that has forked goes on. It has none of the worker's files and signal handlers, and ends where
it comes back to the worker: the original writes the outcome, and runs the other jobs.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, Protocol
from weakref import WeakSet

from belayed.forking import at_fork
from belayed.safelog import last_words

AWAITS = (
    "belayed: a copy of this process, which a job has forked, ended where it awaited something: the event loop is the "
    "original's; let the copy call what does not wait, or asyncio.run()"
)


class Original(Protocol):
    """A part of a worker that has no place in a copy."""

    def leave_copy(self) -> None:
        """Called in a copy, in its only thread: let go of what is the original's."""


originals: WeakSet[Original] = WeakSet()


def keep_from_copies(one: Original) -> None:
    """Call its `leave_copy` in each copy of this process, from now on."""
    originals.add(one)


def after_in_child() -> None:
    for one in list(originals):
        try:
            one.leave_copy()
        except BaseException as error:
            last_words.say(f"belayed: a copy of this process could not let go of {one!r}: {error!r}")


def end_copy(error: BaseException | None = None) -> NoReturn:
    """End this process, as Python ends a program; but threads and hooks of the original's have no part in it."""
    code: Any = 0
    try:
        if isinstance(error, SystemExit):
            code = error.code
            if code is not None and not isinstance(code, int):
                sys.stderr.write(f"{code}\n")
                code = 1
        elif error is not None:
            code = 1
            traceback.print_exception(error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit((code or 0) & 0xFF)


def end_instead(one: object, names: Iterable[str]) -> None:
    """Let these methods end the copy that calls them."""

    def end(*args: Any, **_kwargs: Any) -> NoReturn:
        end_copy(next((one for one in args if isinstance(one, BaseException)), None))

    for name in names:
        setattr(one, name, end)


def detach(loop: asyncio.AbstractEventLoop) -> None:
    """Let nothing more run in an event loop but the call that has forked: the copy ends when that comes back to it."""
    task = asyncio.current_task(loop)

    def over() -> NoReturn:
        if task is not None and not task.done():
            last_words.say(AWAITS)
            os._exit(1)
        end_copy()

    # As Python 3.12 does: else nothing that awaits could be run here, in an event loop of its own.
    asyncio._set_running_loop(None)  # noqa: SLF001
    if isinstance(getattr(loop, "_ready", None), deque):
        # Of asyncio's own loops. Others have no place that could be reached.
        loop._ready = Over(over)  # type: ignore[attr-defined]  # noqa: SLF001


class Over(deque[Any]):
    """What is to be called next, in an event loop that calls nothing any more."""

    def __init__(self, over: Callable[[], NoReturn]) -> None:
        super().__init__([None])
        self.over = over

    def popleft(self) -> NoReturn:
        self.over()


at_fork(in_child=after_in_child)
