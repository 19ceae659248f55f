"""Checks the options of a job: at import where they are values, at each enqueue where they are callables."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from belayed.errors import OptionError
from belayed.job import Draft, Filter, Options, State
from belayed.mistakes import nearest, unknown_option
from belayed.retry import LONGEST

NAMES = tuple(Options.__annotations__)
CONDITIONS = tuple(Filter.__annotations__)
LONGEST_TEXT = 1020
"""Characters: no name of a queue or a task in a table is longer."""
AS_THEY_ARE = ("connection", "jobs")
"""Options that are never called, though their values may be callable."""


def checked(options: Mapping[str, Any], of_task: Collection[str] = ()) -> dict[str, Any]:
    """A copy of *options*, all known and of the right types; callables are left for `resolved`. Raises OptionError.

    *of_task* are those that the place takes beside them, for the message.
    """
    for name, value in options.items():
        if name not in NAMES:
            raise OptionError(unknown_option(name, NAMES, of_task))
        if name in CHECKS and not callable(value):
            CHECKS[name](value)
    return dict(options)


def resolved(options: Mapping[str, Any], subject: object | None = None) -> dict[str, Any]:
    """*options* with their callables called: with *subject* if there is one and they take an argument."""
    values = dict(options)
    for name, value in options.items():
        if name not in AS_THEY_ARE and callable(value):
            values[name] = called(value, subject)
            CHECKS[name](values[name])
    return values


def called(option: Callable[..., Any], subject: object | None) -> Any:
    return option(subject) if subject is not None and takes_one(option) else option()


def takes_one(option: Callable[..., Any]) -> bool:
    """Whether a callable option can be given the instance."""
    try:
        inspect.signature(option).bind(None)
    except (TypeError, ValueError):
        return False
    return True


def check_queue(queue: Any) -> None:
    """Raise OptionError for what is no name of a queue."""
    fault = queue_fault(queue) if isinstance(queue, str) else ""
    if fault is not None:
        raise OptionError(f"queue={shortened(queue)}: a queue's name is a text of 1 to 255 characters{fault}")


@lru_cache(1000)
def queue_fault(queue: str) -> str | None:
    """What is wrong with a queue's name, as the end of a sentence."""
    if not 1 <= len(queue) <= 255:
        return ""
    if bad := next((char for char in queue if not char.isprintable() or char in "*!,"), None):
        return f", none of them {bad!r} (control characters, *, ! and , are not taken)"
    return ", without spaces around it" if queue != queue.strip() else None


def check_task(name: Any) -> None:
    """Raise OptionError for what is no name of a task, or of a custom job."""
    if not isinstance(name, str) or not 1 <= len(name) <= 255 or not name.isprintable():
        raise OptionError(f"the name of a task is a text of 1 to 255 characters, no control characters, not {name!r}")


def check_priority(priority: Any) -> None:
    """Raise OptionError for what is neither a priority nor might be the name of one: `Names` knows which there are."""
    if not (isinstance(priority, str) and priority) and (type(priority) is not int or not in_range(priority)):
        raise OptionError(f"priority={priority!r}: it takes a whole number from -2147483648 to 2147483647, or a name")


def in_range(priority: int) -> bool:
    return -(2**31) <= priority < 2**31


def check_run_at(run_at: Any) -> None:
    if run_at is None:
        return
    if not isinstance(run_at, datetime | timedelta):
        such = f", such as timedelta(seconds={run_at})" if type(run_at) in (int, float) else ""
        raise OptionError(f"run_at={run_at!r}: it takes an aware datetime, or a timedelta from now{such}")
    if isinstance(run_at, datetime) and run_at.utcoffset() is None:
        raise OptionError(
            f"run_at={run_at!r} has no time zone: write datetime.now(UTC) + …, or run_at.astimezone(), or a timedelta"
        )
    check_in_utc("run_at", run_at)


def check_in_utc(name: str, time: datetime | timedelta) -> None:
    """Raise OptionError for a time that has no name in UTC."""
    try:
        _ = time.astimezone(UTC) if isinstance(time, datetime) else datetime.now(UTC) + time
    except OverflowError:
        raise OptionError(f"{name}={time!r}: in UTC it is not within the years 1 to 9999") from None


def check_max_attempts(attempts: Any) -> None:
    if attempts is not None and (type(attempts) is not int or not 1 <= attempts < 2**31):
        raise OptionError(f"max_attempts={attempts!r}: it takes a whole number of 1 or more")


def check_max_run_time(time: Any) -> None:
    if time is not None and (not isinstance(time, timedelta) or not timedelta() < time <= LONGEST):
        raise OptionError(
            f"max_run_time={time!r}: it takes a timedelta above 0, such as timedelta(minutes=5), of at most 100 years"
        )


