"""Types of the application's own: registered with the two functions that take them apart, or as references to rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from belayed.codec.kinds import FROM_PLAIN, TO_PLAIN
from belayed.codec.records import RECORDS
from belayed.codec.refusals import Refused, shorten
from belayed.errors import BrokenPayload, ConfigError, EnqueueError, NotSaved, ObjectNotFound, PayloadError

T = TypeVar("T")


def register(type_: type[T], *, name: str, encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Let values of exactly *type_* travel as what *encode* makes of them: anything that the codec takes.

    *name* is their tag in saved payloads: keep it when the type is renamed. Raises ConfigError.
    """
    _add(Registered(type_, name, encode, decode))


def register_reference(
    type_: type[T],
    *,
    name: str,
    key: Callable[[T], Any],
    load: Callable[[Any], T | None],
    kind: Callable[[Any], type] | None = None,
) -> None:
    """Let objects of *type_* and its subclasses travel as their *key*, and be loaded again when the job runs.

    A key of None means that the object is not saved yet. *load* answers None or raises LookupError if it is gone.
    *kind* tells the class of the object with a key, where it may be a subclass. *name* is the tag in saved payloads.
    Raises ConfigError.
    """
    _add(Reference(type_, name, key, load, kind))


def register_proxy(type_: type, content: Callable[[Any], Any]) -> None:
    """Let objects of *type_* and its subclasses stand for what *content* gets out of them."""
    _proxies[type_] = content


def behind(value: Any) -> Any:
    """The object that a proxy stands for; any other is itself."""
    if _proxies:
        for base in type(value).__mro__:
            if base in _proxies:
                return behind(_proxies[base](value))
    return value


def registered_for(kind: type) -> Registered | Reference | None:
    """How values of *kind* travel: as registered, or as the nearest class above it that is a reference."""
    if (registered := _by_type.get(kind)) is not None:
        return registered
    return next((_references[base] for base in kind.__mro__ if base in _references), None)


@dataclass(frozen=True, slots=True)
class Registered:
    """A type and the two functions that the application gave for it."""

    type_: type
    name: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]

    def stand_in(self, value: object) -> Any:
        try:
            return self.encode(value)
        except Exception as error:
            fix = f"mend the encode given to register() as {self.name!r}, or pass something else"
            raise Refused(f"{shorten(value)} could not be encoded ({type(error).__name__}: {error})", fix) from error

    def restore(self, saved: Any, plain: Any) -> object:
        try:
            return self.decode(saved)
        except PayloadError:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise BrokenPayload(f"{self.name}: its decode refused {shown(saved, plain)} ({text})") from error


@dataclass(frozen=True, slots=True)
class Reference:
    """A type whose objects stay where they are; only their keys travel."""

    type_: type
    name: str
    key: Callable[[Any], Any]
    load: Callable[[Any], Any]
    kind: Callable[[Any], type] | None = None
    """The class of the object that a key is of; None: *type_*."""

    def stand_in(self, value: object) -> Any:
        try:
            key = self.key(value)
        except EnqueueError as error:
            raise Refused(str(error), error=type(error)) from error
        if key is None:
            label = f"this {type(value).__qualname__}"
            raise Refused(f"{label} is not saved yet: save it before it is used in a job", error=NotSaved)
        return key

    def restore(self, saved: Any, plain: Any) -> object:
        try:
            found = self.load(saved)
        except LookupError as error:
            raise ObjectNotFound(self._gone(saved, plain)) from error
        if found is None:
            raise ObjectNotFound(self._gone(saved, plain))
        return found

    def _gone(self, key: object, plain: Any) -> str:
        return f"{self.type_.__qualname__} {shown(key, plain)} ({self.name}) is not in its database any more"


def shown(saved: object, plain: Any) -> str:
    """A saved value for messages: as JSON where its repr could be anybody's code."""
    return shorten(saved if type(saved) in _OWN_TYPES and not isinstance(saved, _CONTAINERS) else plain)


TAGS = frozenset(
    {*FROM_PLAIN, *(record.tag for record in RECORDS), "tuple", "set", "frozenset", "dict", "enum", "name"}
)
"""The codec's own tags, which no type of the application may have as its name."""

by_name: dict[str, Registered | Reference] = {}
"""What a tag stands for, apart from the codec's own."""

_by_type: dict[type, Registered] = {}
_references: dict[type, Reference] = {}
_proxies: dict[type, Callable[[Any], Any]] = {}
_CONTAINERS = (list, dict, tuple, set, frozenset)
_OWN_TYPES = frozenset({*TO_PLAIN, str, int, float, bool, type(None), *_CONTAINERS})


def _add(entry: Registered | Reference) -> None:
    if not entry.name:
        raise ConfigError(f"{entry.name!r} names no type; give register() a name, such as 'money'")
    if entry.name in TAGS:
        raise ConfigError(f"the name {entry.name!r} is the codec's own; register {entry.type_.__qualname__} as another")
    if entry.type_ in _OWN_TYPES:
        raise ConfigError(f"the codec takes {entry.type_.__qualname__} as it is; register only types that it does not")
    known = by_name.get(entry.name)
    # By name, not identity: a module may be reloaded.
    if known is not None and _label(known) != _label(entry):
        raise ConfigError(f"the name {entry.name!r} is taken by {_label(known)}; register {_label(entry)} as another")
    by_name[entry.name] = entry
    if isinstance(entry, Reference):
        _references[entry.type_] = entry
    else:
        _by_type[entry.type_] = entry


def _label(entry: Registered | Reference) -> str:
    return f"{entry.type_.__module__}.{entry.type_.__qualname__}"
