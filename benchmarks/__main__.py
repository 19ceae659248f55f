"""Runs the workloads in turn on SQLite and PostgreSQL, and prints medians."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from belayed import Jobs
from benchmarks import machine, workloads

Workload = Callable[[Jobs, int], dict[str, float]]


@click.command()
@click.option("--jobs", default=50_000, help="Jobs of a drain.")
@click.option("--runs", default=3, help="Runs of each workload; medians are shown.")
@click.option("--only", multiple=True, help="Names of workloads, as they are shown.")
def main(jobs: int, runs: int, only: tuple[str, ...]) -> None:
    """Measure, and print a table."""
    console = Console()
    chosen = {name: work for name, work in workloads.ALL.items() if not only or name in only}
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    with machine.postgresql() as postgres, Progress(console=console, transient=True) as progress:
        console.print(machine.describe(postgres))
        bar = progress.add_task("measuring", total=runs * len(chosen) * 2)
        for _ in range(runs):
            for name, work in chosen.items():
                for store in ("sqlite", "postgresql"):
                    progress.update(bar, description=f"{name}, {store}")
                    with Fresh(store, postgres) as where:
                        found.setdefault((name, store), []).append(work(where, jobs))
                    progress.advance(bar)
    table = Table("workload", "store", "figure", "median", "least", "most")
    for (name, store), results in found.items():
        for figure in results[0]:
            values = [result[figure] for result in results]
            shown = (f"{value:,.1f}" if value < 1000 else f"{value:,.0f}" for value in
                     (statistics.median(values), min(values), max(values)))  # fmt: skip
            table.add_row(name, store, figure, *shown)
        table.add_section()
    console.print(table)


class Fresh:
    """A `Jobs` whose tables are new and empty."""

    def __init__(self, store: str, postgres: str) -> None:
        self.context = machine.sqlite() if store == "sqlite" else None
        self.url = postgres

    def __enter__(self) -> Jobs:
        url = self.context.__enter__() if self.context else self.url
        self.jobs = Jobs(url)
        if self.context is None:
            workloads.drop_tables(url)
        self.jobs.migrate()
        return self.jobs

    def __exit__(self, *error: object) -> None:
        self.jobs.close()
        if self.context:
            self.context.__exit__(None, None, None)


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
