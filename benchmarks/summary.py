"""What a terminal shows at the end: Belayed's figures, and how they compare."""

from __future__ import annotations

import statistics

from rich.console import Group
from rich.markup import escape
from rich.table import Table as Shown
from rich.text import Text

from benchmarks.figures import Table, number
from benchmarks.results import Result
from benchmarks.targets import PG, SQLITE

ROWS = (
    ("drain", "jobs/s"),
    ("drain two", "jobs/s"),
    ("enqueue one", "jobs/s"),
    ("enqueue many", "jobs/s"),
    ("latency", "p50 ms"),
    ("latency", "p99 ms"),
    ("drain", "database CPU, µs/job"),
)
BARE = {PG: "bare_postgresql", SQLITE: "bare_sqlite"}


def summary(result: Result) -> Group:
    """Belayed's medians, with their ratios to PgQueuer and to the bare limit; and what failed."""
    table = Table(result.lines)
    shown = Shown("workload", "store", "figure", "Belayed", "PgQueuer", "ratio", "bare", "ratio")
    for workload, figure in ROWS:
        for name, bare in BARE.items():
            median = table.median(name, workload, figure)
            if median is None:
                continue
            ours = table.values(name, workload, figure)
            cells = [workload, name.partition("/")[2], figure, number(median)]
            # It is at its best for throughput; its latency is that of its defaults.
            theirs = table.values("pgqueuer", workload, figure, "best")
            theirs = theirs or table.values("pgqueuer", workload, figure)
            for other in (theirs if name == PG else {}, table.values(bare, workload, figure)):
                cells += compared(table, ours, other)
            shown.add_row(*cells)
    failed = [
        f"{line.title} {line.store} {line.variant}, {line.workload}: {line.error}"
        for line in result.lines
        if line.error
    ]
    failed += [f"{name} was not measured: {reason}" for name, reason in result.missing.items()]
    return Group(shown, *(Text.from_markup(f"[bold red]{escape(one)}[/]") for one in failed))


def compared(table: Table, ours: dict[int, float], theirs: dict[int, float]) -> list[str]:
    """The other's median, and the median of the ratios."""
    ratio = table.ratio(ours, theirs)
    if ratio is None:
        return ["", ""]
    return [number(statistics.median(theirs.values())), number(ratio)]
