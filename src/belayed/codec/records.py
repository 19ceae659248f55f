"""Values of the application's own classes: dataclasses, attrs, NamedTuples, Pydantic models, enums; saved by field.

They are restored as pickle would, without `__init__` or `__post_init__`: what these would do has been done.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import FunctionType, MemberDescriptorType
from typing import Any, Protocol

from belayed.codec.kinds import expect
from belayed.codec.rebuilding import HEAP_TYPE, check_rebuilds, put, put_rest, way
from belayed.codec.refusals import Refused, shorten
from belayed.definitions import (
    ABSENT,
    attribute,
    bound,
    instance_dict,
    is_class,
    lineage,
    module_of,
    read,
    slots,
)
from belayed.errors import SignatureChanged, UntrustedPayload
from belayed.trust import Trust, resolve

REGISTER = "call it something else, or register() the class"
_FIELD: Any = dataclasses._FIELD  # type: ignore[attr-defined]  # noqa: SLF001 - it has no public name

Default = Callable[[Any], object]
"""The value of a field that was not saved, given the record as far as it is restored."""


class Walk(Protocol):
    """What encoding needs of the codec."""

    @property
    def trust(self) -> Trust: ...
    def rebuilt(self, cls: type) -> str: ...
    def item(self, value: object, step: str, key: object) -> Any: ...


class Unwalk(Protocol):
    """What decoding needs of the codec."""

    @property
    def trust(self) -> Trust: ...
    def decode(self, plain: Any) -> Any: ...


class Record(ABC):
    """One way to declare a class with fields. The plain form is [class, fields] or [class, fields, rest]."""

    tag: str

    @abstractmethod
    def matches(self, cls: type) -> bool: ...

    @abstractmethod
    def defaults(self, cls: Any) -> dict[str, Default | None]:
        """The fields in order, each with its default; None: it has none."""

    def encode(self, value: object, walk: Walk) -> list[Any]:
        cls = type(value)
        name = walk.rebuilt(cls)
        fields, rest = self.split(value, walk.trust)
        for key in (*fields, *rest):
            try:
                self.check(cls, key, key in fields, walk.trust)
            except AttributeError as error:
                raise Refused(f"{cls.__qualname__}.{key} cannot be set again: {error}", REGISTER) from error
        plain: list[Any] = [name, {key: walk.item(item, ".{0}", key) for key, item in fields.items()}]
        if rest:
            plain.append({key: walk.item(item, ".{0}", key) for key, item in rest.items()})
        return plain

    def decode(self, plain: Any, codec: Unwalk) -> object:
        name, fields, *more = expect(list, plain)
        rest = expect(dict, more[0]) if more else {}
        expect(dict, fields)
        cls: Any = resolve(name, codec.trust)
        if not is_class(cls) or not self.matches(cls):
            raise SignatureChanged(f"{name} was saved as a {self.tag} and is none in this worker's code")
        check_rebuilds(cls, codec.trust)
        defaults = self.defaults(cls)
        if unknown := [key for key in fields if key not in defaults]:
            raise SignatureChanged(f"{name} has no field {unknown[0]!r} in this worker's code, but one was saved")
        for key, default in defaults.items():
            if key not in fields and default is None:
                raise SignatureChanged(f"{name} has a new field {key!r} without a default, and none was saved")
        saved = {key: codec.decode(item) for key, item in fields.items()}
        others = {key: codec.decode(item) for key, item in rest.items()}
        try:
            return self.build(cls, defaults, saved, others, codec.trust)
        except AttributeError as error:
            raise SignatureChanged(f"{name} cannot hold what was saved: {error}") from error

    def split(self, value: object, trust: Trust) -> tuple[dict[str, object], dict[str, object]]:
        """The values of the fields, and whatever else the record holds (set by `__post_init__`, say)."""
        cls = type(value)
        for base in lineage(cls)[:-1]:
            if not base.__flags__ & HEAP_TYPE:
                fix = f"hold the {base.__name__} in a field, or register() the class"
                raise Refused(f"{cls.__qualname__} is a {self.tag} that also is a {base.__name__}", fix)
        state = _state(value)
        fields = {key: state.pop(key) if key in state else _field(value, key, trust) for key in self.defaults(cls)}
        return fields, {key: item for key, item in state.items() if _is_state(cls, key)}

    def build(
        self,
        cls: type,
        defaults: dict[str, Default | None],
        saved: dict[str, object],
        rest: dict[str, object],
        trust: Trust,
    ) -> object:
        record: object = object.__new__(cls)
        for key, default in defaults.items():
            put(record, key, saved[key] if key in saved or default is None else default(record), trust, field=True)
        put_rest(record, defaults, rest, trust)
        return record

    def check(self, cls: type, key: str, field: bool, trust: Trust) -> None:
        """Raise AttributeError for what `build` would not set."""
        way(cls, key, trust, field=field)


class Dataclass(Record):
    """Fields by @dataclass."""

    tag = "dataclass"

    def matches(self, cls: type) -> bool:
        return type(attribute(cls, "__dataclass_fields__")) is dict

    def defaults(self, cls: Any) -> dict[str, Default | None]:
        # Not dataclasses.fields(), which asks the class and so its metaclass.
        fields = attribute(cls, "__dataclass_fields__").values()
        return {field.name: self._default(field) for field in fields if field._field_type is _FIELD}  # noqa: SLF001

    def _default(self, field: dataclasses.Field[Any]) -> Default | None:
        if (factory := field.default_factory) is not dataclasses.MISSING:
            return lambda _: factory()
        return None if field.default is dataclasses.MISSING else lambda _: field.default


class Attrs(Record):
    """Fields by attrs, old style or new."""

    tag = "attrs"

    def matches(self, cls: type) -> bool:
        return isinstance(attribute(cls, "__attrs_attrs__"), tuple) and "attr" in sys.modules

    def defaults(self, cls: Any) -> dict[str, Default | None]:
        return {field.name: self._default(field.default) for field in attribute(cls, "__attrs_attrs__")}

    def _default(self, default: Any) -> Default | None:
        attr = sys.modules["attr"]
        if default is attr.NOTHING:
            return None
        if isinstance(default, attr.Factory):
            return default.factory if default.takes_self else lambda _: default.factory()
        return lambda _: default

    def split(self, value: object, trust: Trust) -> tuple[dict[str, object], dict[str, object]]:
        fields, rest = super().split(value, trust)
        # Hashes differ from process to process; attrs computes one anew where it finds None.
        if "_attrs_cached_hash" in rest:
            rest["_attrs_cached_hash"] = None
        return fields, rest


class NamedTuples(Record):
    """Fields by NamedTuple or namedtuple()."""

    tag = "namedtuple"

    def matches(self, cls: type) -> bool:
        return tuple in lineage(cls) and type(attribute(cls, "_field_defaults")) is dict

    def defaults(self, cls: Any) -> dict[str, Default | None]:
        return {key: self._default(cls, key) for key in attribute(cls, "_fields")}

    def _default(self, cls: Any, key: str) -> Default | None:
        values = attribute(cls, "_field_defaults")
        return (lambda _: values[key]) if key in values else None

    def split(self, value: Any, trust: Trust) -> tuple[dict[str, object], dict[str, object]]:
        fields = dict(zip(value._fields, tuple.__iter__(value), strict=True))
        return fields, {key: item for key, item in _state(value).items() if _is_state(type(value), key)}

    def check(self, cls: type, key: str, field: bool, trust: Trust) -> None:
        # The fields are the tuple's own.
        if not field:
            way(cls, key, trust, field=False)

    def build(
        self,
        cls: Any,
        defaults: dict[str, Default | None],
        saved: dict[str, object],
        rest: dict[str, object],
        trust: Trust,
    ) -> object:
        values = [saved[key] if key in saved or default is None else default(None) for key, default in defaults.items()]
        record = tuple.__new__(cls, values)
        put_rest(record, defaults, rest, trust)
        return record


class Pydantic(Record):
    """Fields of a Pydantic model, with its extras and private attributes."""

    tag = "pydantic"

    def matches(self, cls: type) -> bool:
        model = getattr(sys.modules.get("pydantic"), "BaseModel", None)
        return model is not None and model in lineage(cls)

    def defaults(self, cls: Any) -> dict[str, Default | None]:
        fields = attribute(cls, "__pydantic_fields__")
        if fields is ABSENT:
            # Before Pydantic 2.10.
            fields = attribute(cls, "model_fields")
        return {key: self._default(field) for key, field in fields.items()}

    def _default(self, field: Any) -> Default | None:
        if field.is_required():
            return None
        if getattr(field, "default_factory_takes_validated_data", False):
            return lambda saved: field.get_default(call_default_factory=True, validated_data=saved)
        return lambda _: field.get_default(call_default_factory=True)

    def split(self, value: Any, trust: Trust) -> tuple[dict[str, object], dict[str, object]]:
        known, state = self.defaults(type(value)), instance_dict(value) or {}
        fields = {key: state[key] if key in state else _field(value, key, trust) for key in known}
        undefined = sys.modules["pydantic_core"].PydanticUndefined
        private = read(value, "__pydantic_private__")
        # Those that have no value yet are marked.
        private = (
            {key: item for key, item in private.items() if item is not undefined} if type(private) is dict else None
        )
        rest = {"model_extra": read(value, "__pydantic_extra__"), "private": private}
        rest = {key: item for key, item in rest.items() if item}
        if (given := read(value, "__pydantic_fields_set__")) != set(known):
            rest["model_fields_set"] = set(given)
        return fields, rest

    def check(self, cls: type, key: str, field: bool, trust: Trust) -> None:
        """Nothing: its values lie in dicts of their own, which hide no method."""

    def build(
        self,
        cls: Any,
        defaults: dict[str, Default | None],
        saved: dict[str, object],
        rest: dict[str, object],
        trust: Trust,
    ) -> object:
        values: dict[str, object] = {}
        for key, default in defaults.items():
            values[key] = saved[key] if key in saved or default is None else default(values)
        # Private attributes added since start as they would in a new model.
        known = attribute(cls, "__private_attributes__")
        fresh = {key: item.get_default() for key, item in known.items()}
        undefined = sys.modules["pydantic_core"].PydanticUndefined
        private = {key: item for key, item in fresh.items() if item is not undefined}
        private.update(expect(dict, rest.get("private", {})))
        extra = expect(dict, rest.get("model_extra", {}))
        if any(type(key) is not str for key in (*private, *extra)):
            raise AttributeError("attributes without names")
        if strange := [key for key in private if key not in known]:
            raise AttributeError(f"private attributes, such as {strange[0]!r}")
        takes_more = attribute(cls, "model_config").get("extra") == "allow"
        if extra and not takes_more:
            raise AttributeError(f"extra fields, such as {next(iter(extra))!r}")
        record = object.__new__(cls)
        state = {
            "__dict__": values,
            "__pydantic_fields_set__": expect(set, rest.get("model_fields_set", set(saved))),
            "__pydantic_extra__": extra if takes_more else None,
            "__pydantic_private__": private if known else None,
        }
        sys.modules["pydantic"].BaseModel.__setstate__(record, state)
        return record


RECORDS: tuple[Record, ...] = (Dataclass(), Attrs(), NamedTuples(), Pydantic())


def record_of(cls: type) -> Record | None:
    """How *cls* declares its fields; None if it does not."""
    return next((record for record in RECORDS if record.matches(cls)), None)


def encode_enum(value: enum.Enum, walk: Walk) -> list[Any]:
    """[class, name], or [class, value] for a combination of flags, which has no name of its own."""
    cls = type(value)
    name: Any = value.name
    if cls.__members__.get(name) is value:
        return [walk.rebuilt(cls), name]
    if issubclass(cls, enum.Flag):
        return [walk.rebuilt(cls), walk.item(value.value, ".{0}", "value")]
    raise Refused(f"{shorten(value)} is not a member of its enum", f"add it to {cls.__qualname__}")


def decode_enum(plain: Any, codec: Unwalk) -> object:
    """The member, looked up and not called for."""
    name, member = expect(list, plain)
    cls: Any = resolve(name, codec.trust)
    if not issubclass(type(cls), enum.EnumMeta):
        raise SignatureChanged(f"{name} was saved as an enum and is none in this worker's code")
    if type(member) is int and enum.Flag in lineage(cls):
        # A combination that has not been seen yet is made by code, which may be that of a base.
        for kind, method in ((type(cls), "__call__"), (cls, "_missing_"), (cls, "__new__")):
            made_by = attribute(kind, method)
            if module_of(made_by) != "enum" and not codec.trust.runs(made_by):
                raise UntrustedPayload(f"{name}.{method} is not code that workers may run")
        try:
            return cls(member)
        except ValueError as error:
            raise SignatureChanged(f"{name} has no flags for {member} in this worker's code") from error
    members = attribute(cls, "_member_map_")
    key = expect(str, member)
    if key not in members:
        raise SignatureChanged(f"{name} has no member {key!r} in this worker's code")
    return members[key]


def _state(value: object) -> dict[str, object]:
    """What the instance holds, in its `__dict__` and in slots."""
    return {**(instance_dict(value) or {}), **slots(value)}


def _is_state(cls: type, key: str) -> bool:
    # Python's own marks (__orig_class__ of generics), and cached properties, are made again where they are needed.
    return not key.startswith("__") and not isinstance(attribute(cls, key), functools.cached_property)


def _field(value: object, key: str, trust: Trust) -> object:
    """The value of a field that is not among an object's own: a default of its class, or what a property of it says."""
    raw = attribute(type(value), key)
    getter = attribute(type(raw), "__get__")
    getter = read(raw, "fget") if type(raw) is property else getter
    try:
        if raw is ABSENT or type(raw) is MemberDescriptorType:
            raise AttributeError(key)
        if getter is ABSENT or type(raw) is FunctionType:
            return raw
        if not trust.runs(getter):
            raise AttributeError(f"{key!r} is read by code that workers may not run")
        return bound(raw, value)
    except Exception as error:
        raise Refused(f"{type(value).__qualname__} has no value in its field {key!r}", "set it first") from error
