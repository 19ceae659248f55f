"""How fast a worker drains beside big tables: the first jobs of a backlog, at full speed."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import stores
from benchmarks.programs import Failed, Run
from benchmarks.scale.fill import Filler
from benchmarks.scale.sizes import Sizes
from benchmarks.workloads import Figures

Prepare = Callable[[Filler, Sizes], None]


def small(filler: Filler, sizes: Sizes) -> None:
    filler.jobs(range(sizes.small))


def large(filler: Filler, sizes: Sizes) -> None:
    filler.jobs(range(sizes.large))


def scheduled(filler: Filler, sizes: Sizes) -> None:
    filler.jobs(range(sizes.small))
    filler.jobs(range(sizes.small, sizes.small + sizes.large), tomorrow=True)


def history(filler: Filler, sizes: Sizes) -> None:
    filler.jobs(range(sizes.small))
    filler.history(sizes.history)


def ten_queues(filler: Filler, sizes: Sizes) -> None:
    filler.jobs(range(10 * sizes.small), queues=[f"q{number}" for number in range(10)])


def many_queues(filler: Filler, sizes: Sizes) -> None:
    filler.jobs(range(sizes.small), queues=[f"q{number}" for number in range(200)])


def rate(run: Run, sizes: Sizes, prepare: Prepare, queue: str = "default") -> Figures:
    """Fill, start a worker, and take the rate of the first starts."""
    filler = Filler(run)
    prepare(filler, sizes)
    run.store.settle()
    total = sum(stores.rows(run.store))
    with run.workers(queue=queue) as workers:
        run.marks.wait_for(sizes.watched, workers=workers, patience=60)
    marks = run.marks.read()
    if len({number for _, number in marks}) != len(marks):
        raise Failed(f"{len(marks)} starts are marked, and some are of the same job")
    if (after := sum(stores.rows(run.store))) != total:
        raise Failed(f"there were {total} rows, and are now {after}")
    return {"jobs/s": (sizes.watched - 1) / (marks[sizes.watched - 1][0] - marks[0][0])}


TABLES: dict[str, tuple[Prepare, str]] = {
    "100,000 ready": (small, "default"),
    "1,000,000 ready": (large, "default"),
    "1,000,000 scheduled": (scheduled, "default"),
    "5,000,000 in the history": (history, "default"),
    "one of 10 queues": (ten_queues, "q3"),
    "all of 200 queues": (many_queues, "default"),
}
"""What is prepared, and which queues the worker serves. The names are those of the full sizes."""
