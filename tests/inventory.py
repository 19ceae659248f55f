"""Which behaviours of Delayed Job are covered: `python -m tests.inventory` after a run of the tests.

The behaviours are numbered 1 to 365. A test is marked with those that it shows, `@pytest.mark.dj(43, 44)`; a number
counts as covered if a test marked with it has run and passed, and none has failed. docs/coming-from/delayed-job.md
says which are left out, and which come with an integration of their own.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coming-from" / "delayed-job.md"
LAST_RUN = ROOT / ".pytest_cache" / "v" / "belayed" / "delayed_job"
CACHE_KEY = "belayed/delayed_job"
PROPERTY = "delayed_job"
NUMBERS = frozenset(range(1, 366))
MOST_LEFT_OUT = 25


def marked(item: Any) -> list[int]:
    """The numbers that a test is marked with. Raises ValueError for one that there is not."""
    numbers = [number for mark in item.iter_markers("dj") for number in mark.args]
    if unknown := set(numbers) - NUMBERS:
        raise ValueError(f"{item.nodeid} is marked with {sorted(unknown)}: behaviours have the numbers 1 to 365")
    return numbers


def written(folder: Path) -> list[int]:
    """The numbers that are written in the tests of a folder, which run in a process of their own."""
    marks = re.compile(r"^@pytest\.mark\.dj\(([\d, ]+)\)$", re.MULTILINE)
    found = (number for file in folder.glob("test_*.py") for mark in marks.findall(file.read_text("utf-8"))
             for number in mark.split(","))  # fmt: skip
    return sorted({int(number) for number in found})


def covered(passed: Iterable[Any], failed: Iterable[Any]) -> list[int]:
    """The numbers of the reports of tests that passed, without those of any that failed."""
    return sorted(numbers_of(passed) - numbers_of(failed))


def numbers_of(reports: Iterable[Any]) -> set[int]:
    # A module that could not be imported has none.
    found = [value for one in reports for name, value in getattr(one, "user_properties", ()) if name == PROPERTY]
    return {number for numbers in found for number in numbers}


def listed(page: str, heading: str) -> list[int]:
    """The numbers that begin the list items under a heading: `- 8: …`, `- 250–254: …`."""
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    items = re.findall(r"^- ([\d–, ]+):", section[1], re.MULTILINE) if section else []
    return [number for item in items for part in item.split(",") for number in spread(part)]


def spread(part: str) -> Sequence[int]:
    """The numbers of `8` or of `250–254`."""
    first, _, last = part.strip().partition("–")
    return range(int(first), int(last or first) + 1)


def shortened(numbers: Iterable[int]) -> str:
    """`1–3, 7` of 1, 2, 3 and 7."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs) or "none"


def main() -> int:
    """Print the covered, the left out and the missing numbers; 1 if any is missing or too many are left out."""
    if not LAST_RUN.exists():
        print("no run of the tests has been recorded: make test", file=sys.stderr)
        return 2
    page = PAGE.read_text("utf-8") if PAGE.exists() else ""
    ran, left_out, later = set(json.loads(LAST_RUN.read_text())), listed(page, "Left out"), listed(page, "Not here yet")
    missing = NUMBERS - ran - set(left_out) - set(later)
    for what, numbers in (("covered", ran), ("left out", left_out), ("not here yet", later), ("missing", missing)):
        print(f"{what}: {len(set(numbers))} ({shortened(set(numbers))})")
    return int(bool(missing) or len(left_out) > MOST_LEFT_OUT)


if __name__ == "__main__":
    sys.exit(main())
