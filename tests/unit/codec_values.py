"""Values for the tests of the codec: classes of every sort, and strategies that nest all of them in one another."""

from __future__ import annotations

import dataclasses
import enum
import functools
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import attrs
import pydantic
from hypothesis import strategies as st

from belayed.codec import Codec, register, register_reference
from belayed.trust import Trust


class Color(enum.Enum):
    RED = 1
    GREEN = "green"
    ALSO_RED = 1  # noqa: PIE796 - an alias is a name too


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Tone(enum.StrEnum):
    WARM = "warm"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2
    ALL = 3


@dataclass(frozen=True)
class Box:
    item: Any
    label: str = ""


@dataclass(frozen=True, slots=True)
class SlottedBox:
    item: Any
    total: int = dataclasses.field(init=False, default=7)


@attrs.frozen
class Crate:
    item: Any
    label: str = ""


class Pair(NamedTuple):
    item: Any
    other: int = 0


class Model(pydantic.BaseModel, frozen=True):
    item: Any
    label: str = ""


class Money:
    """Registered: it travels as what its encode makes of it."""

    def __init__(self, cents: int, currency: Any) -> None:
        self.cents = cents
        self.currency = currency

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and (self.cents, self.currency) == (other.cents, other.currency)

    def __hash__(self) -> int:
        return hash((self.cents, self.currency))


class Row:
    """A reference: it travels as its key, and is looked up in `table`."""

    table: dict[Any, Row] = {}  # noqa: RUF012 - a database is mutable

    def __init__(self, key: Any) -> None:
        self.key = key
        if key is not None:
            Row.table[key] = self


class SpecialRow(Row):
    """A subclass of a reference."""


class Outer:
    class Inner(enum.Enum):
        ONE = 1

    @dataclass(frozen=True)
    class Part:
        item: Any

    @classmethod
    def make(cls) -> None:
        """A class method is a name too."""


def function(*args: Any) -> None:
    """A function to pass as a value."""


@functools.lru_cache
def cached_function() -> None:
    """It stands for the function in it."""


register(Money, name="test.money", encode=lambda m: (m.cents, m.currency), decode=lambda saved: Money(*saved))
register_reference(Row, name="row", key=lambda row: row.key, load=Row.table.get)

ROWS = [Row(1), Row("two"), SpecialRow((3, date(2024, 2, 29)))]


def codec(*packages: str) -> Codec:
    return Codec(Trust(packages or None))


def round_trip(value: object) -> Any:
    """*value*, from its text, decoded in both ways."""
    here = codec()
    text = here.text(here.encode(value, "value"))
    again = here.decode(here.parse(text))
    assert shape(here.loads(text)) == shape(again)
    return again


def shape(value: Any) -> Any:
    """All that must come back: types, signs of zeros, zones and folds, and not just what == sees."""
    kind = type(value)
    if kind in (list, tuple):
        return (kind, [shape(item) for item in value])
    if kind is dict:
        return (kind, [(shape(key), shape(item)) for key, item in value.items()])
    if kind in (set, frozenset):
        return (kind, sorted((shape(item) for item in value), key=repr))
    if kind in (datetime, time):
        return (kind, value.replace(tzinfo=None).isoformat(), value.fold, type(value.tzinfo), repr(value.tzinfo))
    if dataclasses.is_dataclass(kind):
        return (kind, [shape(getattr(value, field.name)) for field in dataclasses.fields(value)])
    if kind is Crate:
        return (kind, shape(value.item), value.label)
    if kind is Pair:
        return (kind, shape(value.item), value.other)
    if kind is Model:
        return (kind, shape(value.item), value.label, sorted(value.model_fields_set))
    if kind is Money:
        return (kind, value.cents, shape(value.currency))
    if issubclass(kind, Row):
        return (kind, id(value))
    return (kind, repr(value))


offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23))
zones = (
    st.none()
    | st.just(UTC)
    | st.timezones()
    | st.builds(timezone, offsets)
    | st.builds(timezone, offsets, st.text(min_size=1, max_size=5))
)
folds = st.sampled_from([0, 1])
path_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)

LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "plain": st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    "datetime": st.builds(lambda d, fold: d.replace(fold=fold), st.datetimes(timezones=zones), folds),
    "date": st.dates(),
    "time": st.builds(lambda t, fold: t.replace(fold=fold), st.times(timezones=zones), folds),
    "timedelta": st.timedeltas(),
    "uuid": st.uuids(),
    "decimal": st.decimals(allow_nan=False) | st.builds(Decimal, st.sampled_from(["-0", "1E+5", "0E-8", "Infinity"])),
    "bytes": st.binary(max_size=8),
    "path": st.builds(Path, path_text) | st.builds(PurePosixPath, path_text) | st.builds(PureWindowsPath, path_text),
    "enum": st.sampled_from([Color.RED, Color.ALSO_RED, Level.HIGH, Tone.WARM, Outer.Inner.ONE, *Rights, Rights(0)]),
    "name": st.sampled_from([function, cached_function, Color, Box, Outer.Inner, Outer.make]),
    "row": st.sampled_from(ROWS),
}


def _hashable_around(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(items, max_size=3).map(tuple),
        st.frozensets(items, max_size=3),
        st.builds(Box, items),
        st.builds(SlottedBox, items),
        st.builds(Outer.Part, items),
        st.builds(Crate, items),
        st.builds(Pair, items),
        st.builds(Model, item=items),
        st.builds(Money, st.integers(), items),
    )


# Layers, not st.recursive: that seldom nests, and then mostly the first of the kinds.
leaves = st.one_of(*LEAVES.values())
hashables = leaves | _hashable_around(leaves | _hashable_around(leaves))


def _around(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.text(max_size=4) | st.just("$")
    return st.one_of(
        st.lists(items, max_size=5),
        st.dictionaries(keys, items, max_size=5),
        st.fixed_dictionaries({"a": items, "b": items, "c": items}),
        st.dictionaries(hashables, items, max_size=5),
        st.sets(hashables, max_size=5),
        st.lists(items, max_size=5).map(tuple),
        st.builds(Box, items),
        st.builds(Crate, items),
        st.builds(Pair, items),
        st.builds(Model, item=items),
        st.builds(Money, st.integers(), items),
    )


def _either(few: st.SearchStrategy[Any], many: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    # `|` would weigh the two by how many kinds there are in each.
    return st.booleans().flatmap(lambda choice: few if choice else many)


values = _either(_around(_either(_around(hashables), hashables)), hashables)
