"""Which contestant runs which workload, at which size, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import workloads
from benchmarks.contestants import Contestant, Variant

ON_POSTGRESQL = {"enqueue eight", "latency pooled", "statements"}
"""Workloads that ask something of PostgreSQL."""
ONCE = {"statements", "idle"}
"""Workloads of peers that one run is enough for: they count, or last long. Belayed runs all as often."""
SHORT = ("enqueue one", "enqueue eight", "drain", "drain two")
"""Workloads of a few seconds, in which a machine's changes of speed tell."""
ROUNDS = 3
"""So many times as many rounds of those have the bare databases, and the programs that the targets name."""
NAMED = ("belayed", "pgqueuer")
QUICK = {
    "belayed/postgresql": {"default": ["enqueue one", "enqueue many", "drain", "drain two", "latency"]},
    "belayed/sqlite": {"default": ["enqueue one", "drain", "latency"]},
    "bare_postgresql": {"default": ["enqueue one", "enqueue many", "drain"]},
    "bare_sqlite": {"default": ["enqueue one"]},
    "pgqueuer": {"best": ["enqueue one", "enqueue many", "drain", "drain two"], "default": ["latency"]},
}
"""What `make bench-quick` runs: variants and workloads of contestants."""
QUICK_SIZE = 0.6


@dataclass(frozen=True)
class Step:
    """One run of one workload."""

    contestant: Contestant
    variant: Variant
    workload: str
    jobs: int
    run: int


def steps(contestants: Sequence[Contestant], *, runs: int, quick: bool, size: float) -> Iterator[Step]:
    """All steps; in each run each workload goes round the contestants, so that neighbours in time are compared."""
    once = ONCE | ({"latency"} if quick else set())
    size *= QUICK_SIZE if quick else 1
    for run in range(1, (1 if quick else ROUNDS) * runs + 1):
        for workload in workloads.ALL if run <= runs else SHORT:
            for contestant in contestants:
                if run > runs and not (contestant.bare or contestant.program in NAMED):
                    continue
                if workload in ON_POSTGRESQL and contestant.store != "postgresql":
                    continue
                for variant in contestant.variants:
                    jobs = jobs_of(contestant, variant, workload, quick=quick)
                    if jobs is None or (run > 1 and workload in once and (quick or contestant.program != "belayed")):
                        continue
                    yield Step(contestant, variant, workload, max(1, int(jobs * size)), run)


def jobs_of(contestant: Contestant, variant: Variant, workload: str, *, quick: bool) -> int | None:
    """How many jobs, or None if this is not run."""
    if quick and workload not in QUICK.get(contestant.name, {}).get(variant.name, ()):
        return None
    if workload == "statements":
        # Few are enough to count them, and each is logged.
        return max(100, variant.jobs["drain"] // 10) if "drain" in variant.jobs else None
    if workload not in variant.jobs:
        return None
    return workloads.UNSIZED.get(workload, variant.jobs[workload])
