"""Payloads for people to read: what looks like a secret, by the name of its argument or field, is not shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from belayed.payload import registry, signature_of
from belayed.signature import VAR_POSITIONAL

HIDDEN = "***"
UNREADABLE = json.dumps(f"{HIDDEN} (it cannot be read as JSON, so secrets in it could not be left out)")


def redacted(text: str, names: Sequence[str], task: str, *, wary: bool = True) -> str:
    """A payload's *text* with the values of arguments, fields and keys hidden whose names contain one of *names*.

    Arguments by position have the names that the function of *task* gives them; where this process does not know it,
    they are all hidden if it is to be *wary*, and shown if not.
    """
    if not names or not text:
        return text
    try:
        envelope = json.loads(text)
        if isinstance(envelope, dict) and isinstance(envelope.get("args"), list):
            envelope["args"] = positional(envelope["args"], names, task, wary)
        return json.dumps(without(envelope, names), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        # What cannot be read cannot be redacted either.
        return UNREADABLE


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


def positional(values: list[Any], names: Sequence[str], task: str, wary: bool) -> list[Any]:
    """Arguments by position, those hidden that are to be."""
    if task not in registry:
        return [HIDDEN for _ in values] if wary else values
    called = []
    for parameter in signature_of(registry[task]).whole.parameters.values():
        called.append(parameter.name)
        if parameter.kind is VAR_POSITIONAL:
            # All that follow are its.
            called += [parameter.name] * (len(values) - len(called))
            break
    # More than the function takes now have no name.
    named = zip_longest(called[: len(values)], values)
    return [HIDDEN if name is None or secret(name, names) else value for name, value in named]


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
