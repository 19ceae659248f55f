"""How the values of rows are read: any value as one of its column's kind, so that no row stops those who read it.

The tables' checks keep out what cannot be read. But rows may be older than a check, or written where the checks are off
(SQLite has a pragma for it). What is none of its kind is shown as unreadable, or as the nearest that can be shown.
"""

from __future__ import annotations

from itertools import product
from math import isfinite
from typing import Any

from belayed.claim import FIRST, LAST
from belayed.job import Outcome, State
from belayed.steps import Row

UNREADABLE = "unreadable"
MOST = 2**63 - 1


def nameless(kind: type[Any]) -> Any:
    """A member of an enumeration of texts that it does not list, for all values that are not known."""
    member = str.__new__(kind, UNREADABLE)
    member._name_, member._value_ = UNREADABLE.upper(), UNREADABLE
    return member


NO_STATE: State = nameless(State)
NO_OUTCOME: Outcome = nameless(Outcome)
STATES: dict[Any, State] = {state.value: state for state in State}
"""States by their names: calling the enumeration takes three times as long."""
OUTCOMES: dict[Any, Outcome] = {outcome.value: outcome for outcome in Outcome}


def state_of(value: Any) -> State:
    return STATES.get(value, NO_STATE)


def outcome_of(value: Any) -> Outcome:
    return OUTCOMES.get(value, NO_OUTCOME)


def text_of(value: Any) -> str:
    """A text; None is an unreadable one."""
    if type(value) is str:
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return UNREADABLE if value is None else str(value)


def optional_text(value: Any) -> str | None:
    return None if value is None else text_of(value)


def number_of(value: Any, low: int = -MOST, high: int = MOST) -> int:
    """A whole number from *low* to *high*: the nearest. What is no number is 0."""
    number = int(value) if isinstance(value, int | float) and isfinite(value) else 0
    return min(max(number, low), high)


def optional_number(value: Any) -> int | None:
    return None if value is None else number_of(value)


def micros_of(value: Any) -> int:
    """Microseconds since 1970, within the years 1 to 9999; of what is no number the last."""
    return number_of(value, FIRST, LAST) if isinstance(value, int | float) else LAST


def seconds_of(value: Any) -> float | None:
    """A number of seconds; None for what is none."""
    return float(value) if isinstance(value, int | float) and isfinite(value) else None


def flag_of(value: Any) -> bool:
    return value in (True, 1)


def optional_flag(value: Any) -> bool | None:
    return flag_of(value) if isinstance(value, int) else None


# The columns of a claimed job, as SQLite may have them: a strict table keeps to its types, others keep to nothing.

NOTHING = type(None)
KINDS = frozenset(
    (int, str, int, int, str, payload, int, int, int, int, int, int, attempts, limit, keep, meta, unknown, str, int)
    for payload, attempts, limit, keep, meta, unknown in product(
        (str, NOTHING), (int, NOTHING), (float, NOTHING), (int, NOTHING), (str, NOTHING), (float, NOTHING)
    )
)
"""All the kinds of rows that there are."""


def claimed_row(row: Row) -> Row:
    """The row of a claimed job with each value of its column's kind; as a rule, that is the row itself."""
    if tuple(map(type, row)) in KINDS and FIRST <= row[3] <= LAST and FIRST <= row[6] <= LAST:
        return row
    id, queue, priority, run_at, task, payload, created_at, *counters = row[:12]
    max_attempts, max_run_time, keep_failed, meta, unknown_for, token, suspect = row[12:]
    return (
        id, text_of(queue), number_of(priority), micros_of(run_at), text_of(task), optional_text(payload),
        micros_of(created_at), *map(number_of, counters), optional_number(max_attempts), seconds_of(max_run_time),
        optional_flag(keep_failed), optional_text(meta), seconds_of(unknown_for), token, flag_of(suspect),
    )  # fmt: skip
