"""Payloads that the codec did not write, or that other versions of the application wrote."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass, field
from os import system  # noqa: F401 - the bait: it lies in this module and is not of it
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pydantic
import pytest

from belayed.errors import BrokenPayload, SignatureChanged, UnknownPayload, UnknownTask, UntrustedPayload
from tests.unit.codec_values import codec

HERE = __name__
BAIT = "tests.unit.no_such_bait"


@dataclass
class Data:
    old: int
    new: list[int] = field(default_factory=list)
    plain: str = "default"


@dataclass
class Strict:
    old: int
    new: int


@dataclass(slots=True)
class Slotted:
    old: int


@attrs.define
class Defined:
    old: int
    new: list[int] = attrs.field(factory=list)
    derived: int = attrs.Factory(lambda self: self.old + 1, takes_self=True)


@attrs.define
class StrictDefined:
    old: int
    new: int


class Named(NamedTuple):
    old: int
    new: int = 2


class StrictNamed(NamedTuple):
    old: int
    new: int


class Model(pydantic.BaseModel):
    old: int
    new: list[int] = []
    made: int = pydantic.Field(default_factory=lambda: 3)
    derived: int = pydantic.Field(default_factory=lambda saved: saved["old"] + 1)
    _private: int = pydantic.PrivateAttr(default=4)


class StrictModel(pydantic.BaseModel):
    old: int
    new: int


class Colour(enum.Enum):
    RED = 1


class Rights(enum.Flag):
    READ = 1


def function() -> None:
    """Neither a class nor called by any test."""


@pytest.mark.parametrize(
    ("tag", "cls", "expected"),
    [
        ("dataclass", Data, Data(1, [], "default")),
        ("attrs", Defined, Defined(1, [], 2)),
        ("namedtuple", Named, Named(1, 2)),
        ("pydantic", Model, Model(old=1, new=[], made=3, derived=2)),
    ],
)
def test_a_field_added_since_gets_its_default(tag, cls, expected):
    saved = {"$": tag, "v": [f"{HERE}:{cls.__name__}", {"old": 1}]}

    value = codec().decode(saved)

    assert value == expected


@pytest.mark.parametrize(
    ("tag", "cls"),
    [("dataclass", Strict), ("attrs", StrictDefined), ("namedtuple", StrictNamed), ("pydantic", StrictModel)],
)
def test_a_field_added_without_a_default_changed_the_class(tag, cls):
    saved = {"$": tag, "v": [f"{HERE}:{cls.__name__}", {"old": 1}]}

    with pytest.raises(SignatureChanged, match=r"has a new field 'new' without a default, and none was saved"):
        codec().decode(saved)


@pytest.mark.parametrize(
    ("tag", "cls"), [("dataclass", Strict), ("attrs", StrictDefined), ("namedtuple", StrictNamed), ("pydantic", Model)]
)
def test_a_field_removed_since_changed_the_class(tag, cls):
    saved = {"$": tag, "v": [f"{HERE}:{cls.__name__}", {"old": 1, "new": 2, "gone": 3}]}

    with pytest.raises(SignatureChanged, match="has no field 'gone' in this worker's code, but one was saved"):
        codec().decode(saved)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"$": "dataclass", "v": [f"{HERE}:Named", {}]}, "was saved as a dataclass and is none"),
        ({"$": "dataclass", "v": [f"{HERE}:function", {}]}, "was saved as a dataclass and is none"),
        ({"$": "enum", "v": [f"{HERE}:Data", "RED"]}, "was saved as an enum and is none"),
        ({"$": "enum", "v": [f"{HERE}:Colour", "BLUE"]}, "has no member 'BLUE'"),
        ({"$": "enum", "v": [f"{HERE}:Rights", 1024]}, "has no flags for 1024"),
        ({"$": "dataclass", "v": [f"{HERE}:Slotted", {"old": 1}, {"more": 2}]}, "cannot hold what was saved"),
        (
            {"$": "pydantic", "v": [f"{HERE}:StrictModel", {"old": 1, "new": 2}, {"model_extra": {"x": 1}}]},
            "extra fields",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_class_that_became_another_is_told(saved, message):
    with pytest.raises(SignatureChanged, match=message):
        codec().decode(saved)


def test_a_zone_that_this_worker_does_not_know_may_be_known_to_another():
    saved = {"$": "datetime", "v": ["2024-01-01T00:00:00", "Mars/Olympus", 0]}

    with pytest.raises(UnknownPayload, match="knows no time zone 'Mars/Olympus'; install the tzdata package"):
        codec().decode(saved)


@pytest.mark.parametrize("tag", ["dataclass", "attrs", "namedtuple", "pydantic", "enum"])
@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "pydantic.main:BaseModel", "belayed.codec:Codec"])
def test_code_outside_of_trust_is_not_imported(tag, name):
    saved = {"$": tag, "v": [name, {}]}

    with pytest.raises(UntrustedPayload, match="workers may not run code of"):
        codec().decode(saved)


@pytest.mark.dj(210)
@pytest.mark.parametrize(
    "name",
    [f"{HERE}:system", f"{HERE}:sys.exit", f"{HERE}:Data.__class__", f"{HERE}:Path", f"{HERE}:function.__globals__"],
)
def test_what_a_trusted_module_only_imports_is_not_reached(name):
    assert Path is not None

    with pytest.raises(UntrustedPayload, match="not defined"):
        codec().decode({"$": "name", "v": name})


@pytest.mark.dj(210)
def test_trust_is_checked_before_anything_is_imported(tmp_path, monkeypatch):
    (tmp_path / "belayed_bait.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(UntrustedPayload):
        codec("tests").decode([{"$": "name", "v": "belayed_bait:function"}])

    assert "belayed_bait" not in sys.modules


def test_a_class_that_this_worker_has_not_is_unknown():
    with pytest.raises(UnknownTask, match=f"finds no module {BAIT}"):
        codec().decode({"$": "dataclass", "v": [f"{BAIT}:Data", {}]})


WRONG: list[Any] = [
    {"$": "nothing", "v": 1},
    {"$": "tuple"},
    {"$": ["tuple"], "v": []},
    {"$": "tuple", "v": [], "more": 1},
    {"$": "tuple", "v": "abc"},
    {"$": "set", "v": [[]]},
    {"$": "set", "v": [{"$": "dataclass", "v": [f"{HERE}:Data", {"old": 1}]}]},
    {"$": "frozenset", "v": {"a": 1}},
    {"$": "dict", "v": ["ab"]},
    {"$": "dict", "v": [[1]]},
    {"$": "dict", "v": [[[], 1]]},
    {"$": "datetime", "v": 5},
    {"$": "datetime", "v": "yesterday"},
    {"$": "datetime", "v": ["2024-01-01", None]},
    {"$": "datetime", "v": ["2024-01-01", "../../etc/passwd", 0]},
    {"$": "datetime", "v": ["2024-01-01", "Europe", 0]},
    {"$": "datetime", "v": ["2024-01-01", "Europe/\0", 0]},
    {"$": "datetime", "v": ["2024-01-01", "+25:00", 0]},
    {"$": "datetime", "v": ["2024-01-01", ["Europe/Paris", "x"], 0]},
    {"$": "datetime", "v": ["2024-01-01", None, 2]},
    {"$": "date", "v": None},
    {"$": "time", "v": "25:00"},
    {"$": "timedelta", "v": [1, 2]},
    {"$": "timedelta", "v": [10**12, 0, 0]},
    {"$": "timedelta", "v": ["1", 0, 0]},
    {"$": "uuid", "v": "x"},
    {"$": "uuid", "v": 5},
    {"$": "decimal", "v": "x"},
    {"$": "decimal", "v": "NaN"},
    {"$": "decimal", "v": [0, [1], 1]},
    {"$": "bytes", "v": "x"},
    {"$": "bytes", "v": 1},
    {"$": "path", "v": "a"},
    {"$": "path", "v": ["Popen", "a"]},
    {"$": "path", "v": ["Path", 1]},
    {"$": "enum", "v": f"{HERE}:Colour"},
    {"$": "enum", "v": [f"{HERE}:Colour", 1]},
    {"$": "enum", "v": [f"{HERE}:Colour", []]},
    {"$": "enum", "v": [None, "RED"]},
    {"$": "name", "v": ["os", "system"]},
    {"$": "name", "v": "no name"},
    {"$": "name", "v": "..:x"},
    {"$": "dataclass", "v": {}},
    {"$": "dataclass", "v": [f"{HERE}:Data"]},
    {"$": "dataclass", "v": [f"{HERE}:Data", []]},
    {"$": "dataclass", "v": [f"{HERE}:Data", {"old": 1}, []]},
    {"$": "dataclass", "v": [f"{HERE}:Data", {"old": 1}, {"__class__": {"$": "name", "v": f"{HERE}:Strict"}}]},
    {"$": "dataclass", "v": [f"{HERE}:Data", {"old": 1}, {"old": 1}]},
    {"$": "pydantic", "v": [f"{HERE}:Model", {"old": 1}, {"model_fields_set": 5}]},
    {"$": "pydantic", "v": [f"{HERE}:Model", {"old": 1}, {"private": [1]}]},
    {"$": "test.money", "v": None},
    {"$": "row", "v": []},
]


@pytest.mark.parametrize("plain", WRONG, ids=lambda value: type(value).__name__)
def test_what_the_codec_never_writes_is_broken(plain):
    with pytest.raises(BrokenPayload):
        codec().decode({"args": [plain]})


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1,]", "NaN", "-Infinity", "1" * 5000, "[" * 100_000, "\ufeff1", b"[]", None, '{"\\u0024":"os"}'],
    ids=lambda text: repr(text)[:20],
)
def test_text_that_the_codec_never_writes_is_broken(text):
    with pytest.raises(BrokenPayload):
        codec().loads(text)


@pytest.mark.parametrize("depth", [2000, 50_000])
def test_a_payload_nested_too_deeply_is_broken(depth):
    text = '{"$":"tuple","v":[' * depth + "]}" * depth

    with pytest.raises(BrokenPayload, match="nested more deeply than Belayed writes"):
        codec().loads(text)
