"""Subclasses that libraries make of plain types: they travel as the plain value that is equal to them.

Templates make texts of their own class, drivers UUIDs, clocks of tests datetimes. A job is to take the same values in
production and in tests, on every database. Classes of the application's own are refused instead: it may rely on them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isnan
from typing import Any
from uuid import UUID

from belayed.definitions import ABSENT

# They take the class from the table, not from this module: libraries that freeze the time replace what modules have.
_FOLDS: dict[type, Callable[[Any, Any], Any]] = {
    str: lambda base, value: base.__str__(value),
    int: lambda base, value: base.__int__(value),
    float: lambda base, value: base.__float__(value),
    bytes: lambda base, value: base(memoryview(value)),
    Decimal: lambda base, value: base(base.__str__(value)),
    UUID: lambda base, value: base(int=value.int),
    timedelta: lambda base, value: base(value.days, value.seconds, value.microseconds),
    datetime: lambda base, value: base(
        *(value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.tzinfo),
        fold=value.fold,
    ),
    date: lambda base, value: base(value.year, value.month, value.day),
    time: lambda base, value: base(
        value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold
    ),
    OrderedDict: lambda _base, value: dict(value),
}


def folded(value: Any) -> Any:
    """The plain value that *value*, of a subclass, is equal to; ABSENT if there is none."""
    for base in type(value).__mro__:
        if (fold := _FOLDS.get(base)) is None:
            continue
        try:
            plain = fold(base, value)
            # More than microseconds, say, would be lost. A number that is not one is refused as such later.
            return plain if plain == value or (base is float and isnan(plain)) else ABSENT
        except Exception:
            return ABSENT
    return ABSENT
