"""When a failed attempt is tried again: the formula, a task's own rules, and the answers a job may raise."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from belayed.errors import ConfigError

FREE_RETRIES = 1000
"""How many `Retry(free=True)` a job may raise: more is an endless loop."""

LONGEST = timedelta(days=36500)
"""The longest wait: with a time beyond the year 9999 no database would take the outcome."""

Errors = type[BaseException] | tuple[type[BaseException], ...]
Backoff = timedelta | Sequence[timedelta] | Callable[[int], timedelta]


class Retry(Exception):
    """Raised by a job: try again *after* a time (default: as after an error), counted as a failure unless *free*.

    `Retry(free=True)` costs nothing, for a job that waits for something; at most 1,000 times.
    """

    after: timedelta | datetime | None = None
    free: bool = False

    def __init__(self, reason: str = "", *, after: timedelta | datetime | None = None, free: bool = False) -> None:
        if isinstance(reason, int | float | timedelta | datetime):
            raise ConfigError(f"Retry({reason!r}): the time goes in after=: write Retry(after=…)")
        if after is not None and not isinstance(after, timedelta | datetime):
            raise ConfigError(f"Retry(after={after!r}): it takes a timedelta{such_as(after)}, or an aware datetime")
        if isinstance(after, datetime) and after.utcoffset() is None:
            raise ConfigError(f"Retry(after={after!r}) has no time zone: write datetime.now(UTC) + …, or a timedelta")
        super().__init__(reason or "the job asked to be tried again")
        self.after = after
        self.free = free


class Fail(Exception):
    """Raised by a job: fail now, whatever attempts are left."""


class Cancel(Exception):
    """Raised by a job: it is not needed any more. The job ends as cancelled, with the reason."""


ANSWERS = (Retry, Fail, Cancel)
"""What a job may raise to say what is to become of it."""


def such_as(time: object) -> str:
    """How to write a number of seconds, for a message."""
    return f", such as timedelta(seconds={time})" if isinstance(time, int | float) else ""


@dataclass(frozen=True, slots=True)
class Rules:
    """A task's own rules for its failures."""

    retry_on: Errors | None = None
    """Only these errors are tried again; any other fails the job at once. None: all are."""
    discard_on: Errors = ()
    """These errors cancel the job: what it was for is gone."""
    backoff: Backoff | None = None
    """The time to wait: one for all, one for each failure (the last repeats), or a function of the failures so far."""

    def __post_init__(self) -> None:
        given: dict[str, Any] = {"retry_on": self.retry_on, "discard_on": self.discard_on}
        for name, errors in given.items():
            if isinstance(errors, list | set | frozenset):
                named = ", ".join(getattr(one, "__name__", repr(one)) for one in errors)
                raise ConfigError(f"{name}={errors!r}: several exception classes go in a tuple: {name}=({named},)")
            for error in errors if isinstance(errors, tuple) else (errors,):
                if error is not None and not (isinstance(error, type) and issubclass(error, BaseException)):
                    raise ConfigError(f"{name}: {error!r} is no exception class")
        backoff: Any = self.backoff
        if backoff is None or isinstance(backoff, timedelta) or callable(backoff):
            return
        if isinstance(backoff, Sequence) and backoff and all(isinstance(wait, timedelta) for wait in backoff):
            return
        first = backoff[0] if isinstance(backoff, list | tuple) and backoff else backoff
        one = f"a timedelta{such_as(first)}"
        raise ConfigError(f"backoff={backoff!r}: it takes {one}, a list of them, or a function of the failures")

    def wait(self, failures: int) -> float:
        """Seconds to wait after the *failures*-th failure (from 1), never below 0."""
        if self.backoff is None:
            return default_wait(failures)
        if isinstance(self.backoff, timedelta):
            wait = self.backoff
        elif callable(self.backoff):
            wait = self.backoff(failures)
        else:
            wait = self.backoff[min(failures, len(self.backoff)) - 1]
        if not isinstance(wait, timedelta):
            raise TypeError(f"backoff({failures}) returned {wait!r}: it must return a timedelta")
        return within_reach(wait)


def default_wait(failures: int) -> float:
    """Seconds to wait after the n-th failure: 5 + n⁴, Delayed Job's formula, and up to a tenth more.

    The extra spreads jobs that failed together.
    """
    return min(float(5 + failures**4) * (1 + random.random() / 10), LONGEST.total_seconds())


def seconds_until(after: timedelta | datetime) -> float:
    """Seconds from now until *after*, never below 0."""
    left = after if isinstance(after, timedelta) else after - datetime.now(UTC)
    return within_reach(left)


def within_reach(wait: timedelta) -> float:
    """*wait* in seconds, from 0 to the longest."""
    return min(max(0.0, wait.total_seconds()), LONGEST.total_seconds())
