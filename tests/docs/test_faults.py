"""The list of faults is whole, and the tests that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "explain" / "faults.md"
ROWS = {int(row[1]): row[2] for row in re.finditer(r"^\| (\d+) \|.*\| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)}
NUMBERS = {*range(1, 70), 73, 74, *range(78, 87), *range(91, 98), *range(110, 113), *range(130, 153),
           *range(157, 174), *range(177, 182), *range(187, 193)}  # fmt: skip
MAY_NOT_BE_LINES = {*range(1, 14), *range(16, 21), *range(25, 29), *range(32, 37), 39, 43, 49, *range(55, 59),
                    *range(64, 67), 73, *range(82, 85)}  # fmt: skip


def test_each_fault_has_its_row() -> None:
    found = re.findall(r"^\| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)

    assert set(ROWS) >= NUMBERS
    assert len(found) == len(set(found))


def test_the_tests_that_are_named_are_there() -> None:
    named = {name for row in ROWS.values() for name in re.findall(r"`([\w/]+(?:\.py)?)`", row)}

    assert named
    assert [name for name in named if not (TESTS / name).exists()] == []


def test_few_are_told_only_by_a_line() -> None:
    lines = {number for number, row in ROWS.items() if "`" not in row or row.startswith("a line")}

    assert len(lines) <= 8
    assert lines & MAY_NOT_BE_LINES == set()
