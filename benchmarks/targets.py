"""What Belayed is to reach, and what of it a result has shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Table

PG = "belayed/postgresql"
SQLITE = "belayed/sqlite"
PEERS = ("pgqueuer", "procrastinate", "oban", "django_tasks_db")
"""Those that keep their jobs in PostgreSQL."""
RATE = "jobs/s"
Measured = Callable[[Table], float | None]


@dataclass(frozen=True)
class Target:
    """One bound on one figure."""

    work: str
    """The same for targets that belong together."""
    says: str
    bound: float
    unit: str
    measured: Measured
    at_least: bool = True
    decides: bool = False
    """May not be missed."""

    def met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def beside(workload: str, peer: str, variant: str = "default", *, ours: str = PG, figure: str = RATE) -> Measured:
    """A figure of ours as a multiple of a peer's."""
    return lambda table: table.ratio(
        table.values(ours, workload, figure), table.values(peer, workload, figure, variant)
    )


def beside_best(workload: str, figure: str = RATE) -> Measured:
    """A figure of ours as a multiple of the best peer's."""
    return lambda table: table.ratio(table.values(PG, workload, figure), table.best(PEERS, workload, figure))


def within(workload: str, other: str) -> Measured:
    """Our rate in one workload as a share of that in another."""
    return lambda table: table.ratio(table.values(PG, workload, RATE), table.values(PG, other, RATE))


def own(workload: str, *figures: str, name: str = PG, variant: str = "default") -> Measured:
    """The sum of figures of ours."""

    def total(table: Table) -> float | None:
        found = [table.median(name, workload, figure, variant) for figure in figures]
        return None if None in found else sum(value for value in found if value is not None)

    return total


def largest(workload: str, *figures: str, names: Sequence[str] = (PG,)) -> Measured:
    """The largest of figures of ours."""

    def most(table: Table) -> float | None:
        found = [table.median(name, workload, figure) for name in names for figure in figures]
        return max((value for value in found if value is not None), default=None)

    return most


DRAIN = "drain no-op jobs, PostgreSQL, one `belayed work`"
IO = "jobs of 10 ms of waiting, 50 at once"
ENQUEUE = "enqueue one, committed, PostgreSQL, a worker listening"
LATENCY = "pick-up latency, idle worker, PostgreSQL, a job each 50 ms"
SQLITE_LATENCY = "the same on SQLite, worker in another process"
IDLE = "4 idle workers, PostgreSQL with LISTEN"
BIG = "drain rate beside big tables, of the rate with 100,000 ready"
HELD = "an old REPEATABLE READ transaction is open, 2,000 jobs/s"
CLAIMERS = "64 claimers on one queue"
ON_SQLITE = "SQLite, default durability"
MEMORY = "memory after many jobs"
BESIDE = "enqueuing beside a drain"

