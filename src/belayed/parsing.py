"""Values from texts, as in the environment and on the command line."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any


def listed(text: str) -> tuple[str, ...]:
    """The names in a text with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def json_object(text: str) -> dict[str, Any]:
    """The object that *text* is in JSON; nothing is an empty one."""
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f"it takes a JSON object, and this is no JSON ({error})") from error
    if isinstance(found, dict):
        return found
    raise ValueError("it takes a JSON object")


UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> timedelta:
    """A time from text: seconds (`90`, `0.5`) or with a unit: `250ms`, `30s`, `5m`, `12h`, `7d`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no time: write seconds (90) or a unit (250ms, 30s, 5m, 12h, 7d)")
    return timedelta(seconds=float(match[1]) * UNITS[match[2] or "s"])


def size(text: str) -> int:
    """A number of bytes from text: `1048576`, `512M`, `2G`."""
    match = re.fullmatch(r"(\d+)\s*([KMGkmg]?)(?:i?[Bb])?", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: write bytes (1048576) or a unit (512M, 2G)")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


def whole_number(text: str) -> int:
    """A whole number from text: `5`, `-10`."""
    try:
        return int(text)
    except ValueError:
        raise ValueError("it takes a whole number, such as 5") from None
