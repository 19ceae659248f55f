"""Text from elsewhere is made safe for a terminal and for a log, and what is ordinary stays as it is."""

from __future__ import annotations

import json
import logging
import sys
import unicodedata

import pytest

from belayed import printable
from belayed.worker.logs import JsonLines, Lines

ALL = "".join(map(chr, range(0x110000)))
RECORD = "12:00:00.000 ERROR forged"


def test_no_character_that_steers_or_hides_is_left():
    unsafe = ("Cc", "Cf", "Zl", "Zp", "Cs")

    shown = set(printable.lines(ALL))

    assert {char for char in shown if unicodedata.category(char) in unsafe} == {"\n", "\t"}


@pytest.mark.parametrize("char", ["\u034f", "\u115f", "\u1160", "\u3164", "\uffa0", "\u2800", "\ufe00", "\U000e0101"])
def test_what_has_no_shape_is_written_out(char):
    written = f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"

    assert printable.lines(f"a{char}b") == f"a{written}b"


@pytest.mark.parametrize(
    "text",
    [
        "plain [red]not markup[/red] :smile: 100 % \\x1b",
        "two\nlines\tand a tab",
        "Zażółć gęślą jaźń",
        "e\u0301 n\u0303\u0323",
        "שָׁלוֹם",
        "नमस्ते ภาษาไทย 日本語",
        "❤\ufe0f 👩🏽 🇵🇱",
        "a\u00a0b\u3000c",
    ],
)
def test_ordinary_text_stays(text):
    assert printable.lines(text) == text


def test_a_flood_of_accents_is_cut():
    assert printable.lines("e" + "\u0301" * 1000 + "x") == "e" + "\u0301" * 4 + "…x"
    assert printable.lines("e" + "\u0301\u0489" * 1000) == "e" + "\u0301\u0489" * 2 + "…"


@pytest.mark.parametrize("before", ["", "a ", "a\n", "a\t", "a\u2003"])
def test_an_accent_without_a_letter_is_left_out(before):
    assert printable.lines(f"{before}\u0338b") == f"{before}…b"


def test_lines_of_windows_are_lines():
    assert printable.lines("a\r\nb\rc") == "a\nb\\x0dc"


def test_one_line_is_one_line():
    text = printable.line(f"a\nb\r\u2028c\x85d\x1ee {ALL}")

    assert len(text.splitlines()) == 1
    assert text.startswith("a b c d e ")


def logged(formatter: logging.Formatter, message: str, error: Exception | None = None, **more: object) -> str:
    """What is written for a record."""
    info = None
    if error is not None:
        try:
            raise error
        except Exception:
            info = sys.exc_info()
    record = logging.makeLogRecord({"name": "belayed", "msg": message, "levelname": "INFO", "exc_info": info, **more})
    return formatter.format(record)


ENDS = ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("end", ENDS, ids=ascii)
def test_no_text_looks_like_a_record_of_the_log(end):
    hostile = f"x{end}{RECORD}{end}{RECORD}"

    text = logged(Lines(), hostile, ValueError(hostile), stack_info=hostile)

    first, *others = text.splitlines()
    assert first.endswith("INFO  x") or RECORD in first
    assert all(line.startswith("    ") for line in others)
    assert len(others) == text.count("\n")


@pytest.mark.parametrize("end", ENDS, ids=ascii)
def test_a_record_in_json_is_one_line_of_ascii(end):
    hostile = f'x{end}{{"level": "ERROR"}}\x7f\u202e\ud800'

    text = logged(JsonLines(), hostile, ValueError(hostile), task=hostile, queue=hostile, threadName=hostile)

    assert text.isascii()
    assert text.isprintable()
    found = json.loads(text)
    assert (found["message"], found["task"], found["thread"]) == (hostile, hostile, hostile)
    assert hostile in found["error"]


@pytest.mark.parametrize("form", [Lines(), JsonLines()], ids=["text", "json"])
def test_of_a_very_long_traceback_the_beginning_and_the_end_are_logged(form):
    text = logged(form, "x", ValueError(f"begins {'x' * 1_000_000} ends"))

    assert len(text) < 20_000
    assert "ValueError: begins x" in text
    assert "x ends" in text
