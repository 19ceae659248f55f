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
from typing import Any, Protocol

from belayed.codec.kinds import expect
from belayed.codec.refusals import Refused, shorten
from belayed.errors import BrokenPayload, SignatureChanged
from belayed.trust import Trust, resolve

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class made by a class statement

Default = Callable[[Any], object]
"""The value of a field that was not saved, given the record as far as it is restored."""


class Walk(Protocol):
    """What encoding needs of the codec."""

    def name(self, code: object) -> str: ...
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
        name = walk.name(cls)
        fields, rest = self.split(value)
        plain: list[Any] = [name, {key: walk.item(item, ".{0}", key) for key, item in fields.items()}]
        if rest:
            plain.append({key: walk.item(item, ".{0}", key) for key, item in rest.items()})
        return plain

    def decode(self, plain: Any, codec: Unwalk) -> object:
        name, fields, *more = expect(list, plain)
        rest = expect(dict, more[0]) if more else {}
        expect(dict, fields)
        cls = resolve(name, codec.trust)
        if not isinstance(cls, type) or not self.matches(cls):
            raise SignatureChanged(f"{name} was saved as a {self.tag} and is none in this worker's code")
        defaults = self.defaults(cls)
        if unknown := [key for key in fields if key not in defaults]:
            raise SignatureChanged(f"{name} has no field {unknown[0]!r} in this worker's code, but one was saved")
        for key, default in defaults.items():
            if key not in fields and default is None:
                raise SignatureChanged(f"{name} has a new field {key!r} without a default, and none was saved")
        saved = {key: codec.decode(item) for key, item in fields.items()}
        others = {key: codec.decode(item) for key, item in rest.items()}
        try:
            return self.build(cls, defaults, saved, others)
        except AttributeError as error:
            raise SignatureChanged(f"{name} cannot hold what was saved: {error}") from error

    def split(self, value: object) -> tuple[dict[str, object], dict[str, object]]:
        """The values of the fields, and whatever else the record holds (set by `__post_init__`, say)."""
        cls = type(value)
        for base in cls.__mro__[:-1]:
            if not base.__flags__ & _HEAP_TYPE:
                fix = f"hold the {base.__name__} in a field, or register() the class"
                raise Refused(f"{cls.__qualname__} is a {self.tag} that also is a {base.__name__}", fix)
        state = _state(value)
        fields = {key: state.pop(key) if key in state else _field(value, key) for key in self.defaults(cls)}
        return fields, {key: item for key, item in state.items() if _is_state(cls, key)}

    def build(
        self, cls: type, defaults: dict[str, Default | None], saved: dict[str, object], rest: dict[str, object]
    ) -> object:
        record: object = object.__new__(cls)
        for key, default in defaults.items():
            object.__setattr__(record, key, saved[key] if key in saved or default is None else default(record))
        _set_rest(record, defaults, rest)
        return record


class Dataclass(Record):
    """Fields by @dataclass."""

    tag = "dataclass"

    def matches(self, cls: type) -> bool:
        return dataclasses.is_dataclass(cls)

    def defaults(self, cls: Any) -> dict[str, Default | None]:
        return {field.name: self._default(field) for field in dataclasses.fields(cls)}

    def _default(self, field: dataclasses.Field[Any]) -> Default | None:
        if (factory := field.default_factory) is not dataclasses.MISSING:
            return lambda _: factory()
        return None if field.default is dataclasses.MISSING else lambda _: field.default


class Attrs(Record):
    """Fields by attrs, old style or new."""

    tag = "attrs"

    def matches(self, cls: type) -> bool:
        return hasattr(cls, "__attrs_attrs__") and "attr" in sys.modules

    def defaults(self, cls: Any) -> dict[str, Default | None]:
        return {attribute.name: self._default(attribute.default) for attribute in cls.__attrs_attrs__}

    def _default(self, default: Any) -> Default | None:
        attr = sys.modules["attr"]
        if default is attr.NOTHING:
            return None
        if isinstance(default, attr.Factory):
            return default.factory if default.takes_self else lambda _: default.factory()
        return lambda _: default

    def split(self, value: object) -> tuple[dict[str, object], dict[str, object]]:
        fields, rest = super().split(value)
        # Hashes differ from process to process; attrs computes one anew where it finds None.
        if "_attrs_cached_hash" in rest:
            rest["_attrs_cached_hash"] = None
        return fields, rest


class NamedTuples(Record):
    """Fields by NamedTuple or namedtuple()."""

    tag = "namedtuple"

    def matches(self, cls: type) -> bool:
        return issubclass(cls, tuple) and isinstance(getattr(cls, "_field_defaults", None), dict)

    def defaults(self, cls: Any) -> dict[str, Default | None]:
        return {key: self._default(cls, key) for key in cls._fields}

    def _default(self, cls: Any, key: str) -> Default | None:
        return (lambda _: cls._field_defaults[key]) if key in cls._field_defaults else None

    def split(self, value: Any) -> tuple[dict[str, object], dict[str, object]]:
        fields = dict(zip(value._fields, tuple.__iter__(value), strict=True))
        return fields, {key: item for key, item in _state(value).items() if _is_state(type(value), key)}

    def build(
        self, cls: Any, defaults: dict[str, Default | None], saved: dict[str, object], rest: dict[str, object]
    ) -> object:
        values = [saved[key] if key in saved or default is None else default(None) for key, default in defaults.items()]
        record = tuple.__new__(cls, values)
        _set_rest(record, defaults, rest)
        return record