ALL = (
    Target(DRAIN, "≥ 2.0 × PgQueuer at its best", 2.0, "×", beside("drain", "pgqueuer", "best"), decides=True),
    Target(DRAIN, "≥ 0.55 × a bare psycopg loop", 0.55, "×", beside("drain", "bare_postgresql"), decides=True),
    Target(
        "the same, two `belayed work`",
        "≥ 1.5 × PgQueuer's two processes at their best",
        1.5,
        "×",
        beside("drain two", "pgqueuer", "best"),
        decides=True,
    ),
    Target(IO, "coroutines ≥ 4,500/s", 4_500, "/s", own("io async", RATE, variant="async")),
    Target(IO, "threads ≥ 4,000/s", 4_000, "/s", own("io", RATE, variant="io")),
    Target(ENQUEUE, "≥ 1.25 × the best PostgreSQL peer", 1.25, "×", beside_best("enqueue one"), decides=True),
    Target(ENQUEUE, "≥ 0.8 × a bare INSERT", 0.8, "×", beside("enqueue one", "bare_postgresql"), decides=True),
    Target(
        ENQUEUE,
        "8 processes: ≥ 0.8 × 8 bare inserters",
        0.8,
        "×",
        beside("enqueue eight", "bare_postgresql"),
        decides=True,
    ),
    Target("enqueue many", "≥ 2 × PgQueuer's bulk", 2.0, "×", beside("enqueue many", "pgqueuer", "best")),
    Target(LATENCY, "p50 ≤ 3 ms", 3, "ms", own("latency", "p50 ms"), at_least=False, decides=True),
    Target(LATENCY, "p99 ≤ 8 ms", 8, "ms", own("latency", "p99 ms"), at_least=False, decides=True),
    Target(
        LATENCY,
        "behind PgBouncer: p50 ≤ 60 ms",
        60,
        "ms",
        own("latency pooled", "p50 ms"),
        at_least=False,
        decides=True,
    ),
    Target(SQLITE_LATENCY, "p50 ≤ 8 ms", 8, "ms", own("latency", "p50 ms", name=SQLITE), at_least=False, decides=True),
    Target(
        SQLITE_LATENCY, "p99 ≤ 20 ms", 20, "ms", own("latency", "p99 ms", name=SQLITE), at_least=False, decides=True
    ),
    Target(IDLE, "≤ 3 statements/s in all", 3, "/s", own("idle", "statements/s"), at_least=False),
    Target(
        IDLE,
        "≤ 5 ms of CPU per second in all",
        5,
        "ms/s",
        own("idle", "worker CPU, ms/s", "database CPU, ms/s"),
        at_least=False,
    ),
    Target(BIG, "1,000,000 ready: ≥ 0.95", 0.95, "×", within("1,000,000 ready", "100,000 ready")),
    Target(BIG, "1,000,000 for tomorrow: ≥ 0.95", 0.95, "×", within("1,000,000 scheduled", "100,000 ready")),
    Target(BIG, "5,000,000 in the history: ≥ 0.95", 0.95, "×", within("5,000,000 in the history", "100,000 ready")),
    Target(BIG, "one of 10 queues of 100,000: ≥ 0.9", 0.9, "×", within("one of 10 queues", "100,000 ready")),
    Target(BIG, "`*` of 200 queues: ≥ 0.9", 0.9, "×", within("all of 200 queues", "100,000 ready")),
    Target(HELD, "drain at its end ≥ 0.9 × that at its start", 0.9, "×", own("held snapshot", "end / start")),
    Target(
        HELD,
        "retried, promoted and late-committed jobs start within 2 s",
        2,
        "s",
        largest("held snapshot", "retried, max s", "promoted, max s", "late-committed, max s"),
        at_least=False,
    ),
    Target(CLAIMERS, "≥ 0.8 × the rate with 4", 0.8, "×", within("64 claimers", "4 claimers")),
    Target(CLAIMERS, "no deadlock", 0, "", own("64 claimers", "deadlocks"), at_least=False),
    Target(CLAIMERS, "no lock wait over 100 ms", 0, "", own("64 claimers", "lock waits over 100 ms"), at_least=False),
    Target(ON_SQLITE, "drain ≥ 40,000/s", 40_000, "/s", own("drain", RATE, name=SQLITE)),
    Target(
        ON_SQLITE,
        "4 enqueuing beside it: p99 ≤ 100 ms",
        100,
        "ms",
        own(BESIDE, "enqueue p99 ms", name=SQLITE),
        at_least=False,
    ),
    Target(ON_SQLITE, "… max ≤ 1 s", 1_000, "ms", own(BESIDE, "enqueue max ms", name=SQLITE), at_least=False),
    Target(ON_SQLITE, "… no “database is locked”", 0, "", own(BESIDE, "errors", name=SQLITE), at_least=False),
    Target(
        ON_SQLITE,
        "enqueue one ≥ 0.8 × a bare INSERT and COMMIT",
        0.8,
        "×",
        beside("enqueue one", "bare_sqlite", ours=SQLITE),
    ),
    Target(
        "database CPU per job, drained by one worker",
        "≤ PgQueuer's at its best",
        1.0,
        "×",
        beside("drain", "pgqueuer", "best", figure="database CPU, µs/job"),
        at_least=False,
    ),
    Target(
        MEMORY,
        "the command ≤ 35 MB",
        35,
        "MB",
        largest("memory", "command RSS, MB", names=(PG, SQLITE)),
        at_least=False,
    ),
    Target(
        MEMORY,
        "each child ≤ 45 MB",
        45,
        "MB",
        largest("memory", "children RSS, MB", names=(PG, SQLITE)),
        at_least=False,
    ),
    Target(
        MEMORY,
        "flat: from a tenth of them to all ≤ 2 MB more",
        2,
        "MB",
        largest("memory", "command growth, MB", "children growth, MB", names=(PG, SQLITE)),
        at_least=False,
    ),
)
UNMEASURED = ("how soon a rescued job starts beside an old transaction; no worker dies in this workload",)
"""What of the targets no workload measures, and why."""
