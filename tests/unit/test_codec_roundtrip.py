"""Whatever the codec takes comes back equal and of the same type, however it is nested."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.unit.codec_values import LEAVES, codec, round_trip, shape, values

UNHASHABLE = {"set", "dict"}
TAGS = {*LEAVES, "tuple", "set", "frozenset", "dict", "dataclass", "attrs", "namedtuple", "pydantic", "test.money"} - {
    "plain"
}
RECORDS = {"dataclass", "attrs", "namedtuple", "pydantic"}
HASHING = {"set", "frozenset", "dict key"}
CONTAINERS = {"list", "tuple", "dict value", "pairs value", "test.money", *HASHING, *RECORDS}
NESTINGS = {(box, tag) for box in CONTAINERS for tag in TAGS if not (box in HASHING and tag in UNHASHABLE)}


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(values)
def test_a_value_comes_back_equal_and_of_the_same_type(value):
    again = round_trip(value)

    assert again == value
    assert shape(again) == shape(value)


@given(values)
def test_the_text_of_a_value_is_always_the_same(value):
    here = codec()

    texts = {here.text(here.encode(again, "value")) for again in (value, round_trip(value))}

    assert len(texts) == 1


def test_the_strategies_nest_every_kind_in_every_container():
    seen: set[tuple[str, str]] = set()
    here = codec()

    # Rounds, because no number of examples is sure to have them all; two or three are enough as a rule.
    for number in range(20):
        if seen >= NESTINGS:
            break

        @seed(number)
        @settings(max_examples=1500, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(values)
        def collect(value):
            seen.update(nestings(here.encode(value, "value")))

        collect()

    assert seen >= NESTINGS, f"never made: {sorted(NESTINGS - seen)}"


def nestings(plain: Any) -> set[tuple[str, str]]:
    """The pairs of a container and the tag of something directly in it."""
    found: set[tuple[str, str]] = set()
    left = [("top", plain)]
    while left:
        box, value = left.pop()
        if isinstance(value, dict) and "$" in value:
            found.add((box, value["$"]))
        left += parts(value)
    return found


def parts(plain: Any) -> Iterator[tuple[str, Any]]:
    """What is directly in a plain structure, each part with the name of the place that it has there."""
    if isinstance(plain, list):
        yield from (("list", item) for item in plain)
    if not isinstance(plain, dict):
        return
    tag, saved = plain.get("$"), plain.get("v")
    if tag is None:
        yield from (("dict value", item) for item in plain.values())
    elif tag == "dict":
        for key, item in saved:
            yield from [("dict key", key), ("pairs value", item)]
    elif tag in RECORDS:
        yield from ((tag, item) for item in saved[1].values())
    elif tag in ("tuple", "set", "frozenset"):
        yield from ((tag, item) for item in saved)
    elif tag == "test.money":
        yield from ((tag, item) for item in saved["v"])


@pytest.mark.parametrize("plain", [[{"$": "tuple", "v": [{"$": "set", "v": []}]}]])
def test_nestings_are_found_in_plain_structures(plain):
    found = nestings(plain)

    assert found == {("list", "tuple"), ("tuple", "set")}
