"""What the codec refuses, each with the path to it and what to pass instead."""

from __future__ import annotations

import asyncio
import collections
import datetime as dt
import enum
import functools
import io
import math
import re
import sqlite3
import tempfile
import types
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import pydantic
import pytest

from belayed.codec import MAX_DEPTH, register
from belayed.errors import NotImportable, NotSaved, NotSerializable, NotTrusted
from tests.unit.codec_values import Box, Color, Crate, Model, Pair, Row, codec, function

T = TypeVar("T")


class Plain:
    """Neither a dataclass nor registered."""

    def method(self) -> None:
        """A method, bound to one object."""


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Moment(dt.datetime):
    pass


class Zone(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
        return dt.timedelta(hours=when.month) if when else None

    def __repr__(self) -> str:
        return "Zone()"


@dataclass
class Failure(Exception):
    reason: str


@dataclass
class Unset:
    item: int = field(init=False)


class Late(enum.Enum):
    KNOWN = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        member = object.__new__(cls)
        member._name_, member._value_ = "NEW", value
        return member


class DjangoRow:
    _meta = None
    pk = 1


class Proxy:
    """As werkzeug's: outside of a request, every attribute raises."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("working outside of request context")

    def _get_current_object(self) -> object:
        return object()


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Array:
    def tolist(self) -> list[int]:
        return []


class Boxed(pydantic.BaseModel, Generic[T]):
    item: T


async def coroutine_function() -> None:
    """Its coroutines are to be awaited."""


def local_class() -> Any:
    @dataclass
    class Local:
        item: int = 1

    return Local()


REFUSALS = [
    (math.nan, "nan is not a number that JSON has; pass None, or a finite number"),
    (-math.inf, "-inf is not a number that JSON has"),
    (10**5000, "the number has more than 4300 digits; pass hex(x), and int(x, 16) in the job"),
    ("a\ud800", "the text has a lone surrogate, '\\ud800', at index 1; pass bytes, such as os.fsencode(x), or mend it"),
    (Path("a\udcff"), "the text has a lone surrogate, '\\udcff', at index 1"),
    (Decimal("NaN"), "NaN is equal to nothing, not even to itself; pass None, or a number"),
    (1j, "complex is a complex number, which JSON has not; pass x.real and x.imag"),
    (bytearray(b"a"), "bytearray is a buffer that may change; pass bytes(x)"),
    (memoryview(b"a"), "memoryview is a buffer that may change; pass bytes(x)"),
    (math, "module is a module; pass its name, and import it in the job"),
    (iter([]), "list_iterator is an iterator, which can be read only once; pass list(x)"),
    ((x for x in "a"), "generator is an iterator, which can be read only once; pass list(x)"),
    (map(str, []), "map is an iterator"),
    (range(3), "range is a view or sequence of its own type; pass list(x)"),
    ({}.keys(), "dict_keys is a view or sequence of its own type; pass list(x)"),
    (collections.deque(), "collections.deque is a view or sequence of its own type; pass list(x)"),
    (collections.defaultdict(int), "collections.defaultdict would come back as a plain dict; pass dict(x)"),
    (collections.Counter(), "collections.Counter would come back as a plain dict; pass dict(x)"),
    (types.MappingProxyType({}), "mappingproxy would come back as a plain Mapping; pass dict(x)"),
    (Text("a"), "test_codec_refusals.Text would come back as a plain str; pass str(x), or register() the type"),
    (io.StringIO(), "_io.StringIO is an open file; pass its path, and open it in the job"),
    (functools.partial(function, 1), "functools.partial is a call half made; pass the function and its arguments"),
    (ValueError("a"), "ValueError is an exception; pass str(x), or what the job needs of it"),
    (re.compile("a"), "re.Pattern is a compiled pattern; pass x.pattern"),
    (Zone(), "test_codec_refusals.Zone is a time zone; pass its name, and make the zone in the job"),
    (Moment(2024, 1, 1), "test_codec_refusals.Moment would come back as a plain datetime; pass a plain datetime"),
    (Number(1), "test_codec_refusals.Number would come back as a plain int; pass int(x)"),
    (
        dt.datetime(2024, 1, 1, tzinfo=Zone()),
        "its time zone is Zone(), which has no name that a worker could find; use zon",
    ),
    (dt.time(1, tzinfo=Zone()), "its time zone is Zone()"),
    (Plain(), "test_codec_refusals.Plain objects have no text form; make the class a dataclass, or register() it"),
    (object(), "object objects have no text form"),
    (Unspeakable(), "test_codec_refusals.Unspeakable objects have no text form"),
    (DjangoRow(), "DjangoRow is a row of a database; pass its primary key, and load the row in the job"),
    (Proxy(), "Proxy is a proxy; pass the object behind it: x._get_current_object()"),
    (Array(), "Array is an array or a scalar of its library; pass x.tolist()"),
    (
        Failure("a"),
        "Failure is a dataclass that also is a Exception; hold the Exception in a field, or register() the class",
    ),
    (Unset(), "Unset has no value in its field 'item'; set it first"),
    (Model.model_construct(), "Model has no value in its field 'item'; set it first"),
    (Late(9), "is not a member of its enum; add it to Late"),
]


@pytest.mark.dj(266)
@pytest.mark.parametrize(("value", "message"), REFUSALS, ids=lambda value: type(value).__name__)
def test_it_is_refused_with_the_fix(value, message):
    with pytest.raises(NotSerializable) as caught:
        codec().encode_call((1, value), {})

    assert str(caught.value).startswith("args[1]: ")
    assert message in str(caught.value)
    assert caught.value.path == "args[1]"


NAMES = [
    (lambda: 0, NotImportable, "a worker cannot import a lambda; write a function: def name(…)"),
    (local_class(), NotImportable, "is defined inside a function, where a worker cannot import it; move it to the top"),
    (Plain().method, NotImportable, "is a method of one object; pass the object, and call the method in the job"),
    (list[int], NotSerializable, "have no text form"),
    (
        len,
        NotTrusted,
        "builtins:len: workers may not run code of 'builtins'; if they should, configure(trust=['builtins',",
    ),
    (
        pydantic.BaseModel,
        NotTrusted,
        "workers may not run code of 'pydantic.main'; if they should, configure(trust=['pyd",
    ),
    (uuid.SafeUUID.safe, NotTrusted, "uuid:SafeUUID: workers may not run code of 'uuid'"),
]


@pytest.mark.dj(11, 34)
@pytest.mark.parametrize(("value", "error", "message"), NAMES, ids=lambda value: type(value).__name__)
def test_code_that_no_worker_could_run_is_refused_with_the_fix(value, error, message):
    with pytest.raises(error) as caught:
        codec().encode_call((), {"callback": [value]})

    assert str(caught.value).startswith("callback[0]: ")
    assert message in str(caught.value)


def test_a_parametrised_model_has_no_name_to_import_it_by():
    boxed = Boxed[int](item=1)

    with pytest.raises(NotImportable, match=r"Boxed\[int\] has no importable name; give it one: class Name\(Boxed"):
        codec().encode(boxed, "value")


@pytest.mark.parametrize("opened", [open, tempfile.NamedTemporaryFile], ids=["open", "tempfile"])
def test_an_open_file_is_refused(opened):
    with (
        opened(__file__ if opened is open else "w") as file,
        pytest.raises(NotSerializable, match=r"open file.*its path"),
    ):
        codec().encode(file, "value")


@pytest.mark.parametrize("part", [lambda c: c, lambda c: c.cursor()], ids=["connection", "cursor"])
def test_an_open_connection_is_refused(part):
    connection = sqlite3.connect(":memory:")

    with pytest.raises(NotSerializable, match="open connection to a database; open one in the job"):
        codec().encode(part(connection), "value")

    connection.close()


def test_a_coroutine_is_refused():
    coroutine = coroutine_function()

    with pytest.raises(NotSerializable, match="coroutine is still to be awaited; await it, and pass what it gives"):
        codec().encode(coroutine, "value")

    asyncio.run(coroutine)


@pytest.mark.dj(25, 230, 267)
def test_a_row_that_is_not_saved_is_refused():
    with pytest.raises(NotSaved) as caught:
        codec().encode_call((), {"user": [Row(None)]})

    assert str(caught.value) == "user[0]: this Row is not saved yet: save it before it is used in a job"


def test_an_encode_of_a_registered_type_that_fails_is_named():
    class Odd:
        """Its encode fails."""

    register(Odd, name="odd", encode=lambda odd: odd.missing, decode=lambda saved: Odd())

    with pytest.raises(NotSerializable, match=r"could not be encoded \(AttributeError: .*mend .* 'odd'"):
        codec().encode(Odd(), "value")


class Part(NamedTuple):
    items: dict[str, Any]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([0, [math.nan]], "[1][0]"),
        ((0, math.nan), "[1]"),
        ({"a": {"when": math.nan}}, "['a']['when']"),
        ({1: math.nan}, "[1]"),
        ({Color.RED: math.nan}, "[<Color.RED: 1>]"),
        ({(1, math.inf): 0}, "{(1, inf)}[1]"),
        ({"\ud800": 0}, "{'\\ud800'}"),
        ({math.inf}, "{inf}"),
        (frozenset({"x" * 100 + "\ud800"}), "{'" + "x" * 17 + "..." + "x" * 12 + "\\ud800'}"),
        (Box({"when": math.nan}), ".item['when']"),
        (Crate(Pair(math.nan)), ".item.item"),
        (Part({"when": [math.nan]}), ".items['when'][0]"),
        (Model(item=(math.nan,)), ".item[0]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_path_leads_to_what_is_refused(value, path):
    with pytest.raises(NotSerializable) as caught:
        codec().encode_call((0, value), {})

    assert caught.value.path == f"args[1]{path}"


def test_a_value_that_contains_itself_is_refused():
    loop: list[Any] = [1]
    loop.append({"again": Crate(loop)})

    with pytest.raises(
        NotSerializable, match=r"args\[0\]\[1\]\['again'\]\.item: this list contains itself; pass an id"
    ):
        codec().encode_call((loop,), {})


def test_a_value_twice_in_another_is_no_cycle():
    shared = [1]

    plain = codec().encode([shared, {"a": shared}], "value")

    assert plain == [[1], {"a": [1]}]


def test_values_nested_too_deeply_are_refused_with_a_path_that_can_be_read():
    deep: list[Any] = []
    for _ in range(MAX_DEPTH):
        deep = [deep]

    with pytest.raises(NotSerializable) as caught:
        codec().encode_call((deep,), {})

    assert str(caught.value) == (
        f"args[0]{'[0]' * 6}…{'[0]' * 6}: is nested more than 100 values deep; "
        "flatten it, or pass a reference to it (an id, a path)"
    )


@pytest.mark.parametrize("keyword", ["$", "$v", "\ud800"], ids=ascii)
def test_a_keyword_that_would_be_mistaken_is_refused(keyword):
    with pytest.raises(NotSerializable):
        codec().encode_call((), {keyword: 1})
