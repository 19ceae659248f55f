"""Where code is defined, found out without running any: attributes of classes, and whose code a callable really is."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterable, Iterator
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

Own = Callable[[str], bool]
"""Whether a module is the application's own."""

ABSENT: Any = object()
"""Stands for a missing attribute."""

declared: list[type] = []
"""Classes whose objects the application made in order to have them run: `@task`, `@handle_asynchronously`."""

holders: dict[type, Callable[[Any], object]] = {}
"""Classes whose objects stand in the place of a function, and what gets it out of them: tasks of other libraries."""

_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_namespace: Callable[[type], dict[str, Any]] = type.__dict__["__dict__"].__get__
_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_module_of_class: Callable[[type], object] = type.__dict__["__module__"].__get__
_ROUTINES = (
    FunctionType,
    MethodType,
    BuiltinFunctionType,
    MethodDescriptorType,
    ClassMethodDescriptorType,
    WrapperDescriptorType,
    functools.partial,
)
_METHODS = (FunctionType, classmethod, staticmethod, functools.partialmethod, functools.singledispatchmethod)
_REACH = 200
"""How many objects are looked at to find the function that a decorator's result calls."""


def is_class(value: object) -> bool:
    """Whether *value* is a class. `isinstance` would ask it for its `__class__`, which may be anything's code."""
    return issubclass(type(value), type)


_CACHED = type(functools.lru_cache(is_class))


def qualname(cls: type) -> str:
    """The name of a class, of which its metaclass is not asked."""
    return _qualname(cls)


def lineage(cls: type) -> tuple[type, ...]:
    """A class and its bases, in the order in which their attributes are looked up."""
    return _mro(cls)


def attribute(cls: type, name: str) -> Any:
    """What a class or its bases have by *name*, as it was written there; ABSENT if there is none.

    Neither the metaclass nor an instance has a say in it, and no descriptor is asked.
    """
    for base in _mro(cls):
        if (found := _namespace(base).get(name, ABSENT)) is not ABSENT:
            return found
    return ABSENT


def attributes(cls: type, names: Iterable[str]) -> dict[str, Any]:
    """What `attribute` finds by each of these names, which `object` has not: those that there are, in their order."""
    namespaces = [_namespace(base) for base in _mro(cls) if base is not object]
    found: dict[str, Any] = {}
    for name in names:
        for namespace in namespaces:
            if name in namespace:
                found[name] = namespace[name]
                break
    return found


def instance_dict(value: object) -> dict[str, Any] | None:
    """The `__dict__` that *value* really has; None if it has none."""
    for base in _mro(type(value)):
        found = _namespace(base).get("__dict__")
        if type(found) in (GetSetDescriptorType, MemberDescriptorType):
            inner: dict[str, Any] = found.__get__(value)  # type: ignore[union-attr]
            return inner
    return None


def slots(value: object) -> dict[str, Any]:
    """What *value* holds in its `__slots__`."""
    held: dict[str, Any] = {}
    for base in _mro(type(value)):
        for name, slot in _namespace(base).items():
            if type(slot) is MemberDescriptorType and not name.startswith("__"):
                try:
                    held.setdefault(name, slot.__get__(value))
                except AttributeError:
                    pass
    return held


def read(value: object, name: str) -> Any:
    """What *value* says of itself by *name*, where that takes no code of Python's; else ABSENT."""
    if is_class(value):
        known = {"__qualname__": _qualname, "__module__": _module_of_class}.get(name)
        return known(value) if known else _namespace(value).get(name, ABSENT)  # type: ignore[arg-type]
    own = instance_dict(value) or {}
    if (found := own.get(name, ABSENT)) is not ABSENT:
        return found
    found = attribute(type(value), name)
    if type(found) in (GetSetDescriptorType, MemberDescriptorType):
        try:
            return found.__get__(value)
        except AttributeError:
            return ABSENT
    return found


def is_method(raw: object) -> bool:
    """Whether what a class has by some name, as `attribute` finds it, is there to be called."""
    return callable(raw) or issubclass(type(raw), _METHODS)


def bound(raw: Any, subject: object) -> Any:
    """What `subject.name` would be for an attribute *raw* of its class, or of *subject* if that is the class."""
    kind = type(raw)
    if kind is not FunctionType and attribute(kind, "__get__") is ABSENT:
        return raw
    return raw.__get__(None, subject) if is_class(subject) else raw.__get__(subject, type(subject))


def is_own(found: object, own: Own, inside: frozenset[int] = frozenset()) -> bool:
    """Whether calling *found* runs code of modules that are *own*.

    It is judged by where its code was written. What it says of itself counts for nothing, except where a decorator has
    made it: then the function in it is judged, and the decorator must have kept that.
    """
    if id(found) in inside:
        return False
    inside |= {id(found)}
    kind = type(found)
    if kind is FunctionType:
        return _is_own_function(found, own, inside)
    if kind in (staticmethod, classmethod):
        return is_own(found.__func__, own, inside)  # type: ignore[attr-defined]
    if kind is MethodType:
        # Of a class: a class method by its name. Of an object: something else than the row says.
        return is_class(found.__self__) and is_own(found.__func__, own, inside)  # type: ignore[attr-defined]
    if kind in (functools.partial, functools.partialmethod):
        return is_own(found.func, own, inside)  # type: ignore[attr-defined]
    if kind is functools.singledispatchmethod:
        return all(is_own(one, own, inside) for one in found.dispatcher.registry.values())  # type: ignore[attr-defined]
    if kind in (BuiltinFunctionType, MethodDescriptorType, ClassMethodDescriptorType):
        return own(_module_of_c(found))
    if issubclass(kind, tuple(declared)):
        return True
    if kind in holders:
        return is_own(holders[kind](found), own, inside)
    if is_class(found):
        return False
    if (wrapped := read(found, "__wrapped__")) is not ABSENT:
        return is_own(wrapped, own, inside) and _keeps(found, wrapped)
    # Some decorators' objects do not say what they wrap; but they are methods, and that is all they call.
    routines = [one for one in _parts(found) if type(one) in _ROUTINES]
    is_decorator = bool(routines) and callable(found) and attribute(kind, "__get__") is not ABSENT
    return is_decorator and all(is_own(one, own, inside) for one in routines)


