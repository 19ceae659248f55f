"""Outcomes in frames of a bounded size, as a child sends them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

LARGE = 1 << 20
"""Bytes of a frame of outcomes that are not successes."""
FEW = 20
"""Such outcomes in a frame: each may have a traceback."""
HEAVY = 1 << 18
"""Characters of results in a frame, but for a single result that is larger."""


def by_size(rows: list[Any]) -> Iterator[list[Any]]:
    """These rows in frames of a few, and of no more bytes than a supervisor reads unless one row alone has more."""
    some: list[Any] = []
    size = 0
    for row in rows:
        took = len(json.dumps(row))
        if some and (len(some) >= FEW or size + took > LARGE):
            yield some
            some, size = [], 0
        some.append(row)
        size += took
    if some:
        yield some


def parted(successes: list[Any], size: int) -> Iterator[list[Any]]:
    """Rows of successes for frames of a bounded size; *size* is that of all their results."""
    if size <= HEAVY:
        if successes:
            yield successes
        return
    part: list[Any] = []
    size = 0
    for row in successes:
        more = len(row[2]) if len(row) > 2 and row[2] is not None else 0
        if part and size + more > HEAVY:
            yield part
            part, size = [], 0
        part.append(row)
        size += more
    yield part
