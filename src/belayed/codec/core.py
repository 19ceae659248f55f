"""Argument values ↔ text: tagged JSON, from which a value comes back equal and of the same type."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable
from math import isfinite
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

from belayed.codec.folding import folded
from belayed.codec.kinds import FROM_PLAIN, TO_PLAIN, check_float, check_int, check_text, expect
from belayed.codec.rebuilding import check_key
from belayed.codec.records import RECORDS, decode_enum, encode_enum, record_of
from belayed.codec.refusals import Refused, refusal, shorten
from belayed.codec.registry import behind, by_name, registered_for
from belayed.definitions import ABSENT, read
from belayed.errors import BrokenPayload, NotImportable, NotSerializable, NotTrusted, UnknownTask, UntrustedPayload
from belayed.trust import Trust, is_of_application, name_of, resolve

MAX_DEPTH = 100
"""How deep values may be nested; a tagged value is up to four levels of JSON, and Python reads about 900 of those."""


class Codec:
    """Turns arguments into plain JSON and back. *trust* says which classes and functions they may name."""

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self._names: dict[type, str] = {}
        self._of_library: WeakKeyDictionary[type, bool] = WeakKeyDictionary()

    def encode(self, value: object, path: str) -> Any:
        """The plain JSON structure of *value*; *path* is what errors call it.

        Raises NotSerializable, NotSaved, NotImportable or NotTrusted, naming the path to the part that is refused.
        """
        try:
            return _Walk(self).plain(value)
        except Refused as refused:
            raise refused.at(path) from refused.__cause__
        except RecursionError:
            raise NotSerializable(path, "is nested too deeply to be read here", _FLATTEN) from None

    def is_formless(self, value: object) -> bool:
        """Whether `encode` would refuse an object of a class of the application's: for none of its parts."""
        kind = type(value)
        return (
            record_of(kind) is None
            and registered_for(kind) is None
            and behind(value) is value
            and not issubclass(kind, (*_CODE, enum.Enum, *_PLAIN, *TO_PLAIN, list, dict, tuple, set, frozenset))
            and not _stands_for_code(value)
        )

    def encode_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The plain structures of a call's arguments, called `args[0]` … and by their keywords in errors."""
        if _are_flat(args) and _are_flat(kwargs.values()) and all(map(str.isidentifier, kwargs)):
            return list(args), dict(kwargs)
        for keyword in kwargs:
            self.encode(keyword, "a keyword")
            if keyword.startswith("$"):
                raise NotSerializable(
                    keyword, "a keyword may not begin with $, which marks the codec's own", "rename it"
                )
        plain = [self.encode(value, f"args[{index}]") for index, value in enumerate(args)]
        return plain, {keyword: self.encode(value, keyword) for keyword, value in kwargs.items()}

    def plainly(self, args: tuple[Any, ...]) -> str | None:
        """The text of a call's positional arguments, if none of them needs a closer look, as most do not."""
        return _encoded(args) if _are_flat(args) else None

    def decode(self, plain: Any) -> Any:
        """The value that *plain* is the structure of.

        Raises BrokenPayload, UntrustedPayload, UnknownTask, SignatureChanged, ObjectNotFound or UnknownPayload.
        """
        try:
            return self._value(plain)
        except RecursionError:
            raise BrokenPayload("the payload is nested more deeply than Belayed writes") from None

    def text(self, plain: Any) -> str:
        """Compact JSON of a plain structure. Raises NotSerializable for what JSON, or a database's text, has not."""
        try:
            text = _encoded(plain)
            if not text.isascii():
                text.encode()
        except (ValueError, TypeError, RecursionError):
            _blame(plain)
        return text

    def parse(self, text: str) -> Any:
        """The plain structure of JSON *text*. Raises BrokenPayload."""
        try:
            plain, end = _scanned(text)
            # Of our own writing nothing is left; the decoder says what is wrong with anything else.
            return plain if end == len(text) else _DECODER.decode(text)
        except RecursionError:
            raise BrokenPayload("the payload is nested more deeply than Belayed writes") from None
        except (ValueError, TypeError) as error:
            raise BrokenPayload(f"the payload is not JSON: {error}") from error

    def loads(self, text: str) -> Any:
        """`decode(parse(text))`, without a look at the values where the text has no tag."""
        plain = self.parse(text)
        return self.decode(plain) if self.is_tagged(text) else plain

    @staticmethod
    def is_tagged(text: str) -> bool:
        """Whether JSON *text* may have tagged values in it."""
        return '"$"' in text or "\\u0024" in text

    def name(self, code: object) -> str:
        """The name of a class or function that workers may run. Raises NotImportable or NotTrusted."""
        if isinstance(code, type) and (known := self._names.get(code)) is not None:
            return known
        name = name_of(code, exact=True)
        self.trust.require(name)
        try:
            resolve(name, self.trust, remember=False)
        except UntrustedPayload as error:
            raise NotTrusted(str(error)) from error
        except UnknownTask as error:
            raise NotImportable(str(error)) from error
        if isinstance(code, type):
            self._names[code] = name
        return name

    def is_of_library(self, kind: type) -> bool:
        """Whether a class is of a library: then nobody relies on a value's coming back as just that."""
        known = self._of_library.get(kind)
        if known is None:
            known = not (self.trust.owns(kind.__module__) or is_of_application(kind.__module__))
            self._of_library[kind] = known
        return known

    def rebuilt(self, cls: type) -> str:
        """The name of a class whose objects workers may rebuild. Raises NotImportable or NotTrusted."""
        name = self.name(cls)
        if not self.trust.rebuilds(cls):
            raise NotTrusted(
                f"{name}: an object of it runs code at its end, {cls.__qualname__}.__del__, that workers may not run; "
                "define __del__ in the class, or pass something else"
            )
        return name

    def _value(self, plain: Any) -> Any:
        kind = type(plain)
        if kind is list:
            return [self._value(item) for item in plain]
        if kind is not dict:
            return plain
        if "$" not in plain:
            return {key: self._value(item) for key, item in plain.items()}
        tag = plain["$"]
        if len(plain) != 2 or "v" not in plain or type(tag) is not str:
            raise BrokenPayload(f"{shorten(plain)} is no tagged value: it has the key '$' and not just a tag and 'v'")
        try:
            return self._tagged(tag, plain["v"])
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise BrokenPayload(f"{shorten(plain['v'])} is no {tag} that Belayed writes: {error}") from error

    def _key(self, plain: Any) -> Any:
        """A value that is compared with others."""
        value = self._value(plain)
        if type(plain) is dict:
            check_key(value, self.trust)
        return value

    def _tagged(self, tag: str, plain: Any) -> Any:
        if (from_plain := FROM_PLAIN.get(tag)) is not None:
            return from_plain(plain)
        if tag == "tuple":
            return tuple([self._value(item) for item in expect(list, plain)])
        if (container := _CONTAINERS.get(tag)) is not None:
            return container([self._key(item) for item in expect(list, plain)])
        if tag == "dict":
            pairs = (expect(list, pair) for pair in expect(list, plain))
            return {self._key(key): self._value(item) for key, item in pairs}
        if (record := _RECORDS.get(tag)) is not None:
            return record.decode(plain, self)
        if tag == "enum":
            return decode_enum(plain, self)
        if tag == "name":
            return resolve(plain, self.trust)
        if (registered := by_name.get(tag)) is not None:
            return registered.restore(self._value(plain), plain)
        raise BrokenPayload(f"unknown tag {tag!r}; if it is a type of yours, register() it in the worker too")


