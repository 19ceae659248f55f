"""Why a value cannot be an argument of a job, and what to pass instead."""

from __future__ import annotations

import functools
import io
import reprlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, MappingView
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from pathlib import PurePath
from re import Pattern
from types import ModuleType
from uuid import UUID

from belayed.errors import EnqueueError, NotSerializable
from belayed.trust import is_of_application

_STEPS_SHOWN = 12


class Refused(Exception):
    """A value deep inside an argument is refused; on its way up the exception gathers the path to it."""

    def __init__(self, problem: str, fix: str = "", error: type[EnqueueError] = NotSerializable) -> None:
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix
        self.kind = error
        self.steps: list[str] = []

    def at(self, path: str) -> EnqueueError:
        """The error for the user, where *path* leads to the outermost value."""
        steps = self.steps[::-1]
        if len(steps) > _STEPS_SHOWN:
            steps[_STEPS_SHOWN // 2 : -_STEPS_SHOWN // 2] = ["…"]
        path += "".join(steps)
        if self.kind is NotSerializable:
            return NotSerializable(path, self.problem, self.fix)
        return self.kind(f"{path}: {self.problem}")


def shorten(value: object) -> str:
    """The repr of *value*, cut to a few words; never raises."""
    return _SHORT.repr(value)


def refusal(value: object) -> Refused:
    """The refusal of *value*, whose type has no text form, with the advice that helps most."""
    kind = type(value)
    label = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    # Cursors are iterators too: what an object is open to counts for more than its type.
    for attributes, problem, fix in _OPEN:
        if all(_has(value, attribute) for attribute in attributes):
            return Refused(f"{label} is {problem}", fix)
    for base, problem, fix in _BY_BASE:
        if issubclass(kind, base):
            return Refused(f"{label} is {problem}", fix)
    for twin, fix in _PLAIN_TWINS:
        if issubclass(kind, twin):
            return Refused(f"{label} would come back as a plain {twin.__name__}", f"pass {fix}, or register() the type")
    for attribute, problem, fix in _BY_ATTRIBUTE:
        if _has(value, attribute):
            return Refused(f"{label} is {problem}", fix)
    if is_of_application(str(kind.__module__)):
        return Refused(f"{label} objects have no text form", "make the class a dataclass, or register() it")
    return Refused(
        f"{label} objects have no text form",
        "pass what the job can make one from, such as a path or an id, or register() the class",
    )


def _has(value: object, attribute: str) -> bool:
    try:
        return hasattr(value, attribute)
    except Exception:
        return False


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 40

_BY_BASE: tuple[tuple[type | tuple[type, ...], str, str], ...] = (
    ((bytearray, memoryview), "a buffer that may change", "pass bytes(x)"),
    (complex, "a complex number, which JSON has not", "pass x.real and x.imag"),
    (io.IOBase, "an open file", "pass its path, and open it in the job"),
    (ModuleType, "a module", "pass its name, and import it in the job"),
    ((Awaitable, AsyncIterator), "still to be awaited", "await it, and pass what it gives"),
    (Iterator, "an iterator, which can be read only once", "pass list(x)"),
    ((deque, range, MappingView), "a view or sequence of its own type", "pass list(x)"),
    (functools.partial, "a call half made", "pass the function and its arguments"),
    (BaseException, "an exception", "pass str(x), or what the job needs of it"),
    (Pattern, "a compiled pattern", "pass x.pattern"),
    (tzinfo, "a time zone", "pass its name, and make the zone in the job"),
)

# datetime before date, whose subclass it is.
_PLAIN_TWINS: tuple[tuple[type, str], ...] = (
    (dict, "dict(x)"),
    (list, "list(x)"),
    (tuple, "tuple(x)"),
    (set, "set(x)"),
    (frozenset, "frozenset(x)"),
    (str, "str(x)"),
    (bytes, "bytes(x)"),
    (int, "int(x)"),
    (float, "float(x)"),
    (datetime, "a plain datetime"),
    (date, "a plain date"),
    (time, "a plain time"),
    (timedelta, "a plain timedelta"),
    (Decimal, "Decimal(x)"),
    (UUID, "UUID(str(x))"),
    (PurePath, "Path(x)"),
    (Mapping, "dict(x)"),
)

_ROW = ("a row of a database", "pass its primary key, and load the row in the job")
_CONNECTION = ("an open connection to a database", "open one in the job")

_OPEN: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("_get_current_object",), "a proxy", "pass the object behind it: x._get_current_object()"),
    (("_meta", "pk"), *_ROW),
    (("__mapper__",), *_ROW),
    (("cursor", "commit"), *_CONNECTION),
    (("execute", "commit"), *_CONNECTION),
    (("execute", "fetchone"), *_CONNECTION),
    (("execute", "fetchrow"), *_CONNECTION),
    (("in_bulk", "values_list"), "a query", "pass the ids that it finds, or list(x)"),
    (
        ("chunks", "charset", "size"),
        "an uploaded file, which is gone after its request",
        "save it, and pass the row that has it, or its name in the storage",
    ),
    (("is_anonymous", "_user_permissions"), "a user who has not logged in", "pass None"),
    (("is_valid", "is_bound"), "a form", "pass x.cleaned_data, or what the job needs of it"),
    (("headers", "method"), "a request", "pass what the job needs of it, such as the user's id"),
)

_BY_ATTRIBUTE = (
    ("tolist", "an array or a scalar of its library", "pass x.tolist()"),
    ("fileno", "an open file or socket", "pass its path or address, and open it in the job"),
)
