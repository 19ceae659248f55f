"""How one body serves threads and asyncio: an operation yields what it asks and never waits."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

Row = tuple[Any, ...]
Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement of a catalogue, in the placeholder styles of the drivers.

    `named` has `:name`, `pyformat` has `%(name)s`, `numeric` has `$1` (`?1` for SQLite) for the names in `order`.
    """

    name: str
    named: str
    pyformat: str
    numeric: str
    order: tuple[str, ...]
    kept: float = 0.0
    """Seconds for which its plan may be kept, where a session lasts; 0: it is planned each time."""


@dataclass(slots=True)
class Ask:
    """Statements that may travel in one trip; the answer is one list of rows for each.

    `last` promises that the operation asks nothing more, so that a connection of ours may commit in the same trip.
    `read` promises that they write nothing, so that no transaction is opened for them.
    `patient` says that the answer may take any time: a connection of ours waits for it without a limit.
    """

    calls: Sequence[tuple[Statement, Params]]
    last: bool = False
    read: bool = False
    patient: bool = False


@dataclass(slots=True)
class Load:
    """Rows for a bulk load by `statement` (COPY … FROM STDIN); the answer is one row: how many were taken in."""

    statement: Statement
    columns: tuple[str, ...]
    rows: Iterable[Row]
    """May be asked for more than once."""
    table: tuple[str | None, str]
    """The schema (None: the search path's) and the table, for drivers that name them apart."""
    last: bool = False
    read: bool = False
    patient: bool = False


Request = Ask | Load
Answer = list[list[Row]]
Steps = Generator[Request, Answer, T]


def run(steps: Generator[Any, Any, T], send: Callable[[Any], Any]) -> T:
    """The result of *steps*, each request answered by *send*; its errors are raised inside *steps*."""
    try:
        request = next(steps)
        while True:
            try:
                answer = send(request)
            except Exception as error:
                request = steps.throw(error)
            else:
                request = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def arun(steps: Generator[Any, Any, T], send: Callable[[Any], Awaitable[Any]]) -> T:
    """The result of *steps*, each request answered by awaiting *send*; its errors are raised inside *steps*."""
    try:
        request = next(steps)
        while True:
            try:
                answer = await send(request)
            except Exception as error:
                request = steps.throw(error)
            else:
                request = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def awaited(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, in an event loop of its own: in a thread, if one runs here, as it may inline."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1, thread_name_prefix="belayed-inline") as thread:
        return thread.submit(contextvars.copy_context().run, asyncio.run, coroutine).result()
