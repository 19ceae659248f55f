"""A worker is killed before and after each of its calls of the store: no job is lost, none ends twice."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from belayed.config import current
from tests.crash.scenario import ROOT, Scenario, opened, struck

WORKER = ROOT / "src" / "belayed" / "worker"
AFTER_A_REFUSAL = ("mend", "holds", "held_by", "scheduled", "locked", "first")
"""What a worker calls only when the database has refused what it was to write, or by chance: to see whether it has."""
OF_CHILDREN = ("payload",)
"""What a child calls: of those `test_stages.py` kills at each stage."""
AT_ONCE = 2
"""How many workers run at a time."""


def operations() -> set[str]:
    """The operations of the store that a worker calls, by its own source."""
    text = "".join(module.read_text() for module in WORKER.glob("*.py"))
    return {*re.findall(r"\bstore\.(\w+)\(", text), "check"} - {"lanes", *AFTER_A_REFUSAL, *OF_CHILDREN}


@pytest.fixture(params=["sqlite", "postgresql"])
def scenario(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scenario]:
    monkeypatch.setenv("BELAYED_URL", "")
    monkeypatch.setattr(current, "jobs", None)
    if request.param == "sqlite":
        url = f"sqlite:///{request.getfixturevalue('sqlite_path')}"
    else:
        url = request.getfixturevalue("postgres_url")
    made = opened(url, tmp_path)
    current.jobs = made.jobs
    yield made
    made.jobs.close()


def points_of(scenario: Scenario, folder: Path) -> list[str]:
    """The points that workers reach that nothing happens to, but that answers get lost."""
    found: dict[str, None] = {}
    for lose in ("nothing", "turn"):
        log = folder / f"points-{lose}"
        scenario.prepare(queue := f"first-{lose}")
        assert not struck(scenario, f"first-{lose}", queue, CRASH_LOG=str(log), CRASH_LOSE=lose)
        found.update(dict.fromkeys(log.read_text().splitlines()))
    return [point for point in found if point.partition(".")[0] not in AFTER_A_REFUSAL]


@pytest.mark.dj(172)
@pytest.mark.deep
def test_a_kill_at_any_call_of_the_store_loses_nothing(
    scenario: Scenario, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    points = points_of(scenario, tmp_path)
    hit = defaultdict(list)

    def strike(point: str) -> None:
        # What is asked for only when an answer was lost is reached only then.
        lost_first = point.startswith(("settled", "strays", "matching"))
        for lose in ("turn", "nothing") if lost_first else ("nothing", "turn"):
            run = f"at {point} {lose}"
            scenario.prepare(queue := run.replace(" ", "-"))
            if struck(scenario, run, queue, CRASH_POINT=point, CRASH_LOSE=lose):
                hit[point.partition(".")[0]].append(point)
                break

    rescues = [point for point in points if point.startswith("rescue")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(strike, [point for point in points if point not in rescues]))
    for point in rescues:
        # One at a time: another worker would rescue what this one is to.
        strike(point)
    scenario.finish()

    counted = ", ".join(f"{name} {len(found)}" for name, found in sorted(hit.items()))
    record_property(f"kill points on {scenario.jobs.store.dialect}", counted)
    missed = set(points) - {point for found in hit.values() for point in found}
    assert operations() <= set(hit), operations() - set(hit)
    assert not missed
    assert scenario.check() == []
