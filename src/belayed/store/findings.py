"""What `doctor` says of a store: each finding with its remedy, to be copied."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Result(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """What a check found."""

    check: str
    result: Result
    text: str
    fix: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(check, Result.OK, text)


def quoted(name: str) -> str:
    """*name* as SQL takes it, within a remedy."""
    return '"' + name.replace('"', '""') + '"'
