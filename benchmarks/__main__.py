"""`python -m benchmarks`: measure, or make the page of a result that is there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import contestants, plan
from benchmarks.environments import ROOT
from benchmarks.figures import number
from benchmarks.report import page_of
from benchmarks.results import Line, Result
from benchmarks.scale import plan as scale
from benchmarks.session import session, work_of
from benchmarks.summary import summary

RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "performance.md"


@click.group()
def main() -> None:
    """Measure Belayed beside its peers and the limits of the machine."""


@main.command()
@click.option("--group", type=click.Choice(["all", "peers", "scale", "quick"]), default="all", show_default=True)
@click.option("--runs", type=click.IntRange(1), help="Rounds; medians are of all.  [default: 3, for quick 2]")
@click.option("--size", default=1.0, help="Jobs of each workload, of the usual number.", show_default=True)
@click.option("--full", is_flag=True, help="The scale group at the sizes of the targets: takes an hour.")
@click.option("--report", "write", is_flag=True, help="Write docs/performance.md at the end.")
@click.option("--only", multiple=True, help="Only these contestants, by the names of their folders.")
@click.option("--workload", "chosen", multiple=True, help="Only these workloads.")
@click.option("--output", type=click.Path(path_type=Path), help="Where to keep the result.  [default: by date]")
def run(
    group: str,
    runs: int | None,
    size: float,
    full: bool,
    write: bool,
    only: tuple[str, ...],
    chosen: tuple[str, ...],
    output: Path | None,
) -> None:
    """Measure, keep the raw result as JSON, and print the ratios."""
    console = Console()
    runs = runs or (2 if group == "quick" else 3)
    everyone = [one for one in contestants.everyone() if not only or one.program in only]
    if group == "quick":
        everyone = [one for one in everyone if one.name in plan.QUICK]
    if group == "scale":
        everyone = [one for one in everyone if one.program == "belayed"]
    path = output or RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M}.json"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with session(everyone, console.print) as (open_session, able), Progress(*columns, console=console) as progress:
        todo = []
        if group != "scale":
            todo += [(step, work_of(step)) for step in plan.steps(able, runs=runs, quick=group == "quick", size=size)]
        if group in ("all", "scale"):
            todo += scale.steps(able, runs=runs, full=full)
        todo = [(step, work) for step, work in todo if not chosen or step.workload in chosen]
        bar = progress.add_task("", total=len(todo))
        for step, work in todo:
            told = f"{step.run}: {step.workload}, {step.contestant.title} {step.contestant.store} {step.variant.name}"
            progress.update(bar, description=told)
            line = open_session.measure(step, work)
            console.print(shown(line), highlight=False)
            open_session.result.save(path)
            progress.advance(bar)
    console.print(summary(open_session.result))
    console.print(f"kept in {path}; the page of it: python -m benchmarks report {path}")
    if write:
        PAGE.write_text(page_of(open_session.result, path.name))
        console.print(f"wrote {PAGE}")
    ours = [line.error for line in open_session.result.lines if line.error and line.name.startswith("belayed")]
    if any(not error.startswith("Unavailable:") for error in ours):
        raise SystemExit("Belayed has not done what it was asked: see above")


def shown(line: Line) -> str:
    head = f"{line.run} {line.workload:15} {line.title:15} {line.store:10} {line.variant:8} "
    if line.error:
        return f"{head}[bold red]{escape(line.error)}[/]"
    return head + ", ".join(f"{name} {number(value)}" for name, value in line.figures.items())


@main.command()
@click.argument("result", type=click.Path(exists=True, path_type=Path))
@click.argument("again", type=click.Path(exists=True, path_type=Path), nargs=-1)
@click.option("--page", type=click.Path(path_type=Path), default=PAGE, help="Instead of docs/performance.md.")
def report(result: Path, again: tuple[Path, ...], page: Path) -> None:
    """Write docs/performance.md from a result, and from what was measured AGAIN of it, such as at full size."""
    found = Result.load(result)
    for one in again:
        found = found.renewed(Result.load(one))
    page.write_text(page_of(found, " benchmarks/results/".join(one.name for one in (result, *again))))
    Console().print(f"wrote {page}")


if __name__ == "__main__":
    main()
