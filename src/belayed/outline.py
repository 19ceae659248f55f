"""The outline of a payload: what its text tells before any argument, or the object of a method, is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from belayed.codec import Codec
from belayed.codec.registry import Reference, by_name
from belayed.definitions import attribute
from belayed.errors import UnknownPayload, UntrustedPayload
from belayed.methods import NO_RULES, class_of, rules_of
from belayed.payload import VERSION, Loaded, Target, function_named, is_async, load_envelope
from belayed.retry import Rules
from belayed.trust import resolve


@dataclass(slots=True)
class Outline:
    """A payload of which nothing is loaded yet but its code."""

    envelope: Any
    is_tagged: bool
    is_async: bool
    """Whether it seems to be a coroutine: only an object that is loaded is sure to say so."""

    def load(self, codec: Codec) -> Loaded:
        """The payload, ready to run. Raises PayloadError, and what the application's code raises in it."""
        return load_envelope(codec.decode(self.envelope) if self.is_tagged else self.envelope, codec)


def outline(text: str, codec: Codec) -> Outline:
    """The outline of a saved payload. Raises PayloadError, also for code that is not here."""
    envelope = codec.parse(text)
    version = envelope.get("v") if type(envelope) is dict else None
    if type(version) is not int or version > VERSION:
        # It says what is wrong.
        load_envelope(envelope, codec)
    return Outline(envelope, codec.is_tagged(text), seems_async(envelope, codec))


def seems_async(envelope: dict[str, Any], codec: Codec) -> bool:
    """Whether a payload's code is a coroutine function, as far as that is known here. Raises PayloadError."""
    try:
        found = code_of(envelope, codec)
    except (UnknownPayload, UntrustedPayload):
        raise
    except Exception:
        # To load it says what is wrong.
        return False
    if issubclass(type(found), Target):
        return bool(found.is_async)
    function = found.__func__ if type(found) in (staticmethod, classmethod) else found
    # What a class has by some name may be any object, with code of its own.
    return (type(function) is FunctionType or codec.trust.runs(function)) and is_async(function)


def code_of(envelope: dict[str, Any], codec: Codec) -> Any:
    """What a payload calls: a Target, a function, or what a class has by a method's name. Raises what there is."""
    if "method" in envelope:
        kind = resolve(envelope["of"], codec.trust) if "of" in envelope else kind_told(envelope["self"], codec)
        return attribute(class_of(kind), envelope["method"])
    if "class" in envelope or "perform" in envelope:
        return attribute(class_of(kind_performed(envelope, codec)), "perform")
    return function_named(envelope, codec)


def kind_performed(envelope: dict[str, Any], codec: Codec) -> Any:
    """The class of an object with perform(). Raises whatever there is to raise for one that cannot be told."""
    return resolve(envelope["class"], codec.trust) if "class" in envelope else kind_told(envelope["perform"], codec)


def rules_told(text: str, codec: Codec) -> Rules:
    """The rules of a job whose arguments cannot be loaded, as far as its payload's text tells. Never raises."""
    try:
        envelope = json.loads(text)
        if "method" not in envelope and ("class" in envelope or "perform" in envelope):
            return rules_of(kind_performed(envelope, codec), codec.trust)
        found = code_of(envelope, codec)
    except Exception:
        return NO_RULES
    return found.rules if issubclass(type(found), Target) else NO_RULES


def kind_told(plain: Any, codec: Codec) -> Any:
    """The class of a saved object, or a class that is saved. Raises whatever there is to raise for any other."""
    tag, value = plain["$"], plain["v"]
    entry = by_name.get(tag)
    if entry is not None:
        return entry.kind(value) if isinstance(entry, Reference) and entry.kind else entry.type_
    return resolve(value if tag == "name" else value[0], codec.trust)
