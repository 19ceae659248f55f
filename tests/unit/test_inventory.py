"""The count of Delayed Job's behaviours that tests have shown."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests import inventory

PAGE = """
## Left out

- 8: obsolete.
- 9, 11: so are these.

## Not here yet

- 250–252: mail.
"""


def report(*numbers):
    return SimpleNamespace(user_properties=[(inventory.PROPERTY, list(numbers)), ("kill points", "beat 6")])


def test_a_number_is_covered_if_its_tests_ran_and_none_failed():
    found = inventory.covered([report(3, 1), report(2), report(1)], [report(2)])

    assert found == [1, 3]


@pytest.mark.parametrize(("heading", "numbers"), [("Left out", [8, 9, 11]), ("Not here yet", [250, 251, 252])])
def test_the_page_says_what_is_left_out(heading, numbers):
    assert inventory.listed(PAGE, heading) == numbers


def test_a_page_without_the_heading_leaves_nothing_out():
    assert inventory.listed("# Nothing\n", "Left out") == []


@pytest.mark.parametrize(("numbers", "text"), [([], "none"), ([7, 3, 2, 1], "1–3, 7"), ([5], "5")])
def test_numbers_are_shortened(numbers, text):
    assert inventory.shortened(numbers) == text


def test_a_number_that_there_is_not_is_refused():
    item = SimpleNamespace(nodeid="test_x", iter_markers=lambda name: [SimpleNamespace(args=(1, 366))])

    with pytest.raises(ValueError, match=r"test_x is marked with \[366\]"):
        inventory.marked(item)