def check_keep_failed(keep: Any) -> None:
    if keep is not None and not isinstance(keep, bool):
        raise OptionError(f"keep_failed={keep!r}: it takes True or False")


@lru_cache(1000, typed=True)
def check_names(queue: Any, priority: Any, task: Any) -> None:
    """The checks of these three; what passed is remembered."""
    check_queue(queue)
    check_priority(priority)
    check_task(task)


def check_draft(draft: Draft) -> None:
    """Raise OptionError for an option that is none, as the checks of each say; of most drafts few are set."""
    try:
        check_names(draft.queue, draft.priority, draft.task)
    except TypeError:
        # One of them is nothing that could be remembered, and so no name.
        check_names.__wrapped__(draft.queue, draft.priority, draft.task)
    if draft.run_at is not None:
        check_run_at(draft.run_at)
    if draft.max_attempts is not None:
        check_max_attempts(draft.max_attempts)
    if draft.max_run_time is not None:
        check_max_run_time(draft.max_run_time)
    if draft.keep_failed is not None:
        check_keep_failed(draft.keep_failed)


def check_filter(filter: Mapping[str, Any]) -> None:
    """Raise OptionError for what is no condition: without it a misspelt one would find, or delete, every job."""
    for name, value in filter.items():
        if name not in CONDITIONS:
            near = nearest(name, CONDITIONS)
            meant = f"; did you mean {near}?" if near else ""
            raise OptionError(f"unknown condition {name!r}: there are {', '.join(CONDITIONS)}{meant}")
        if name.startswith("created_"):
            if not isinstance(value, datetime) or value.utcoffset() is None:
                raise OptionError(f"{name}={value!r}: it takes an aware datetime, such as datetime.now(UTC) - …")
            check_in_utc(name, value)
        elif isinstance(value, str | bytes | Mapping) or not isinstance(value, Collection):
            raise OptionError(f"{name}={value!r}: it takes a list, such as {name}=[…]")
        elif name == "ids":
            check_ids(value)
        elif name == "states":
            check_states(value)
        else:
            for one in value:
                check_text(name, one)


def check_ids(ids: Iterable[Any]) -> None:
    """Raise OptionError for what no job can have as its id."""
    for id in ids:
        if type(id) is not int or not -(2**63) <= id < 2**63:
            raise OptionError(f"{shortened(id)} is not the id of a job: ids are whole numbers below 2⁶³, as job.id")


def check_states(states: Iterable[Any]) -> None:
    known = [state.value for state in State]
    for state in states:
        if state not in known:
            raise OptionError(f"states=[{shortened(state)}]: there are {', '.join(known)}")


def check_text(name: str, text: Any) -> None:
    """Raise OptionError unless it is a text that a database takes. A name that no queue may have may be in a table."""
    if not isinstance(text, str) or len(text) > LONGEST_TEXT or "\0" in text or not encodable(text):
        raise OptionError(
            f"{name}=[{shortened(text)}]: it takes texts of at most {LONGEST_TEXT:,} characters, without NUL and "
            "halves of characters (lone surrogates)"
        )


def encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_count(name: str, count: Any, *, least: int = 0) -> None:
    """Raise OptionError unless it is a number of rows."""
    if type(count) is not int or not least <= count < 2**31:
        raise OptionError(f"{name}={shortened(count)}: it takes a whole number from {least} to 2147483647")


def check_page(before: Any, limit: Any) -> None:
    """Raise OptionError unless it is a place in a list, or the length of a page."""
    check_count("limit", limit)
    if before is not None and (type(before) is not int or not -(2**63) <= before < 2**63):
        raise OptionError(f"before={shortened(before)}: it takes the id of a job, where the page before ended")


def check_age(age: Any) -> None:
    """Raise OptionError unless it is an age."""
    if not isinstance(age, timedelta) or abs(age) > LONGEST:
        raise OptionError(
            f"age={shortened(age)}: it takes a timedelta, such as timedelta(hours=1), of at most 100 years"
        )


def check_timeout(timeout: Any) -> None:
    """Raise OptionError unless it is a time to wait for. What is over already is one."""
    if timeout is None or isinstance(timeout, timedelta):
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not -1e15 <= timeout <= 1e15:
        raise OptionError(f"timeout={shortened(timeout)}: it takes a timedelta, seconds, or None")


def shortened(value: object) -> str:
    """A value for a message, however long it is."""
    if type(value) is int and abs(value) >= 10**100:
        return "a number of more than 100 digits"
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


CHECKS: dict[str, Callable[[Any], None]] = {
    "queue": check_queue,
    "priority": check_priority,
    "run_at": check_run_at,
    "max_attempts": check_max_attempts,
    "max_run_time": check_max_run_time,
    "keep_failed": check_keep_failed,
}
