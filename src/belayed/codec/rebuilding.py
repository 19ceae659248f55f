"""Objects made again from their attributes: without calling anything of their classes but the application's setters."""

from __future__ import annotations

from collections.abc import Container
from types import MemberDescriptorType, WrapperDescriptorType
from typing import Any

from belayed.definitions import ABSENT, attribute, instance_dict, is_class, is_method, lineage, qualname, read
from belayed.errors import BrokenPayload, NotSerializable, SignatureChanged, UntrustedPayload
from belayed.trust import Trust

HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: a class made by a class statement."""

_COMPARED_BY = ("enum", "pydantic.main")
"""Modules that compare enums and models, by nothing but their values."""


def way(cls: type, key: str, trust: Trust, *, field: bool = False) -> Any:
    """The descriptor by which an attribute is put into an object of *cls*; None: into its `__dict__`.

    A field may have a setter, if that is code which workers may run. What is no field never stands in the place of a
    method. Raises AttributeError.
    """
    raw = attribute(cls, key)
    if raw is ABSENT or type(raw) is MemberDescriptorType:
        return None if raw is ABSENT else raw
    setter = attribute(type(raw), "__set__")
    if setter is not ABSENT and field:
        if setter is property.__dict__["__set__"]:
            setter = read(raw, "fset")
        if setter is None or not trust.runs(setter):
            raise AttributeError(f"{key!r} is set by code that workers may not run")
        return raw
    if setter is ABSENT and not field and is_method(raw):
        raise AttributeError(f"{key!r} is a method of its class")
    return None


def put(record: object, key: str, item: object, trust: Trust, *, field: bool = False) -> None:
    """Set an attribute of an object, running nothing but the application's own setters. Raises AttributeError."""
    descriptor = way(type(record), key, trust, field=field)
    if descriptor is not None:
        descriptor.__set__(record, item)
        return
    namespace = instance_dict(record)
    if namespace is None:
        raise AttributeError(f"it has no attribute {key!r}")
    namespace[key] = item


def put_rest(record: object, known: Container[str], rest: dict[str, object], trust: Trust) -> None:
    """Set attributes that are none of the fields *known*. Raises BrokenPayload or AttributeError."""
    for key, item in rest.items():
        if type(key) is not str or key in known or key.startswith("__"):
            shown = repr(key) if type(key) is str else "what is no name"
            raise BrokenPayload(f"{qualname(type(record))}: {shown} is saved where it cannot be")
        put(record, key, item, trust)


def check_key(key: object, trust: Trust) -> None:
    """Raise UntrustedPayload for a key or a member of a set that code of others would compare."""
    left = [key]
    while left:
        one = left.pop()
        cls = type(one)
        if cls in (tuple, frozenset):
            left += one  # type: ignore[arg-type]
        elif trust.owns(str(read(cls, "__module__"))):
            for name in ("__hash__", "__eq__"):
                base = next(base for base in lineage(cls) if name in vars(base))
                compared_by = attribute(base, name)
                module = str(read(base, "__module__"))
                harmless = compared_by is None or type(compared_by) is WrapperDescriptorType or module in _COMPARED_BY
                if not (harmless or trust.owns(module) or trust.runs(compared_by)):
                    raise UntrustedPayload(
                        f"{qualname(cls)}.{name} is not code that workers may run, and a set or dict would"
                    )
            left += (instance_dict(one) or {}).values()


def check_rebuilds(cls: type, trust: Trust) -> None:
    """Raise UntrustedPayload for a class whose objects would run foreign code when they go."""
    if not trust.rebuilds(cls):
        raise UntrustedPayload(f"{qualname(cls)}.__del__ is not code that workers may run")


def blank(cls: Any, trust: Trust) -> object:
    """An object of *cls* without any state, made without running anything of it."""
    if not is_class(cls):
        raise BrokenPayload("the payload names no class")
    check_rebuilds(cls, trust)
    try:
        made: object = object.__new__(cls)
    except TypeError as error:
        raise BrokenPayload(f"an object of {qualname(cls)} cannot be rebuilt: {error}") from error
    return made


def refill(subject: object, fields: Any, trust: Trust) -> None:
    """Give a blank object its attributes. Raises BrokenPayload or SignatureChanged."""
    if type(fields) is not dict:
        raise BrokenPayload("the payload names no class with fields")
    try:
        put_rest(subject, {}, fields, trust)
    except AttributeError as error:
        raise SignatureChanged(f"{qualname(type(subject))} cannot hold what was saved: {error}") from error


def has_attributes_only(cls: type) -> bool:
    """Whether all that an object of *cls* holds is in its `__dict__`, as far as its class says."""
    made_here = all(base.__flags__ & HEAP_TYPE for base in lineage(cls)[:-1])
    return made_here and any("__dict__" in vars(base) for base in lineage(cls))


def check_state(subject: object, trust: Trust, path: str) -> dict[str, object]:
    """The attributes of an object, by which `refill` makes another. Raises NotSerializable."""
    state = {key: item for key, item in (instance_dict(subject) or {}).items() if not key.startswith("__")}
    for key in state:
        try:
            way(type(subject), key, trust)
        except AttributeError as error:
            raise NotSerializable(
                f"{path}.{key}", f"it cannot be set again: {error}", "call it something else"
            ) from error
    return state


def stateless(subject: Any) -> bool:
    """Whether an object of a class of the application's has nothing that another of that class had not."""
    if not type(subject).__flags__ & HEAP_TYPE:
        return False
    try:
        # What a copy of it would be made of: nothing but its class.
        made = object.__reduce_ex__(subject, 2)
    except TypeError:
        return False
    if not isinstance(made, tuple) or made[1] != (type(subject),):
        return False
    state, *items = made[2:]
    # Python's own marks, such as __orig_class__ of generics, say nothing that a job needs.
    named = state.keys() if isinstance(state, dict) else state or ()
    return not any(items) and all(isinstance(key, str) and key.startswith("__") for key in named)
