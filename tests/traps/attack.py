"""Runs a row against the application of traps as a worker would, and tells what of it ran that must not."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from contextlib import contextmanager
from typing import Any

from belayed.codec import Codec
from belayed.errors import PayloadError
from belayed.methods import hook_of
from belayed.outline import outline, rules_told
from belayed.payload import Loaded, call_hook, load
from belayed.retry import Rules
from belayed.trust import Trust
from tests.traps import app

traplib = sys.modules["traplib"]
APP = app.__name__

FORBIDDEN = {
    id(function)
    for module, names in {
        "posix": ["system", "fork", "unlink", "remove", "execv", "posix_spawn"],
        "_pickle": ["load", "loads", "dump", "dumps"],
        "builtins": ["eval", "exec", "__import__", "open", "input"],
        "importlib": ["reload"],
        "marshal": ["loads"],
        "_thread": ["start_new_thread"],
    }.items()
    for function in (getattr(sys.modules.get(module) or __import__(module), name, None) for name in names)
}
"""Functions in C that no row may call."""


class Attack:
    """One row, and what it brought about."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.loaded: Loaded | None = None
        self.error: BaseException | None = None
        self.result: Any = None
        self.sprung: list[str] = []
        self.ran: list[str] = []
        self.imported: set[str] = set()

    def run(self, text: str) -> Attack:
        """Load the row, call what it calls, and all that a worker asks of it around that."""
        before = set(sys.modules)
        traplib.sprung.clear()
        app.ran.clear()
        with watched(self.sprung):
            self.perform(text)
            # What the row has made ends here, with whatever it does at its end.
            self.loaded = None
            gc.collect(0)
        self.sprung += traplib.sprung
        self.ran = list(app.ran)
        self.imported = set(sys.modules) - before
        return self

    def perform(self, text: str) -> None:
        refused: PayloadError | None = None
        try:
            outline(text, self.codec)
        except PayloadError as error:
            refused = error
        try:
            found = self.loaded = load(text, self.codec)
        except Exception as error:
            self.error = error
            str(error)
            rules_told(text, self.codec)
            return
        assert refused is None, "a worker with plugins would refuse what another runs"
        try:
            self.hook(found, "before", job=None)
            value = found.call(*found.args, **found.kwargs)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
            self.result = value if type(value) is str else None
        except Exception as error:
            self.error = error
        for name in ("success", "error", "failure", "after"):
            self.hook(found, name, job=None, error=None)
        if found.hooks is not None and (asked := hook_of(found.hooks, "reschedule_at")) is not None:
            asked(None, 1)
        if type(found.rules) is Rules and found.rules.backoff is not None:
            found.rules.wait(1)

    def hook(self, found: Loaded, name: str, **given: Any) -> None:
        if found.hooks is not None:
            call_hook(found.hooks, name, **given)


@contextmanager
def watched(sprung: list[str]) -> Any:
    """Note every function of the library that is called, and the dangerous ones of C, whoever calls them."""
    library = traplib.__file__

    def look(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename == library:
            sprung.append(f"{frame.f_code.co_qualname} was called")
        elif event == "c_call" and id(argument) in FORBIDDEN and called_by_a_row(frame):
            sprung.append(f"{argument.__name__} was called")

    traplib.arm(True)
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)
        traplib.arm(False)


def called_by_a_row(frame: Any) -> bool:
    """Whether it is not the import system, or a library's making of code for a class, that calls."""
    name = frame.f_globals.get("__name__", "")
    return not name.startswith(("importlib", "_frozen_importlib", "zoneinfo", "inspect", "linecache", "tokenize"))


def attacked(text: str, *packages: str) -> Attack:
    """What came of a row in a worker of its own."""
    return Attack(Codec(Trust(packages or None))).run(text)


__all__ = ["APP", "Attack", "PayloadError", "attacked", "traplib"]
