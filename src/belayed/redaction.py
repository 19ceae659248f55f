"""Payloads for people to read: what looks like a secret, by the name of its argument or field, is not shown."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from types import FunctionType
from typing import Any

from belayed.codec.records import RECORDS
from belayed.codec.registry import Reference, by_name
from belayed.definitions import ABSENT, attribute, is_class
from belayed.errors import NotImportable
from belayed.payload import Target, adapted, registry
from belayed.signature import PLAIN, VAR_POSITIONAL
from belayed.trust import running_main

HIDDEN = "***"
UNREADABLE = json.dumps(f"{HIDDEN} (it cannot be read as JSON, so secrets in it could not be left out)")
BY_CLASS = frozenset({"enum", *(record.tag for record in RECORDS)})
"""The codec's tags whose values begin with the name of their class."""

Name = str | None
"""The name of a parameter; None: it has none that says anything."""


def redacted(text: str, names: Sequence[str]) -> str:
    """A payload's *text* with the values of arguments, fields and keys hidden whose names contain one of *names*.

    Arguments by position have the names that the called code gives them; if it is not imported here, all are hidden.
    """
    if not names or not text:
        return text
    try:
        envelope = json.loads(text)
        if isinstance(envelope, dict) and "args" in envelope:
            envelope["args"] = positional(envelope["args"], names, called(envelope))
        return json.dumps(without(envelope, names), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        # What cannot be read cannot be redacted either.
        return UNREADABLE


def redacted_result(text: str, names: Sequence[str]) -> str:
    """The JSON *text* of a result without what is under a secret name."""
    if not names:
        return text
    try:
        return json.dumps(without(json.loads(text), names), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return UNREADABLE


def nameless(text: str) -> bool:
    """Whether a payload's *text* has arguments by position, and the code that would name them is not imported here."""
    try:
        envelope = json.loads(text)
        return bool(envelope["args"]) and not called(envelope)
    except (ValueError, RecursionError, LookupError, TypeError):
        return False


def redacted_value(text: str | None, names: Sequence[str]) -> Any:
    """A JSON *text*, such as a result, as a value with the secrets in it hidden; what is not JSON as it is."""
    if text is None:
        return None
    try:
        return without(json.loads(text), names) if names else json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        return json.loads(UNREADABLE)


def positional(values: Any, names: Sequence[str], takers: Sequence[Parameters]) -> Any:
    """Arguments by position; hidden are those that any of *takers*, of which one is called, has a secret name for."""
    if not isinstance(values, list) or not takers:
        return [HIDDEN for _ in values] if isinstance(values, list) else HIDDEN
    named = [taker.named(len(values)) for taker in takers]
    return [
        HIDDEN if any(name is None or secret(name, names) for name in alike) else value
        for value, *alike in zip(values, *named, strict=True)
    ]


def without(value: Any, names: Sequence[str]) -> Any:
    """A JSON value, with what is under a secret name hidden."""
    if isinstance(value, dict):
        if value.get("$") == "dict" and isinstance(pairs := value.get("v"), list):
            # A dict whose keys JSON has not: its pairs.
            return {**value, "v": [hidden_pair(pair, names) for pair in pairs]}
        return {key: HIDDEN if secret(key, names) else without(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [without(inner, names) for inner in value]
    return value


def hidden_pair(pair: Any, names: Sequence[str]) -> Any:
    """A key and its value, which is hidden if the key is a secret's name."""
    if isinstance(pair, list) and len(pair) == 2:
        key = pair[0] if isinstance(pair[0], str) else json.dumps(pair[0], ensure_ascii=False)
        if secret(key, names):
            return [pair[0], HIDDEN]
    return without(pair, names)


def secret(name: str, names: Sequence[str]) -> bool:
    """Whether *name* contains one of *names*: `api_key` is in `X-Api-Key`, too."""
    found = bare(name)
    return any(bare(one) in found for one in names)


def bare(name: str) -> str:
    """A name without what separates its words."""
    return "".join(filter(str.isalnum, name.casefold())) or name


class Parameters:
    """The names that a function has for its arguments by position."""

    def __init__(self, function: Any, *, bound: bool) -> None:
        parameters = list(inspect.signature(function).parameters.values())
        if bound and parameters and parameters[0].kind is not VAR_POSITIONAL:
            parameters = parameters[1:]
        self.plain = [one.name for one in parameters if one.kind in PLAIN]
        inner = inspect.unwrap(function)
        # The `*args` of what a decorator has made, and of what is not Python, are names of nothing.
        written = type(inner) is FunctionType and "<locals>" not in inner.__code__.co_qualname
        self.rest = next((one.name for one in parameters if written and one.kind is VAR_POSITIONAL), None)

    def named(self, count: int) -> list[Name]:
        """The names of *count* arguments."""
        return [*self.plain[:count], *[self.rest] * (count - len(self.plain))]


def called(envelope: dict[str, Any]) -> list[Parameters]:
    """What the code that a payload calls takes by position, without importing it; nothing if it is not here.

    Several, if one of several functions will be called, such as an override in a subclass.
    """
    try:
        if "method" in envelope:
            found = [
                one
                for cls in classes_of(envelope)
                if (raw := attribute(cls, envelope["method"])) is not ABSENT
                for one in taken(raw, bound=True)
            ]
        else:
            found = list(
                taken(adapted(registry.get(envelope.get("task", "")) or imported(envelope["call"])), bound=False)
            )
    # The code of an application is asked: for the class of a reference, say.
    except Exception:
        return []
    return found


def taken(found: Any, *, bound: bool) -> Iterator[Parameters]:
    """What a function takes, or what a class has by a method's name, which may be one of several functions.

    *bound* says whether it is called on an object, which is then its first argument.
    """
    if isinstance(found, Target):
        # What is handled asynchronously knows how it was written.
        bound = bound and getattr(found, "wrapper", None) is not staticmethod
        found = found.function
    if type(found) is staticmethod:
        yield from taken(found.__func__, bound=False)
    elif type(found) is classmethod:
        yield from taken(found.__func__, bound=True)
    elif type(found) is functools.singledispatchmethod:
        yield from chain.from_iterable(taken(one, bound=True) for one in found.dispatcher.registry.values())
    elif type(found) is functools.partialmethod:
        yield Parameters(found.__get__(None, object), bound=True)
    elif type(found) is FunctionType and isinstance(kinds := getattr(found, "registry", None), Mapping):
        # functools.singledispatch made it.
        yield from (Parameters(one, bound=bound) for one in kinds.values())
    else:
        yield Parameters(found, bound=bound)


def classes_of(envelope: dict[str, Any]) -> list[type]:
    """The classes of which the object may be whose method is called. Raises LookupError, and what its type raises."""
    if "of" in envelope:
        return [class_called(envelope["of"])]
    tag, key = envelope["self"]["$"], envelope["self"]["v"]
    if (entry := by_name.get(tag)) is not None:
        if isinstance(entry, Reference) and entry.kind is not None:
            return [entry.kind(key)]
        return list(family(entry.type_)) if isinstance(entry, Reference) else [entry.type_]
    if tag not in ("name", *BY_CLASS):
        raise LookupError(tag)
    return [class_called(key if tag == "name" else key[0])]


def family(cls: type) -> Iterator[type]:
    """A class, and all below it that there are."""
    yield cls
    one: type
    for one in type.__subclasses__(cls):
        yield from family(one)


def class_called(name: str) -> type:
    """The class of that name. Raises LookupError if it is not here."""
    if not is_class(found := imported(name)):
        raise LookupError(name)
    return found  # type: ignore[no-any-return]


def imported(name: str) -> Any:
    """What `module:qualname` or `module.qualname` names in the modules that are imported already; None: nothing."""
    parts = name.replace(":", ".").split(".")
    main = name_of_main()
    for count in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:count])
        found: Any = sys.modules.get("__main__" if module == main else module)
        if found is not None:
            for part in parts[count:]:
                # Not getattr: a module, or a class of a class, may make or import what it is asked for.
                found = vars(found).get(part) if hasattr(found, "__dict__") else None
            return found
    return None


def name_of_main() -> str | None:
    """The name by which workers import what runs as `__main__` here."""
    try:
        return running_main().name
    except NotImportable:
        return None
