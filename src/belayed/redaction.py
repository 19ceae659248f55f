"""Payloads for people to read: what looks like a secret, by the name of its argument or field, is not shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from belayed.payload import registry, signature_of

HIDDEN = "***"


def redacted(text: str, names: Sequence[str], task: str, *, wary: bool = True) -> str:
    """A payload's *text* with the values of arguments, fields and keys hidden whose names contain one of *names*.

    Arguments by position have the names that the function of *task* gives them; where this process does not know it,
    they are all hidden if it is to be *wary*, and shown if not.
    """
    if not names or not text:
        return text
    try:
        envelope = json.loads(text)
    except ValueError:
        return text
    if isinstance(envelope, dict) and isinstance(envelope.get("args"), list):
        envelope["args"] = positional(envelope["args"], names, task, wary)
    return json.dumps(without(envelope, names), ensure_ascii=False, separators=(",", ":"))


def positional(values: list[Any], names: Sequence[str], task: str, wary: bool) -> list[Any]:
    """Arguments by position, those hidden that are to be."""
    if task not in registry:
        return [HIDDEN for _ in values] if wary else values
    parameters = [*signature_of(registry[task]).whole.parameters]
    # What is beyond the named ones goes into *args.
    called = [parameters[min(place, len(parameters) - 1)] if parameters else "" for place in range(len(values))]
    return [HIDDEN if secret(name, names) else value for name, value in zip(called, values, strict=True)]


def without(value: Any, names: Sequence[str]) -> Any:
    """A JSON value, with what is under a secret name hidden."""
    if isinstance(value, dict):
        return {key: HIDDEN if secret(key, names) else without(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [without(inner, names) for inner in value]
    return value


def secret(name: str, names: Sequence[str]) -> bool:
    lowered = name.lower()
    return any(one.lower() in lowered for one in names)
