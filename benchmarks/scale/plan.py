"""Which of the big workloads are run, on which store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.contestants import Contestant
from benchmarks.plan import Step
from benchmarks.programs import Run
from benchmarks.scale import load, tables
from benchmarks.scale.sizes import FULL, REDUCED, Sizes
from benchmarks.workloads import Figures

Work = Callable[[Run, int], Figures]
FEW = 4
"""Claimers that many are compared with."""


def steps(contestants: Sequence[Contestant], *, runs: int, full: bool) -> Iterator[tuple[Step, Work]]:
    """The steps of Belayed on each of its stores. Long loads are run once: they are their own comparison."""
    sizes = FULL if full else REDUCED
    for run in range(1, runs + 1):
        for name, work in works(sizes).items():
            for one in contestants:
                if one.program != "belayed" or (run > 1 and name not in tables.TABLES):
                    continue
                if one.store in STORES.get(name, ("postgresql",)):
                    yield Step(one, one.variants[0], name, jobs_of(name, sizes), run), work


STORES = {
    "100,000 ready": ("postgresql", "sqlite"),
    "1,000,000 ready": ("postgresql", "sqlite"),
    "enqueuing beside a drain": ("sqlite",),
    "memory": ("postgresql", "sqlite"),
}
"""Where a workload is run, if not on PostgreSQL alone."""


def jobs_of(name: str, sizes: Sizes) -> int:
    """About how many rows a workload has, for the result."""
    rows = {
        "1,000,000 ready": sizes.large,
        "1,000,000 scheduled": sizes.small + sizes.large,
        "5,000,000 in the history": sizes.small + sizes.history,
        "one of 10 queues": 10 * sizes.small,
        "held snapshot": int(sizes.held * load.RATE),
        "4 claimers": sizes.contended,
        "64 claimers": sizes.contended,
        "memory": sizes.memory,
    }
    return rows.get(name, sizes.small)


def works(sizes: Sizes) -> dict[str, Work]:
    """The workloads by name, at these sizes; a name tells the full size."""
    found: dict[str, Work] = {name: table_work(name, sizes) for name in tables.TABLES}
    found["4 claimers"] = lambda run, jobs: load.claimers(run, FEW, jobs)
    found["64 claimers"] = lambda run, jobs: load.claimers(run, sizes.claimers, jobs)
    found["held snapshot"] = lambda run, _: load.held(run, sizes)
    found["enqueuing beside a drain"] = lambda run, _: load.beside(run, sizes)
    found["memory"] = lambda run, _: load.memory(run, sizes)
    return found


def table_work(name: str, sizes: Sizes) -> Work:
    prepare, queue = tables.TABLES[name]
    return lambda run, _: tables.rate(run, sizes, prepare, queue)
