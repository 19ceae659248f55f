"""Saved calls for people in a browser: arguments by position have the names that the code they call gives them."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from belayed.django.references import load_manager, model_of
from belayed.errors import PayloadError
from belayed.payload import Target, registry
from belayed.redaction import HIDDEN, redacted, secret

BY_CLASS = ("enum", "dataclass", "attrs", "namedtuple", "pydantic")
"""The codec's tags whose values begin with the name of their class."""


def hidden(text: str, names: Sequence[str], task: str) -> str:
    """A payload's *text* without the values that look like secrets.

    Arguments by position are all hidden where their names cannot be found out: who may look at jobs in a browser is
    often trusted less than who has a terminal.
    """
    envelope = json.loads(text)
    if names and task not in registry and isinstance(envelope, dict) and isinstance(envelope.get("args"), list):
        envelope["args"] = positional(envelope["args"], parameters_of(envelope), names)
        text = json.dumps(envelope)
    return redacted(text, names, task, wary=False)


def positional(values: list[Any], parameters: list[inspect.Parameter], names: Sequence[str]) -> list[Any]:
    """Arguments by position, those hidden that look like secrets or have no name."""
    called = [one.name for one in parameters]
    if parameters and parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL:
        called += [called[-1]] * (len(values) - len(called))
    named = zip_longest(called[: len(values)], values)
    return [HIDDEN if name is None or secret(name, names) else value for name, value in named]


def parameters_of(envelope: dict[str, Any]) -> list[inspect.Parameter]:
    """What a saved call's function takes by position, without importing it; nothing where it is not here."""
    try:
        found, bound = method_of(envelope) if "method" in envelope else (imported(dotted(envelope["call"])), False)
        function = found.function if isinstance(found, Target) else getattr(found, "func", found)
        taken = list(inspect.signature(function).parameters.values())
    except (PayloadError, LookupError, TypeError, ValueError, AttributeError):
        return []
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [one for one in taken[bound:] if one.kind in (*by_position, inspect.Parameter.VAR_POSITIONAL)]


def method_of(envelope: dict[str, Any]) -> tuple[Any, bool]:
    """The method that is called, as its class has it, and whether its first parameter is the object or the class."""
    raw = inspect.getattr_static(class_of(envelope), envelope["method"])
    if isinstance(raw, staticmethod):
        return raw.__func__, False
    return (raw.__func__ if isinstance(raw, classmethod) else raw), True


def class_of(envelope: dict[str, Any]) -> Any:
    """The class of the object whose method is called. Raises PayloadError, or an error of the kind of KeyError."""
    if "of" in envelope:
        return imported(dotted(envelope["of"]))
    tag, key = envelope["self"]["$"], envelope["self"]["v"]
    if tag == "django":
        return model_of(key[0])
    if tag == "django.manager":
        return type(load_manager(key))
    if tag not in ("name", *BY_CLASS):
        raise LookupError(tag)
    return imported(dotted(key if tag == "name" else key[0]))


def dotted(name: str) -> str:
    """`shop.tasks.greet` of `shop.tasks:greet`."""
    return name.replace(":", ".")


def imported(path: str) -> Any:
    """What *path* names in the modules that are imported already; None: nothing."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:count]))
        if found is not None:
            for name in parts[count:]:
                # Not getattr: a module, or a class of a class, may make or import what it is asked for.
                found = vars(found).get(name) if hasattr(found, "__dict__") else None
            return found
    return None
