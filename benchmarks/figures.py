"""Medians, quantiles and ratios of what was measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from benchmarks.results import Line


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest of the *ordered* values that at least this share of them does not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def number(value: float) -> str:
    """A figure as people read it: three digits that count, or whole."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}".rstrip("0").rstrip(".")


class Table:
    """The lines of a result, found by who, how and what."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = [line for line in lines if not line.error]

    def values(self, name: str, workload: str, figure: str, variant: str = "default") -> dict[int, float]:
        """A figure of each run, by the run's number."""
        return {
            line.run: line.figures[figure]
            for line in self.lines
            if (line.name, line.variant, line.workload) == (name, variant, workload) and figure in line.figures
        }

    def median(self, name: str, workload: str, figure: str, variant: str = "default") -> float | None:
        """The median over the runs; None if there is none."""
        values = self.values(name, workload, figure, variant)
        return statistics.median(values.values()) if values else None

    def ratio(self, ours: dict[int, float], theirs: dict[int, float]) -> float | None:
        """The median of the ratios within each run: what slows a machine down slows both."""
        found = [ours[run] / theirs[run] for run in ours if theirs.get(run)]
        return statistics.median(found) if found else None

    def best(self, names: Iterable[str], workload: str, figure: str) -> dict[int, float]:
        """A figure of each run, of the contestant and variant with the largest median.

        Not the largest of each run: of several that vary by chance that is more than any of them reaches.
        """
        known = dict.fromkeys((line.name, line.variant) for line in self.lines)
        found = [self.values(name, workload, figure, variant) for name, variant in known if name in set(names)]
        return max(filter(None, found), key=lambda values: statistics.median(values.values()), default={})
