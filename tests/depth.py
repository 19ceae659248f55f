"""How deep a run of the tests goes: what is left out of a quick one, and how often the deep ones try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

OPTION = "--depth"
QUICK, DEEP, ALL = "quick", "deep", "all"
LEFT_OUT = pytest.StashKey[Counter[str]]()
"""Of a run: how many tests of each folder it leaves out."""
KEY = "belayed_left_out"


def add_option(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION,
        choices=(QUICK, DEEP, ALL),
        default=ALL,
        help="quick: without the tests that are marked deep; deep: those alone; all (default)",
    )


def of(config: pytest.Config) -> str:
    return str(config.getoption(OPTION))


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take the tests of another depth out of *items*."""
    depth = of(config)
    if depth == ALL:
        return
    chosen, rest = [], []
    for item in items:
        is_deep = item.get_closest_marker("deep") is not None
        (chosen if is_deep == (depth == DEEP) else rest).append(item)
    config.stash[LEFT_OUT] = Counter(item.nodeid.split("/")[1] for item in rest)
    config.hook.pytest_deselected(items=rest)
    items[:] = chosen


def send(config: pytest.Config) -> None:
    """Have the process that reports know what this one, a worker of xdist's, leaves out."""
    if (output := getattr(config, "workeroutput", None)) is not None:
        output[KEY] = dict(config.stash.get(LEFT_OUT, Counter()))


def receive(config: pytest.Config, output: dict[str, Any]) -> None:
    """Take what a worker of xdist's leaves out: all of them leave out the same."""
    if found := output.get(KEY):
        config.stash[LEFT_OUT] = Counter(found)


def told(config: pytest.Config) -> Iterator[str]:
    """What a quick run says at its end of what it has left out."""
    left_out = config.stash.get(LEFT_OUT, Counter())
    if of(config) == QUICK and left_out:
        folders = ", ".join(f"{count} of {name}" for name, count in sorted(left_out.items()))
        yield f"left out, for make test-all: {left_out.total()} tests ({folders})"


def covered(config: pytest.Config, found: Iterable[int], before: Iterable[int]) -> list[int]:
    """What is covered after a run that has *found* so much: a deep run adds to the quick one *before* it."""
    return sorted({*found, *before}) if of(config) == DEEP else sorted(found)


def examples(config: pytest.Config, most: int) -> int:
    """How many examples a property is tried with, of *most*."""
    return most // 4 if of(config) == QUICK else most
