"""How long tests wait: the variable BELAYED_TEST_PATIENCE makes that longer, for a busy machine."""

from __future__ import annotations

import os

VARIABLE = "BELAYED_TEST_PATIENCE"


def factor() -> float:
    text = os.environ.get(VARIABLE) or "1"
    try:
        found = float(text)
    except ValueError:
        found = 0
    if not 0 < found < 1000:
        raise ValueError(
            f"{VARIABLE} is {text!r}: it takes a number such as 3, by which the waits of tests are multiplied"
        )
    return found


FACTOR = factor()


def patient(seconds: float) -> float:
    """The seconds that a test may wait for what takes less than *seconds* on a machine with nothing else to do."""
    return seconds * FACTOR
