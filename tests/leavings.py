"""What a test changes in its process and others would trip over is put back as the test has found it."""

from __future__ import annotations

import _signal
import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from belayed.config import current
from belayed.safelog import log

PROJECT = str(Path(__file__).parents[1]) + os.sep
OURS = ("belayed", "tests")
"""Which loggers each test finds the same, beside the root: these and those below them. There are hundreds of others."""
LOGGERS = logging.root.manager.loggerDict
OF_PYTEST = os.environ.encodekey("PYTEST_CURRENT_TEST")  # type: ignore[attr-defined]
UNTOUCHED = (logging.NOTSET, True, False, None)
"""What a logger is like that has just been made."""
SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


class Kept(NamedTuple):
    """A part of the state of a process."""

    name: str
    read: Callable[[], Any]
    put_back: Callable[[Any], object]


class Loggers:
    """The loggers that are looked at."""

    def __init__(self) -> None:
        self.known = 0
        self.found = [logging.root]

    def __call__(self) -> list[logging.Logger]:
        if len(LOGGERS) != self.known:
            ours = [one for name, one in LOGGERS.items() if name.partition(".")[0] in OURS]
            self.found = [logging.root, *(one for one in ours if isinstance(one, logging.Logger))]
            self.known = len(LOGGERS)
        return self.found

    def read(self) -> dict[logging.Logger, tuple[Any, ...]]:
        return {one: (one.level, one.propagate, one.disabled, *one.handlers, None, *one.filters) for one in self()}

    def put_back(self, before: dict[logging.Logger, tuple[Any, ...]]) -> None:
        for one in self():
            level, one.propagate, one.disabled, *rest = before.get(one, UNTOUCHED)
            one.setLevel(level)
            place = rest.index(None)
            one.handlers[:], one.filters[:] = rest[:place], rest[place + 1 :]


def variables() -> dict[bytes, bytes]:
    # `dict(os.environ)` takes a hundred times as long.
    found: dict[bytes, bytes] = os.environ._data.copy()  # type: ignore[attr-defined]
    found.pop(OF_PYTEST, None)
    return found


def set_variables(before: dict[bytes, bytes]) -> None:
    for name in variables().keys() - before.keys():
        del os.environb[name]
    os.environb.update(before)


def folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 (it takes a sixth of the time)
    except FileNotFoundError:
        return None


def handlers() -> list[Any]:
    # `signal.getsignal` takes twenty times as long.
    return [_signal.getsignal(number) for number in SIGNALS]


def set_handlers(before: list[Any]) -> None:
    for number, now, one in zip(SIGNALS, handlers(), before, strict=True):
        # None: it was set in C.
        if now is not one and one is not None:
            signal.signal(number, one)


class Modules:
    """All that are imported."""

    def __init__(self) -> None:
        self.named = sys.modules.copy()

    def __eq__(self, other: object) -> bool:
        # Without the names it takes a third of the time.
        return isinstance(other, Modules) and [*self.named.values()] == [*other.named.values()]

    __hash__ = None  # type: ignore[assignment]


def set_modules(before: Modules) -> None:
    """Take away the modules of a test's own files, and put back what it has replaced.

    Others that it was the first to import stay: a second copy of one would have classes that equal none of the first.
    """
    temporary = tempfile.gettempdir() + os.sep
    for name in sys.modules.keys() - before.named.keys():
        file = getattr(sys.modules[name], "__file__", None) or ""
        # The project may be in a folder for temporary files itself.
        if file.startswith(temporary) and not file.startswith(PROJECT):
            del sys.modules[name]
    sys.modules.update(before.named)


def policy() -> Any:
    # To ask for it in public would make one, and is deprecated since Python 3.14.
    return asyncio.events._event_loop_policy  # type: ignore[attr-defined]


def set_policy(before: Any) -> None:
    # None: it is made when it is first needed, as it was by this test.
    if before is not None:
        asyncio.events._event_loop_policy = before  # type: ignore[attr-defined]


def set_items(items: list[str], before: list[str]) -> None:
    items[:] = before


def attributes(owner: Any, *names: str) -> Kept:
    """Some attributes of a module or an object."""

    def put_back(before: list[Any]) -> None:
        for name, value in zip(names, before, strict=True):
            setattr(owner, name, value)

    return Kept(f"{', '.join(names)} of {owner}", lambda: [getattr(owner, name) for name in names], put_back)


loggers = Loggers()
KEPT = [
    Kept("loggers", loggers.read, loggers.put_back),
    Kept("disabled levels", lambda: logging.root.manager.disable, logging.disable),
    Kept("record factory", logging.getLogRecordFactory, logging.setLogRecordFactory),
    Kept("environment", variables, set_variables),
    Kept("working directory", folder, os.chdir),
    Kept("signal handlers", handlers, set_handlers),
    Kept("modules", Modules, set_modules),
    Kept("collection of garbage", gc.isenabled, lambda before: gc.enable() if before else gc.disable()),
    Kept("switch interval", sys.getswitchinterval, sys.setswitchinterval),
    Kept("import path", lambda: list(sys.path), lambda before: set_items(sys.path, before)),
    Kept("arguments", lambda: list(sys.argv), lambda before: set_items(sys.argv, before)),
    attributes(sys, "excepthook"),
    attributes(threading, "excepthook"),
    Kept("event loop policy", policy, set_policy),
    attributes(current, "jobs", "make"),
    # After one complaint it makes none for ten seconds.
    attributes(log, "complained_at"),
]


@contextlib.contextmanager
def put_back() -> Iterator[None]:
    """Leave the process as it was before."""
    before = [kept.read() for kept in KEPT]
    try:
        yield
    finally:
        for kept, value in zip(KEPT, before, strict=True):
            if kept.read() != value:
                kept.put_back(value)