class Pydantic(Record):
    """Fields of a Pydantic model, with its extras and private attributes."""

    tag = "pydantic"

    def matches(self, cls: type) -> bool:
        model = getattr(sys.modules.get("pydantic"), "BaseModel", None)
        return model is not None and issubclass(cls, model)

    def defaults(self, cls: Any) -> dict[str, Default | None]:
        return {key: self._default(field) for key, field in cls.model_fields.items()}

    def _default(self, field: Any) -> Default | None:
        if field.is_required():
            return None
        if getattr(field, "default_factory_takes_validated_data", False):
            return lambda saved: field.get_default(call_default_factory=True, validated_data=saved)
        return lambda _: field.get_default(call_default_factory=True)

    def split(self, value: Any) -> tuple[dict[str, object], dict[str, object]]:
        # BaseModel's own pair for pickle: it knows which of the private attributes have no value yet.
        state = sys.modules["pydantic"].BaseModel.__getstate__(value)
        known = self.defaults(type(value))
        fields = {key: state["__dict__"][key] if key in state["__dict__"] else _field(value, key) for key in known}
        rest = {"model_extra": state["__pydantic_extra__"], "private": state["__pydantic_private__"]}
        rest = {key: item for key, item in rest.items() if item}
        if (given := state["__pydantic_fields_set__"]) != set(known):
            rest["model_fields_set"] = set(given)
        return fields, rest

    def build(
        self, cls: Any, defaults: dict[str, Default | None], saved: dict[str, object], rest: dict[str, object]
    ) -> object:
        values: dict[str, object] = {}
        for key, default in defaults.items():
            values[key] = saved[key] if key in saved or default is None else default(values)
        # Private attributes added since start as they would in a new model.
        fresh = {key: item.get_default() for key, item in cls.__private_attributes__.items()}
        undefined = sys.modules["pydantic_core"].PydanticUndefined
        private = {key: item for key, item in fresh.items() if item is not undefined}
        private.update(expect(dict, rest.get("private", {})))
        extra = expect(dict, rest.get("model_extra", {}))
        if extra and cls.model_config.get("extra") != "allow":
            raise AttributeError(f"extra fields, such as {next(iter(extra))!r}")
        record = cls.__new__(cls)
        state = {
            "__dict__": values,
            "__pydantic_fields_set__": expect(set, rest.get("model_fields_set", set(saved))),
            "__pydantic_extra__": extra if cls.model_config.get("extra") == "allow" else None,
            "__pydantic_private__": private if cls.__private_attributes__ else None,
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
        return [walk.name(cls), name]
    if issubclass(cls, enum.Flag):
        return [walk.name(cls), walk.item(value.value, ".{0}", "value")]
    raise Refused(f"{shorten(value)} is not a member of its enum", f"add it to {cls.__qualname__}")


def decode_enum(plain: Any, codec: Unwalk) -> object:
    """The member, looked up and not called for."""
    name, member = expect(list, plain)
    cls = resolve(name, codec.trust)
    if not isinstance(cls, enum.EnumMeta):
        raise SignatureChanged(f"{name} was saved as an enum and is none in this worker's code")
    if type(member) is int and issubclass(cls, enum.Flag):
        try:
            return cls(member)
        except ValueError as error:
            raise SignatureChanged(f"{name} has no flags for {member} in this worker's code") from error
    key = expect(str, member)
    if key not in cls.__members__:
        raise SignatureChanged(f"{name} has no member {key!r} in this worker's code")
    return cls.__members__[key]


def _state(value: object) -> dict[str, object]:
    """What the instance holds, in its `__dict__` and in slots."""
    state: Any = object.__getstate__(value)
    if isinstance(state, tuple):
        return {**(state[0] or {}), **state[1]}
    return dict(state or {})


def _is_state(cls: type, key: str) -> bool:
    # Python's own marks (__orig_class__ of generics), and cached properties, are made again where they are needed.
    return not key.startswith("__") and not isinstance(getattr(cls, key, None), functools.cached_property)


def _field(value: object, key: str) -> object:
    try:
        return getattr(value, key)
    except Exception as error:
        raise Refused(f"{type(value).__qualname__} has no value in its field {key!r}", "set it first") from error


def _set_rest(record: object, defaults: dict[str, Default | None], rest: dict[str, object]) -> None:
    for key, item in rest.items():
        if key in defaults or key.startswith("__"):
            raise BrokenPayload(f"{type(record).__qualname__}: {key!r} is saved where it cannot be")
        object.__setattr__(record, key, item)


def stateless(subject: Any) -> bool:
    """Whether an object of a class of the application's has nothing that another of that class had not."""
    if not type(subject).__flags__ & _HEAP_TYPE:
        return False
    try:
        # What a copy of it would be made of: nothing but its class.
        made = object.__reduce_ex__(subject, 2)
    except TypeError:
        return False
    return isinstance(made, tuple) and made[1] == (type(subject),) and not any(made[2:])
