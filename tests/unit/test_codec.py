"""The codec: what values look like as text, and that they come back."""
# ruff: noqa: DTZ001, DTZ901 - naive times are values too

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import namedtuple
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cached_property
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pydantic
import pytest

from belayed.codec import MAX_DEPTH, register, register_reference
from belayed.errors import BrokenPayload, ConfigError, NotSerializable, ObjectNotFound
from tests.unit.codec_values import (
    ROWS,
    Box,
    Color,
    Model,
    Money,
    Outer,
    Pair,
    Rights,
    Row,
    SlottedBox,
    Tone,
    cached_function,
    codec,
    function,
    round_trip,
    shape,
)

T = TypeVar("T")
PARIS = ZoneInfo("Europe/Paris")
Point = namedtuple("Point", "x y", defaults=[0])  # noqa: PYI024 - the old kind is meant


class Coordinates(NamedTuple):
    x: int


class NamedPoint(Coordinates):
    """With a `__dict__`, unlike a NamedTuple itself."""


@dataclass
class Order:
    prices: list[int]
    total: int = field(init=False)

    def __post_init__(self) -> None:
        self.total = sum(self.prices)
        self.checked = True

    @cached_property
    def lines(self) -> object:
        return iter(self.prices)


@dataclass
class Holder(Generic[T]):
    item: T


@attrs.define(cache_hash=True, frozen=True)
class Hashed:
    item: str


@attrs.define(slots=False)
class Converted:
    item: int = attrs.field(converter=int)

    def __attrs_post_init__(self) -> None:
        self.seen = True


class Open(pydantic.BaseModel, extra="allow"):
    number: int = 1
    _secret: str = pydantic.PrivateAttr(default="none")
    _unset: str = pydantic.PrivateAttr()


VALUES = [
    *(None, True, 0, -(2**70), 10**4000, 1.5, -0.0, 5e-324, "", "é\0\u2028 😀"),
    *([], [1, [2]], {}, {"a": {"b": [1]}}, (), (1, (2,)), set(), {1, "a"}, frozenset({(1,)})),
    *({1: 2, (3, 4): None}, {"$": "tuple", "v": [1]}, {"$ref": 1}, {None: 1, True: 2, "a": 3}),
    *(datetime(1, 1, 1), datetime.max, datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, fold=1)),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5, seconds=7, microseconds=9))),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(0), "GMT")),
    *(date(2024, 2, 29), time(1, 2, 3, 4), time(1, tzinfo=UTC), time(1, tzinfo=PARIS, fold=1)),
    *(timedelta.min, timedelta.max, timedelta(microseconds=-1)),
    *(UUID(int=1), Decimal("-0"), Decimal("1E+5"), Decimal("0.10"), Decimal("-Infinity"), b"", b"\0\xff"),
    *(PARIS, UTC, timezone(timedelta(hours=1), "A"), ip_address("127.0.0.1"), ip_address("fe80::1%eth0")),
    *(ip_network("10.0.0.0/8"), ip_network("::/0"), ip_interface("10.0.0.1/8"), ip_interface("::1/64")),
    *(Path("a/b"), PurePosixPath("/a"), PureWindowsPath("c:\\a")),
    *(Color.RED, Color.ALSO_RED, Tone.WARM, Rights.READ | Rights.WRITE, Rights(0), Outer.Inner.ONE),
    *(Box(Box(1)), SlottedBox((1,)), Outer.Part(None), Pair(1), Point(1), Model(item=[1]), Money(5, "EUR"), ROWS[2]),
    *(function, cached_function, Color, Outer.Part, Outer.make),
]


@pytest.mark.dj(219, 266)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_it_comes_back_equal_and_of_the_same_type(value):
    again = round_trip(value)

    assert again == value
    assert shape(again) == shape(value)


