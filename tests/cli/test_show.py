"""Times, numbers and tables as people read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import click
import pytest

from belayed.cli import show, times

NOW = datetime(2030, 6, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0404, "40 ms"),
        (0.9999, "1.0 s"),
        (1.25, "1.2 s"),
        (59, "59 s"),
        (119, "119 s"),
        (120, "2 min"),
        (239, "3 min"),
        (7200, "2 h"),
        (47 * 3600, "47 h"),
        (48 * 3600, "2 days"),
        (-5, "0 ms"),
    ],
)
def test_a_span_is_told_in_its_largest_unit(seconds, text):
    assert show.span(timedelta(seconds=seconds)) == text


def test_moments_are_told_from_now():
    assert show.ago(NOW - timedelta(minutes=3), NOW) == "3 min ago"
    assert show.ago(NOW + timedelta(hours=3), NOW) == "in 3 h"
    assert show.ago(NOW - timedelta(minutes=3, seconds=59), NOW) == "3 min ago"
    assert show.ago(NOW + timedelta(hours=2, minutes=59), NOW) == "in 3 h"
    assert show.ago(NOW, NOW) == "0 s ago"
    assert show.ago(None, NOW) == ""


def test_counts_have_separators_and_say_when_they_are_not_the_end():
    assert show.number(1234567) == "1,234,567"
    assert show.number(1_000_000, 1_000_000) == "1,000,000+"
    assert show.number(999_999, 1_000_000) == "999,999"
    assert show.counted(1, "job") == "1 job"
    assert show.counted(1200, "job") == "1,200 jobs"


def test_times_for_programs_are_iso_8601_in_utc():
    assert show.iso(datetime.fromisoformat("2030-06-01T14:00:00.5+02:00")) == "2030-06-01T12:00:00.500000Z"


def test_a_long_json_value_is_laid_out_and_stays_the_same():
    value = {"args": [1, 2], "kwargs": {"text": "x" * 80, "list": [{"a": [], "b": {}}] * 9}, "none": None, "empty": {}}

    text = show.pretty(value)

    assert json.loads(text) == value
    assert '\n  "args": [1, 2],\n' in text
    assert show.pretty([1, {"a": "ö"}]) == '[1, {"a": "ö"}]'


def test_on_a_narrow_terminal_elastic_columns_are_cut_one_after_the_other(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "50")

    show.table(("A", "B", "C"), [("a" * 20, "b" * 20, "c" * 20)], elastic=("C", "B"))

    line = click.unstyle(capsys.readouterr().out.splitlines()[1])
    assert line.split() == ["a" * 20, "b" * 11 + "…", "c" * 11 + "…"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30m", timedelta(minutes=30)),
        ("7d", timedelta(days=7)),
        ("2030-06-01", datetime(2030, 6, 1, tzinfo=UTC)),
        ("20300601", datetime(2030, 6, 1, tzinfo=UTC)),
        ("2030-06-01T12:00Z", NOW),
        ("2030-06-01T14:00+02:00", NOW),
        ("2030-06-01 12:00", NOW),
    ],
)
def test_a_moment_is_an_age_or_a_time(text, moment):
    assert times.moment(text) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7w", "2030-13-01", "-3d"])
def test_what_is_no_moment_is_refused(text):
    with pytest.raises(click.BadParameter, match="write an age"):
        times.moment(text)


def test_an_age_is_counted_back_from_now():
    assert times.before(NOW, timedelta(hours=1)) == NOW - timedelta(hours=1)
    assert times.before(NOW, NOW) == NOW
