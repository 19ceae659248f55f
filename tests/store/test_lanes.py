"""What a claimer serves, and what it remembers of where it stood."""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic

import pytest

from belayed.claim import Claimed, micros
from belayed.store.lanes import HIGHEST, LOWEST, Lane, Lanes, Serving

NOON = micros(datetime(2030, 6, 1, 12, 0, tzinfo=UTC))


def found(lanes, *heads, cost=0.0):
    lanes.found([(queue, priority, NOON, id) for queue, priority, id in heads], cost)
    return [(lane.queue, lane.priority, lane.upto) for lane in lanes.lanes]


def claimed(id, queue="a", priority=0, run_at=NOON):
    return Claimed(id, queue, priority, run_at, "t", "", NOON, 0, 0, 0, 0, 0, None, None, None, None, None, "token")


@pytest.mark.parametrize(
    ("queues", "named", "excluded"),
    [
        (("*",), None, set()),
        (("a", "b"), ["a", "b"], set()),
        (("!a",), None, {"a"}),
        (("*", "!a"), None, {"a"}),
        (("b", "!a"), ["b"], {"a"}),
        (("*", "b"), None, set()),
    ],
)
def test_queues_are_named_or_all_but_some(queues, named, excluded):
    serving = Serving(queues)

    assert serving.named == named
    assert serving.excluded == excluded


@pytest.mark.parametrize(
    ("queues", "queue", "serves"),
    [
        (("*",), "a", True),
        (("a",), "a", True),
        (("a",), "b", False),
        (("!a",), "a", False),
        (("!a",), "b", True),
        (("a", "!a"), "a", False),
        (("*", "!a"), "a", False),
    ],
)
def test_a_queue_is_served_or_not(queues, queue, serves):
    assert Serving(queues).serves(queue) is serves


def test_each_lane_ends_before_the_next_and_the_last_of_a_queue_is_open():
    lanes = Lanes(Serving())

    shown = found(lanes, ("a", 1, 7), ("a", 5, 3), ("b", 0, 2))

    assert shown == [("a", 1, 4), ("a", 5, HIGHEST), ("b", 0, HIGHEST)]
    assert [(lane.mark_at, lane.mark_id) for lane in lanes.lanes] == [(NOON, 7), (NOON, 3), (NOON, 2)]


def test_queues_that_are_not_served_have_no_lane():
    lanes = Lanes(Serving(("!b",)))

    shown = found(lanes, ("a", 0, 1), ("b", 0, 2), ("c", 0, 3))

    assert [queue for queue, _, _ in shown] == ["a", "c"]


@pytest.mark.parametrize(
    ("low", "high", "ranges"),
    [
        (None, 4, [(1, 4)]),
        (None, 7, [(1, 4), (5, 7)]),
        (None, 0, []),
        (3, None, [(3, 4), (5, HIGHEST)]),
        (5, None, [(5, HIGHEST)]),
        (9, None, [(9, HIGHEST)]),
        (2, 3, [(2, 3)]),
    ],
)
def test_lanes_are_cut_to_the_priorities_served(low, high, ranges):
    lanes = Lanes(Serving(min_priority=low, max_priority=high))

    shown = found(lanes, ("a", 1, 7), ("a", 5, 3))

    assert [(priority, upto) for _, priority, upto in shown] == ranges


def test_a_lane_that_was_cut_has_no_mark():
    lanes = Lanes(Serving(min_priority=3))

    found(lanes, ("a", 1, 7), ("a", 5, 3))

    assert [(lane.mark_at, lane.mark_id) for lane in lanes.lanes] == [(None, 0), (NOON, 3)]


def test_a_scan_is_due_while_nothing_is_known():
    lanes = Lanes(Serving())

    found(lanes)

    assert lanes.due()


def test_a_scan_is_always_due_for_a_claimer_that_remembers_nothing():
    lanes = Lanes(Serving(), remember=False)

    found(lanes, ("a", 0, 1))

    assert lanes.due()


@pytest.mark.parametrize(
    ("short", "cost", "since", "due"),
    [
        (False, 0.0, 0.5, False),
        (False, 0.0, 1.5, True),
        (False, 1.0, 15.0, False),
        (False, 1.0, 25.0, True),
        (True, 0.0, 0.0, True),
        (True, 1.0, 15.0, False),
        (True, 1.0, 25.0, True),
    ],
)
def test_scans_take_a_twentieth_of_the_time_and_wait_a_second_while_there_is_work(short, cost, since, due):
    lanes = Lanes(Serving())
    found(lanes, ("a", 0, 1), cost=cost)
    lanes.claimed([] if short else [claimed(1)], 1)

    lanes.scanned_at = monotonic() - since

    assert lanes.due() is due


def test_the_marks_move_to_the_last_job_claimed_of_each_lane():
    lanes = Lanes(Serving())
    found(lanes, ("a", 0, 1), ("a", 5, 2), ("b", 0, 3))
    later = NOON + 1_000_000

    lanes.claimed([claimed(1), claimed(4, priority=3, run_at=later), claimed(3, queue="b"), claimed(9, "b", 7)], 4)

    assert [(lane.queue, lane.priority, lane.mark_at, lane.mark_id) for lane in lanes.lanes] == [
        ("a", 3, later, 4),
        ("a", 5, NOON, 2),
        ("b", 7, NOON, 9),
    ]


@pytest.mark.parametrize(
    ("queue", "priority", "served", "due"),
    [
        ("a", 5, True, False),
        ("a", HIGHEST, True, False),
        ("a", 4, True, True),
        ("new", 0, True, True),
        ("excluded", 0, False, False),
        ("a", -11, False, False),
        ("a", LOWEST, False, False),
    ],
)
def test_a_hint_of_what_the_marks_have_passed_makes_a_scan_due(queue, priority, served, due):
    lanes = Lanes(Serving(("!excluded",), min_priority=-10))
    found(lanes, ("a", 5, 1))
    lanes.claimed([claimed(1, priority=5)], 1)

    taken = lanes.hint(queue, priority)

    assert taken is served
    assert lanes.due() is due


def test_a_hint_where_nothing_was_ready_says_where_to_look_first():
    lanes = Lanes(Serving(("mail", "web"), min_priority=-5, max_priority=5))
    lanes.found([], 0.0)

    assert lanes.hint("mail", 3)

    assert lanes.lanes == [Lane("mail", -5, 5)]
    assert not lanes.due()
    # What it brought was less than was wanted: others may be waiting elsewhere.
    lanes.claimed([], 10)
    assert lanes.due()


def test_a_hint_is_no_place_to_look_where_a_scan_costs_nothing():
    lanes = Lanes(Serving(), remember=False)

    assert lanes.hint("mail", 0)

    assert lanes.lanes == []
    assert lanes.due()
