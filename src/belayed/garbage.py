"""Python's search for garbage, where much is made at once and all of it is kept."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Without that search, which would look through all that is new again and again. It is off for all threads."""
    enabled = gc.isenabled()
    try:
        # Within: a stop may be raised as soon as it is off.
        gc.disable()
        yield
    finally:
        if enabled:
            gc.enable()
