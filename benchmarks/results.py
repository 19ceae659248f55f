"""What was measured, as it is kept: one file of JSON with a line for each run of each workload."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass
class Line:
    """One run of one workload."""

    name: str
    """The contestant's."""
    title: str
    store: str
    variant: str
    workload: str
    run: int
    """Which round: figures are compared within one."""
    jobs: int
    cal: float
    """Milliseconds of a fixed loop, just before."""
    figures: dict[str, float] = field(default_factory=dict)
    error: str = ""
    """Why there are no figures."""
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    """The page that advises these options."""
    bare: bool = False


@dataclass
class Result:
    """A session of measuring."""

    about: dict[str, Any]
    """Date, machine, versions, and settings of the servers."""
    lines: list[Line] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """Contestants that could not be measured, and why."""

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    def renewed(self, other: Result) -> Result:
        """This, but with the lines of *other* for what was measured again there."""
        again = {(line.name, line.variant, line.workload) for line in other.lines}
        kept = [line for line in self.lines if (line.name, line.variant, line.workload) not in again]
        told = {
            "date": other.about["date"],
            "workloads": sorted({line.workload for line in other.lines}),
            "titles": sorted({line.title for line in other.lines}),
            "slower": median([line.cal for line in other.lines]) / median([line.cal for line in self.lines]),
        }
        about = {**self.about, "again": [*self.about.get("again", []), told]}
        return Result(about, [*kept, *other.lines], self.missing)

    @classmethod
    def load(cls, path: Path) -> Result:
        told = json.loads(path.read_text())
        return cls(told["about"], [Line(**line) for line in told["lines"]], told["missing"])
