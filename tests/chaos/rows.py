"""Hostile rows: what somebody writes into the table of jobs by hand, as far as the database lets him."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

GOOD = "good"
"""For the payload of a job that works."""
FAILS = ("failed",)
SUCCEEDS = ("succeeded",)
ANY = ("succeeded", "failed", "cancelled")
LARGE = 200_000
LATER = timedelta(hours=1)


@dataclass(frozen=True)
class Odd:
    """A row: what is set in it, and how its job may end."""

    name: str
    column: str
    value: Any
    ends: tuple[str, ...] = ANY
    dialect: str = ""
    """Where alone it is tried."""


def call(ref: str, *args: Any) -> str:
    return json.dumps({"v": 1, "call": ref, "args": args, "kwargs": {}})


def named(path: str, method: str) -> str:
    return json.dumps({"v": 1, "self": {"$": "name", "v": path}, "method": method, "args": [], "kwargs": {}})


NESTED = "[" * 20_000 + "]" * 20_000
PAYLOADS = {
    "broken JSON": '{"v": 1, "call"',
    "nothing": "",
    "null": "null",
    "a list": "[1, 2]",
    "a number": "1e999",
    "no version": '{"call": "tests.chaos.app:works", "args": ["k", 0], "kwargs": {}}',
    "no arguments": '{"v": 1, "call": "tests.chaos.app:works"}',
    "arguments of a wrong type": '{"v": 1, "call": "tests.chaos.app:works", "args": 3, "kwargs": "x"}',
    "a newer version": '{"v": 99, "call": "x:y", "args": [], "kwargs": {}}',
    "deep": '{"v": 1, "call": "tests.chaos.app:works", "kwargs": {}, "args": ' + NESTED + "}",
    "a large number": '{"v": 1, "call": "tests.chaos.app:works", "kwargs": {}, "args": [' + "9" * 10_000 + "]}",
    "a large text": call("tests.chaos.app:nowhere", "x" * LARGE),
    "NaN": '{"v": NaN, "call": NaN}',
    "a name that is a list": '{"v": 1, "call": [], "args": [], "kwargs": {}}',
    "os.system": call("os:system", "true"),
    "posix._exit": call("posix:_exit", 1),
    "os through the application": call("tests.chaos.app:os._exit", 1),
    "a function that ends its process": call("tests.chaos.killers:die", "kill", "k"),
    "a hidden method": named("tests.chaos.app:jobs", "__init__"),
    "no task": call("tests.chaos.app:nothing_there"),
    "no module": call("tests.chaos.nowhere:nothing"),
    "no package": call("nowhere_at_all:nothing", 1),
    "too many arguments": call("tests.chaos.app:canary", "k", 1, 2, 3),
}
TEXTS = {
    "empty": "",
    "control characters": "a\nb\x1b[31m\r\u202e\u2028",
    "large": "x" * LARGE,
    "quotes": "'\";--%s:now?",
}
COUNTERS = ("attempt", "failures", "crashes", "rescues", "free_retries")
ODD = [
    *(Odd(f"payload: {name}", "payload", text, FAILS) for name, text in PAYLOADS.items()),
    *(Odd(f"task: {name}", "task", text) for name, text in TEXTS.items()),
    *(Odd(f"queue: {name}", "queue", text) for name, text in TEXTS.items()),
    *(Odd(f"error: {name}", "error", text) for name, text in TEXTS.items()),
    *(Odd(f"token: {name}", "token", text) for name, text in TEXTS.items()),
    *(Odd(f"worker: {name}", "worker", text) for name, text in TEXTS.items()),
    *(
        Odd(f"meta: {text[:20]}", "meta", text)
        for text in ('{"a": NaN}', "[]", "{", '{"a": ' + NESTED + "}", json.dumps({"a": "x" * LARGE}), '{"": {"$": 1}}')
    ),
    *(Odd(f"{name} {count}", name, count) for name in COUNTERS for count in (-1, 10**9, 2**31 - 1, 2**63 - 1)),
    Odd("two foreign crashes", "crashes", 2, SUCCEEDS),
    Odd("eight foreign rescues", "rescues", 8),
    *(Odd(f"priority {number}", "priority", number) for number in (-(2**31), 2**31 - 1, 2**31)),
    *(Odd(f"max_attempts {number}", "max_attempts", number) for number in (-5, 0, 2**31 - 1, 2**40)),
    *(Odd(f"max_run_time {number}", "max_run_time", number) for number in (-1.0, 0.0, 1e-9, 1e9, 1e300)),
    *(
        Odd(f"max_run_time {number}", "max_run_time", number, dialect="postgresql")
        for number in ("NaN", "Infinity", "-Infinity")
    ),
    Odd("cancelled before it runs", "cancel_requested", True),
    *(
        Odd(f"{name} {at}", name, at, dialect="postgresql")
        for name in ("claimed_at", "unknown_since", "created_at", "run_at")
        for at in ("infinity", "-infinity", "4713-01-01 BC", "0001-01-01 00:00Z", "9999-12-31 23:59:59Z")
    ),
    *(
        Odd(f"{name} {at}", name, at, dialect="sqlite")
        for name in ("claimed_at", "unknown_since", "created_at", "run_at")
        for at in (2**63 - 1, -(2**63), -62135596800000000, 253402300799999999, 0)
    ),
    Odd("kept: 7", "keep_failed", 7, dialect="sqlite"),
    Odd("claimed by nobody who is there", "state, worker, token", ("running", "nobody", "token")),
    Odd("running, and claimed by nobody", "state, token", ("running", "token")),
]
"""Every one is tried where its database is; what that refuses is counted."""
SUSPECT = Odd("suspect", "suspect", True, SUCCEEDS)


def odd_of(dialect: str, rng: random.Random) -> Odd:
    return rng.choice([one for one in ODD if one.dialect in ("", dialect)])


def assignment(odd: Odd, dialect: str, id: int) -> tuple[str, list[Any]]:
    """The statement that makes a job, which waits until later, ready with what is odd in it; and its values."""
    columns = odd.column.split(", ")
    values = list(odd.value) if isinstance(odd.value, tuple) else [odd.value]
    if dialect == "sqlite":
        values = [int(value) if isinstance(value, bool) else value for value in values]
        mark, now = "?", str(round(time.time() * 1e6))
    else:
        mark, now = "%s", "clock_timestamp()"
    sets = [f"{column} = {mark}" for column in columns]
    if "state" in columns:
        sets.append(f"claimed_at = {now}")
    else:
        sets.append("state = 'ready'")
    if "run_at" not in columns:
        sets.append(f"run_at = {now}")
    return f"UPDATE belayed_jobs SET {', '.join(sets)} WHERE id = {mark}", [*values, id]