def is_own_class(cls: type, own: Own) -> bool:
    """Whether a class is of modules that are *own*: by what it says, and by where its methods were written."""
    module = _module_of_class(cls)
    if not isinstance(module, str) or not own(module):
        return False
    bases = {(_module_of_class(base), _qualname(base)) for base in _mro(cls)[1:]}
    written = [_written(raw) for raw in _namespace(cls).values()]
    # What it takes from its bases says nothing: enums copy some of theirs.
    places = [place for place in written if place is not None and place not in bases]
    return not places or any(own(module) for module, _ in places)


def _written(raw: Any) -> tuple[str, str] | None:
    """The module and the class in whose body a method was written; None for what was not written in any."""
    function = raw.__func__ if type(raw) in (staticmethod, classmethod) else raw
    if type(function) is not FunctionType or "<locals>" in function.__code__.co_qualname:
        return None
    cls = function.__code__.co_qualname.rpartition(".")[0]
    return (_module(function), cls) if cls else None


def module_of(found: object) -> str:
    """The module whose code runs when *found* is called, for messages."""
    kind = type(found)
    if kind in (staticmethod, classmethod, MethodType):
        return module_of(found.__func__)  # type: ignore[attr-defined]
    if kind in (functools.partial, functools.partialmethod):
        return module_of(found.func)  # type: ignore[attr-defined]
    if kind is FunctionType:
        return _module(found)
    if kind in (BuiltinFunctionType, MethodDescriptorType, ClassMethodDescriptorType):
        return _module_of_c(found)
    module = read(found if is_class(found) else kind, "__module__")
    return module if isinstance(module, str) else ""


def _is_own_function(found: Any, own: Own, inside: frozenset[int]) -> bool:
    here = own(_module(found))
    # co_qualname is the compiler's, which functools.wraps cannot change.
    if "<locals>" not in found.__code__.co_qualname:
        return here
    if found.__globals__ is vars(functools) and "registry" in found.__dict__:
        return all(is_own(one, own, inside) for one in found.registry.values())
    wrapped = found.__dict__.get("__wrapped__", ABSENT)
    if wrapped is ABSENT and not here:
        return False
    if wrapped is not ABSENT:
        if not is_own(wrapped, own, inside):
            return False
        if _keeps(found, wrapped):
            return True
    return all(_calls_own(part, own, inside) for part in _parts(found) if id(part) not in inside)


def _keeps(found: object, wrapped: object) -> bool:
    """Whether what a decorator has made holds the function that it goes by the name of: else it calls another one."""
    if type(read(type(found), "__wrapped__")) in (GetSetDescriptorType, MemberDescriptorType):
        return True
    seen: set[int] = {id(found)}
    left = [*_parts(found)]
    while left and len(seen) < _REACH:
        one = left.pop(0)
        if one is wrapped:
            return True
        if id(one) not in seen:
            seen.add(id(one))
            left += _parts(one)
    return False


def _parts(value: Any) -> Iterator[object]:
    """What *value* is made of and may call; not what it is only said to wrap."""
    kind = type(value)
    if kind is FunctionType:
        for cell in value.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:
                pass
    elif kind is MethodType:
        yield from (value.__self__, value.__func__)
    elif kind in (staticmethod, classmethod):
        yield value.__func__
    elif kind in (functools.partial, functools.partialmethod):
        yield from (value.func, *value.args)
    elif kind is _CACHED:
        # It does not show the function in it; its attributes are one dict among these.
        yield from (one for one in gc.get_referents(value) if type(one) is not dict)
    elif kind in (list, tuple, set, frozenset):
        yield from value
    elif kind is dict:
        yield from value.values()
    elif not issubclass(kind, (type, ModuleType)):
        yield from (part for name, part in (instance_dict(value) or {}).items() if name != "__wrapped__")
        yield from (part for part in slots(value).values())


def _calls_own(part: Any, own: Own, inside: frozenset[int]) -> bool:
    """Whether a function that calls an object which it holds runs what is own. Classes are passed over: errors, say."""
    if is_class(part) or not callable(part):
        return True
    called: Any = part
    if type(part) is MethodType:
        called = called.__func__
    return is_own(called, own, inside) or (
        type(called) not in _ROUTINES and is_own(attribute(type(called), "__call__"), own, inside)
    )


def _module(function: Any) -> str:
    module = function.__globals__.get("__name__")
    return module if isinstance(module, str) else ""


def _module_of_c(found: Any) -> str:
    """The module of a function that is written in C: of its class, or the one that it is in."""
    owner = read(found, "__self__")
    if type(found) is not BuiltinFunctionType:
        owner = found.__objclass__
    elif type(owner) is ModuleType:
        owner = vars(owner).get("__name__")
        return owner if isinstance(owner, str) else ""
    module = _module_of_class(owner) if is_class(owner) else None
    return module if isinstance(module, str) else ""