class _Walk:
    """One walk through a value; it knows which values it is inside of."""

    __slots__ = ("codec", "inside")

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.inside: set[int] = set()

    def plain(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if (check := _PLAIN.get(kind)) is not None:
            check(value)
            return value
        if (leaf := TO_PLAIN.get(kind)) is not None:
            return {"$": leaf[0], "v": leaf[1](value)}
        if id(value) in self.inside:
            raise Refused(f"this {kind.__qualname__} contains itself", "pass an id in its place")
        if len(self.inside) == MAX_DEPTH:
            raise Refused(f"is nested more than {MAX_DEPTH} values deep", _FLATTEN)
        self.inside.add(id(value))
        try:
            return self.composite(kind, value)
        finally:
            self.inside.discard(id(value))

    def item(self, value: object, step: str, key: object) -> Any:
        """The plain structure of a part; *step*, formatted with *key*, is how a path leads to it."""
        try:
            return self.plain(value)
        except Refused as refused:
            refused.steps.append(step.format(key if step == ".{0}" else shorten(key)))
            raise

    @property
    def trust(self) -> Trust:
        return self.codec.trust

    def name(self, code: object) -> str:
        try:
            return self.codec.name(code)
        except (NotImportable, NotTrusted) as error:
            raise Refused(str(error), error=type(error)) from error

    def rebuilt(self, cls: type) -> str:
        try:
            return self.codec.rebuilt(cls)
        except (NotImportable, NotTrusted) as error:
            raise Refused(str(error), error=type(error)) from error

    def composite(self, kind: type, value: Any) -> Any:
        if kind is list:
            return self.items(value)
        if kind is dict:
            return self.mapping(value)
        if kind is tuple:
            return {"$": "tuple", "v": self.items(value)}
        if kind is set or kind is frozenset:
            parts = [self.item(part, "{{{0}}}", part) for part in value]
            # In a stable order, so that equal arguments have equal texts in every process.
            return {"$": kind.__name__, "v": sorted(parts, key=_ENCODER.encode)}
        if (real := behind(value)) is not value:
            return self.plain(real)
        if (registered := registered_for(kind)) is not None:
            return {"$": registered.name, "v": self.plain(registered.stand_in(value))}
        if issubclass(kind, _CODE) or _stands_for_code(value):
            return {"$": "name", "v": self.name(value)}
        # Before enums and records: of a library's, such as HTTPStatus, no worker could make another one by its name.
        if self.codec.is_of_library(kind) and (plain := folded(value)) is not ABSENT:
            return self.plain(plain)
        if issubclass(kind, enum.Enum):
            return {"$": "enum", "v": encode_enum(value, self)}
        if (record := record_of(kind)) is not None:
            return {"$": record.tag, "v": record.encode(value, self)}
        raise refusal(value)

    def items(self, value: Iterable[object]) -> list[Any]:
        return [self.item(part, "[{0}]", index) for index, part in enumerate(value)]

    def mapping(self, value: dict[Any, object]) -> Any:
        if all(type(key) is str and not key.startswith("$") for key in value):
            for key in value:
                if not key.isascii():
                    self.item(key, "{{{0}}}", key)
            return {key: self.item(part, "[{0}]", key) for key, part in value.items()}
        pairs = value.items()
        return {"$": "dict", "v": [[self.item(k, "{{{0}}}", k), self.item(v, "[{0}]", k)] for k, v in pairs]}


_FLATTEN = "flatten it, or pass a reference to it (an id, a path)"
_CODE = (type, FunctionType, BuiltinFunctionType, MethodType)
_PLAIN: dict[type, Callable[[Any], None]] = {str: check_text, int: check_int, float: check_float}
_CONTAINERS: dict[str, Callable[[Iterable[object]], object]] = {"set": set, "frozenset": frozenset}
_RECORDS = {record.tag: record for record in RECORDS}


def _stands_for_code(value: object) -> bool:
    """Whether *value* goes by the name of the function in it, as a task does, or a function with a cache."""
    # Never getattr: proxies of web frameworks answer it for what they hide, or raise outside of a request.
    return read(value, "__wrapped__") is not ABSENT and type(read(value, "__qualname__")) is str


def _are_flat(values: Iterable[object]) -> bool:
    """Whether none of *values* needs a closer look; most arguments need none, and this takes well under 1 µs."""
    for value in values:
        kind = type(value)
        if kind is str:
            if not value.isascii():  # type: ignore[attr-defined]
                return False
        elif kind is int:
            if not -(1 << 63) <= value < 1 << 63:  # type: ignore[operator]
                return False
        elif kind is float:
            if not isfinite(value):  # type: ignore[arg-type]
                return False
        elif kind is not bool and value is not None:
            return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))
