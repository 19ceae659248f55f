"""Times and sizes as they are written on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from belayed.parsing import duration, size


def time(text: str) -> timedelta:
    """A time: seconds (`90`, `0.5`) or with a unit (`250ms`, `30s`, `5m`, `12h`, `7d`)."""
    try:
        return duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def memory(text: str) -> int:
    """A size of memory: bytes, or with a unit (`512M`, `2G`)."""
    try:
        return size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def moment(text: str) -> timedelta | datetime:
    """A point in time: an age with a unit (`30m`, `7d`), or a date or time in ISO 8601, in UTC unless it says where."""
    text = text.strip()
    try:
        # A number alone may be a date: 20251123. A time may end with Z.
        if text.endswith(("s", "m", "h", "d")):
            return duration(text)
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is no time: write an age (30m, 12h, 7d) or a time (2025-11-23, 2025-11-23T12:00Z)"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def before(now: datetime, moment: timedelta | datetime) -> datetime:
    """The point in time that *moment* names: an age is that long before *now*."""
    return now - moment if isinstance(moment, timedelta) else moment
