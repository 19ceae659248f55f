"""Values of libraries' own classes travel as the plain values that they are equal to."""

# ruff: noqa: DTZ001 - pytz takes naive times

from __future__ import annotations

import datetime as dt
import signal
import uuid
from collections import OrderedDict
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPMethod, HTTPStatus
from typing import Any
from zoneinfo import ZoneInfo

import freezegun
import pytest
import pytz
from asgiref.local import Local
from asyncpg.pgproto.pgproto import UUID as DRIVERS_UUID
from dateutil import parser, tz
from django.utils.safestring import SafeString, mark_safe

from belayed.codec import Codec
from belayed.errors import NotSerializable
from belayed.trust import Trust, is_of_application
from tests.unit.codec_values import codec

PARIS = pytz.timezone("Europe/Paris")


def of_library(base: type, *args: Any, **kwargs: Any) -> Any:
    """A value of a subclass that says it is of an installed package."""
    return type(f"Odd{base.__name__}", (base,), {"__module__": "hypothesis.internal"})(*args, **kwargs)


def round_trip(value: object) -> Any:
    used = codec()
    return used.loads(used.text(used.encode(value, "value")))


FOLDED = [
    *(HTTPStatus.NOT_FOUND, HTTPMethod.POST, signal.SIGTERM),
    mark_safe("<b>é</b>"),
    DRIVERS_UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
    OrderedDict(b=1, a=OrderedDict(c=2)),
    *(of_library(int, 2**80), of_library(float, 1.5), of_library(bytes, b"\0\xff"), of_library(Decimal, "1.10")),
    *(of_library(dt.date, 2024, 2, 29), of_library(dt.time, 1, 2, 3, 4, fold=1), of_library(dt.timedelta, 1, 2, 3)),
    *(of_library(dt.datetime, 2024, 1, 2, 3, 4, 5, 6, fold=1), of_library(uuid.UUID, int=7)),
    of_library(dt.datetime, 2024, 1, 2, tzinfo=ZoneInfo("Europe/Paris")),
]


@pytest.mark.parametrize("value", FOLDED, ids=lambda value: type(value).__name__)
def test_a_subclass_of_a_library_s_comes_back_as_its_base(value: Any) -> None:
    again = round_trip([value])[0]

    assert again == value
    assert type(again) in type(value).__mro__[1:] or (type(again), type(value)) == (dict, OrderedDict)
    assert type(again).__module__ in ("builtins", "datetime", "decimal", "uuid")


def test_text_of_a_template_is_text_wherever_it_is() -> None:
    value = {SafeString("key"): [SafeString("a"), (SafeString("b"),)]}

    again = round_trip(value)

    assert again == value
    assert [type(text) for text in (*again, again["key"][0], again["key"][1][0])] == [str, str, str]


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime(2024, 7, 1, tzinfo=pytz.utc),
        dt.datetime(2024, 7, 1, tzinfo=pytz.FixedOffset(-90)),
        PARIS.localize(dt.datetime(2024, 7, 1, 12)),
        PARIS.localize(dt.datetime(2024, 1, 1, 12)),
        PARIS.localize(dt.datetime(2024, 10, 27, 2, 30), is_dst=True),
        PARIS.localize(dt.datetime(2024, 10, 27, 2, 30), is_dst=False),
        dt.datetime(2024, 7, 1, tzinfo=tz.UTC),
        dt.datetime(2024, 7, 1, tzinfo=tz.tzoffset("odd", 3601)),
        parser.isoparse("2024-07-01T12:00:00.5+02:00"),
        parsedate_to_datetime("Mon, 01 Jul 2024 12:00:00 +0200"),
        dt.datetime(2024, 7, 1, tzinfo=of_library(ZoneInfo, "Europe/Paris")),
    ],
    ids=repr,
)
def test_a_time_in_a_library_s_zone_comes_back_as_the_same_time(moment: dt.datetime) -> None:
    again = round_trip(moment)

    # Not again == moment: Python says so of no two zones where a time comes twice.
    assert again.timestamp() == moment.timestamp()
    assert (again.replace(tzinfo=None, fold=0), again.utcoffset()) == (moment.replace(tzinfo=None), moment.utcoffset())
    assert type(again.tzinfo) in (dt.timezone, ZoneInfo)


def test_a_named_zone_keeps_its_rules() -> None:
    again = round_trip(PARIS.localize(dt.datetime(2024, 7, 1, 12)))

    assert again.tzinfo == ZoneInfo("Europe/Paris")


@pytest.mark.parametrize(
    "moment",
    [
        # Its offset is Paris's own time of the year 1900: the known mistake of leaving out localize().
        dt.datetime(2024, 7, 1, tzinfo=PARIS),
        dt.datetime(2024, 7, 1, tzinfo=tz.tzrange("EST", dt.timedelta(hours=-5), "EDT")),
    ],
    ids=["without localize", "rules without a name"],
)
def test_a_zone_that_no_worker_could_find_is_refused(moment: dt.datetime) -> None:
    with pytest.raises(NotSerializable, match=r"has no name that a worker could find; .* or pass x\.astimezone\(UTC\)"):
        round_trip(moment)


def test_frozen_times_are_times() -> None:
    with freezegun.freeze_time("2024-02-29 12:00"):
        moment, day = dt.datetime.now(dt.UTC), dt.date.today()  # noqa: DTZ011 (what tests are given)
        again = round_trip([moment, day])

    assert again == [dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC), dt.date(2024, 2, 29)]
    assert [type(value) for value in again] == [dt.datetime, dt.date]


class Finer(dt.datetime):
    """As pandas' Timestamp: it knows nanoseconds, which make it another time."""

    __module__ = "hypothesis.internal"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Finer)

    __hash__ = None  # type: ignore[assignment]


class Broken(dt.datetime):
    __module__ = "hypothesis.internal"

    @property
    def year(self) -> Any:
        raise RuntimeError("not a time")


@pytest.mark.parametrize("value", [Finer(2024, 1, 1), Broken(2024, 1, 1)], ids=lambda value: type(value).__name__)
def test_what_is_not_equal_to_a_plain_value_is_refused(value: object) -> None:
    with pytest.raises(NotSerializable, match="would come back as a plain datetime"):
        round_trip(value)


def test_a_nan_is_refused_as_one() -> None:
    with pytest.raises(NotSerializable, match="nan is not a number that JSON has"):
        round_trip(of_library(float, "nan"))


def test_containers_that_answer_otherwise_are_refused() -> None:
    with pytest.raises(NotSerializable, match="would come back as a plain dict"):
        round_trip(of_library(dict, a=[1]))


class Slug(str):
    __slots__ = ()


@pytest.mark.parametrize("trust", [None, ["tests.unit"], ["elsewhere"]], ids=str)
def test_a_subclass_of_the_application_s_is_refused_whatever_is_trusted(trust: list[str] | None) -> None:
    with pytest.raises(NotSerializable, match=r"Slug would come back as a plain str; pass str\(x\), or register\(\)"):
        Codec(Trust(trust)).encode(Slug("a"), "slug")


def test_code_is_the_application_s_or_of_a_library() -> None:
    assert is_of_application(__name__)
    assert not any(map(is_of_application, ("json", "asyncpg.pgproto", Local.__module__, "belayed.codec")))