def test_the_sign_of_zero_comes_back():
    again = round_trip(-0.0)

    assert math.copysign(1, again) == -1


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize("wall", [datetime(2024, 3, 31, 2, 30), datetime(2024, 10, 27, 2, 30)], ids=["gap", "fold"])
def test_times_in_gaps_and_folds_come_back_as_they_were(wall, fold):
    moment = wall.replace(tzinfo=PARIS, fold=fold)

    again = round_trip(moment)

    assert (again.replace(tzinfo=None), again.fold, again.tzinfo) == (wall, fold, PARIS)
    assert again.timestamp() == moment.timestamp()


@pytest.mark.dj(209, 212)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"to": "a@b.c", "n": [1, 2.5, None]}, '{"to":"a@b.c","n":[1,2.5,null]}'),
        ("größe", '"größe"'),
        ((1, 2), '{"$":"tuple","v":[1,2]}'),
        ({1: 2}, '{"$":"dict","v":[[1,2]]}'),
        (datetime(2024, 1, 2, 3, tzinfo=UTC), '{"$":"datetime","v":"2024-01-02T03:00:00+00:00"}'),
        (datetime(2024, 1, 2, 3, tzinfo=PARIS), '{"$":"datetime","v":["2024-01-02T03:00:00","Europe/Paris",0]}'),
        (Decimal("1.10"), '{"$":"decimal","v":"1.10"}'),
        (Color.RED, '{"$":"enum","v":["tests.unit.codec_values:Color","RED"]}'),
        (Box(1), '{"$":"dataclass","v":["tests.unit.codec_values:Box",{"item":1,"label":""}]}'),
        (function, '{"$":"name","v":"tests.unit.codec_values:function"}'),
        (Money(5, "EUR"), '{"$":"test.money","v":{"$":"tuple","v":[5,"EUR"]}}'),
        (ROWS[0], '{"$":"row","v":1}'),
        ({"b", "a", "c"}, '{"$":"set","v":["a","b","c"]}'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_text_of_a_value(value, text):
    here = codec()

    written = here.text(here.encode(value, "value"))

    assert written == text


@pytest.mark.dj(10, 21)
def test_a_call_is_encoded_argument_by_argument():
    here = codec()

    flat = here.encode_call((1, "é"), {"flag": True, "none": None, "x": 0.5})
    tagged = here.encode_call(((1,),), {"when": date(2024, 1, 1)})

    assert flat == ([1, "é"], {"flag": True, "none": None, "x": 0.5})
    assert tagged == ([{"$": "tuple", "v": [1]}], {"when": {"$": "date", "v": "2024-01-01"}})


def test_a_dataclass_comes_back_without_init_and_with_all_that_it_holds():
    order = Order([1, 2])
    order.total = 99
    assert order.lines is not None

    again = round_trip(order)

    assert vars(again) == {"prices": [1, 2], "total": 99, "checked": True}


def test_a_generic_dataclass_comes_back():
    holder = Holder[int](1)

    again = round_trip(holder)

    assert again == holder


def test_an_attrs_class_comes_back_without_converters_and_with_all_that_it_holds():
    converted = Converted("1")
    converted.item = 5

    again = round_trip(converted)

    assert vars(again) == {"item": 5, "seen": True}


def test_the_cached_hash_of_an_attrs_class_stays_behind():
    hashed = Hashed("a")
    known = hash(hashed)

    plain = codec().encode(hashed, "value")

    assert plain["v"][2] == {"_attrs_cached_hash": None}
    assert hash(codec().decode(plain)) == known


def test_a_named_tuple_with_a_dict_comes_back_with_what_is_in_it():
    point = NamedPoint(1)
    point.label = "a"

    again = round_trip(point)

    assert (again, again.label, type(again)) == (point, "a", NamedPoint)


def test_a_pydantic_model_comes_back_with_extras_private_attributes_and_what_was_set():
    model = Open(colour="red")
    model._secret = "s"

    again = round_trip(model)

    assert again == model
    assert (again._secret, again.model_extra, again.model_fields_set) == ("s", {"colour": "red"}, {"colour"})


def test_values_nested_as_deeply_as_allowed_come_back():
    deep: Any = None
    for _ in range(MAX_DEPTH // 2):
        deep = {0: Box(deep)}

    again = round_trip(deep)

    assert again == deep


@pytest.mark.dj(30, 267)
def test_a_reference_is_loaded_again_and_matches_subclasses():
    again = round_trip([ROWS[0], ROWS[2]])

    assert again[0] is ROWS[0]
    assert again[1] is ROWS[2]


@pytest.mark.dj(27, 214, 268)
def test_a_row_that_is_gone_is_named():
    row = Row("gone")
    plain = codec().encode(row, "value")
    del Row.table["gone"]

    with pytest.raises(ObjectNotFound, match=r"Row 'gone' \(row\) is not in its database any more"):
        codec().decode(plain)


def test_a_lookup_error_of_a_load_means_that_the_row_is_gone():
    class Lost:
        """It cannot be found again."""

    register_reference(Lost, name="lost", key=lambda lost: 7, load=lambda key: {}[key])
    plain = codec().encode(Lost(), "value")

    with pytest.raises(ObjectNotFound, match="Lost 7"):
        codec().decode(plain)


def test_a_decode_of_a_registered_type_that_fails_breaks_the_payload():
    with pytest.raises(BrokenPayload, match=r"money: its decode refused 5 \(TypeError:"):
        codec().decode({"$": "test.money", "v": 5})


@pytest.mark.parametrize(
    ("type_", "name", "message"),
    [
        (Pair, "test.money", r"'test.money' is taken by tests\.unit\.codec_values\.Money"),
        (Pair, "tuple", "'tuple' is the codec's own"),
        (Pair, "", "names no type"),
        (datetime, "moment", "the codec takes datetime as it is"),
    ],
)
def test_a_registration_that_would_be_mistaken_is_refused(type_, name, message):
    with pytest.raises(ConfigError, match=message):
        register(type_, name=name, encode=str, decode=str)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (
            {"args": ["ok", {"$": "tuple", "v": ["\ud800"]}]},
            r"^args\[1\]\[0\]: the text has a lone surrogate, '\\ud800'",
        ),
        ({"kwargs": {"x": math.nan}}, r"^kwargs\['x'\]: nan is not a number"),
        ({"args": [10**5000]}, r"^args\[0\]: the number has more than \d+ digits; pass hex"),
        ({"args": [object()]}, r"^args\[0\]: <object object at .* is not plain JSON; encode\(\) it first"),
    ],
    ids=["surrogate", "nan", "int", "object"],
)
def test_text_names_what_it_cannot_write(plain, message):
    with pytest.raises(NotSerializable, match=message):
        codec().text(plain)


def test_text_refuses_what_is_nested_too_deeply():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(NotSerializable, match="nested too deeply"):
        codec().text({"args": deep})


def test_plain_text_is_loaded_as_json_would():
    text = json.dumps({"args": [1, "x"], "kwargs": {"a": [None]}})

    loaded = codec().loads(text)

    assert loaded == {"args": [1, "x"], "kwargs": {"a": [None]}}


def test_the_codec_imports_neither_attrs_nor_pydantic():
    program = "import belayed.codec, sys; print({'attr', 'pydantic'} & set(sys.modules))"

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert run.stdout == "set()\n"


@pytest.mark.parametrize("microseconds", [1, -1, 999_999, 3_600_000_001, -86_399_999_999])
@pytest.mark.parametrize("wall", [time(0, 0), datetime(2024, 2, 29)], ids=["time", "datetime"])
def test_an_offset_of_microseconds_comes_back_exactly(wall, microseconds):
    value = wall.replace(tzinfo=timezone(timedelta(microseconds=microseconds)))

    again = round_trip(value)

    assert again.utcoffset() == value.utcoffset()
    assert again.replace(tzinfo=None) == wall
