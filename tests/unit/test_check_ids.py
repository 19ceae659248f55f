"""The ids of the checks in a Django project: one for each kind of finding, as projects silence them by it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
ID = re.compile(r"\bbelayed\.[EWI]\d{3}\b")


def test_no_two_checks_have_the_same_id():
    used = Counter(
        found for module in (ROOT / "src").rglob("*.py") for found in re.findall(r'id="([^"]+)"', module.read_text())
    )
    ids = {id: times for id, times in used.items() if ID.fullmatch(id)}

    assert len(ids) > 15
    assert [id for id, times in ids.items() if times > 1] == []


def test_the_page_lists_all_ids_that_there_are_and_no_others():
    used = {id for module in (ROOT / "src").rglob("*.py") for id in ID.findall(module.read_text())}
    rows = [line for line in (ROOT / "docs/learn/django.md").read_text().splitlines() if line.startswith("| `belayed.")]

    assert sorted(ID.findall("\n".join(rows))) == sorted(used)
