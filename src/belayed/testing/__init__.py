"""For the tests of applications: run jobs at once, hold them back, run what is due, ask what was enqueued.

All of it is about the program's `Jobs`, unless told others by `jobs=`, and serves pytest and unittest alike.
"""

from belayed.testing.draining import adrain, aperform, drain, perform
from belayed.testing.expecting import aassert_enqueued, arefute_enqueued, assert_enqueued, refute_enqueued
from belayed.testing.modes import held, inline, isolated, travel

__all__ = [
    "aassert_enqueued",
    "adrain",
    "aperform",
    "arefute_enqueued",
    "assert_enqueued",
    "drain",
    "held",
    "inline",
    "isolated",
    "perform",
    "refute_enqueued",
    "travel",
]