_MAKER: Any = getattr(json.encoder, "c_make_encoder", None)
_ONE_SHOT: Any = _MAKER and _MAKER(
    None, _ENCODER.default, json.encoder.encode_basestring, None, ":", ",", False, False, False
)


def _encoded(plain: Any) -> str:
    # JSONEncoder.encode makes the C encoder anew for each text, which takes as long as the text itself.
    return "".join(_ONE_SHOT(plain, 0)) if _ONE_SHOT else _ENCODER.encode(plain)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _scanned(text: str) -> tuple[Any, int]:
    """The value that *text* begins with, and where it ends; -1: there is none."""
    try:
        # JSONDecoder.decode takes twice as long, for the space that might be around.
        return _DECODER.scan_once(text, 0)  # type: ignore[attr-defined, no-any-return]
    except StopIteration:
        return None, -1


def _blame(plain: Any) -> NoReturn:
    """Raise the NotSerializable of the part of *plain* that json, or UTF-8, will not take."""
    left: list[tuple[Any, str, int]] = [(plain, "", 0)]
    while left:
        value, path, depth = left.pop()
        kind = type(value)
        try:
            if depth > 4 * MAX_DEPTH:
                raise Refused("is nested too deeply", _FLATTEN)
            if kind is dict:
                for key in value:
                    check_text(expect(str, key))
                tagged = "$" in value
                left += [(v, path if tagged else f"{path}[{k!r}]" if path else k, depth + 1) for k, v in value.items()]
            elif kind is list:
                left += [(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
            elif (check := _PLAIN.get(kind)) is not None:
                check(value)
            elif kind is not bool and value is not None:
                raise TypeError
        except Refused as refused:
            raise refused.at(path or "payload") from None
        except TypeError:
            problem = f"{shorten(value)} is not plain JSON"
            raise NotSerializable(path or "payload", problem, "encode() it first") from None
    raise NotSerializable("payload", "is nested too deeply to be written here", _FLATTEN)
