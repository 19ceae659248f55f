"""The workloads that all contestants run: each takes a `Run` on an empty store, and returns its figures by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks import servers, stores
from benchmarks.figures import quantile
from benchmarks.programs import Failed, Run, Workers
from benchmarks.stores import PostgresStore

Figures = dict[str, float]
Workload = Callable[[Run, int], Figures]

INTERVAL = 0.05
"""Seconds between two jobs of the latency workload."""
IDLE = 5.0
"""Seconds that idle workers are watched."""
STATEMENT = r"(LOG|STATEMENT):  (statement|execute )"
"""How a line of PostgreSQL's log begins that tells of a statement."""


def enqueue_one(run: Run, count: int) -> Figures:
    """One job after the other, each committed; on PostgreSQL while a worker of another queue listens."""
    with ExitStack() as around:
        if run.store.kind == "postgresql" and not run.contestant.bare:
            around.enter_context(listening(run))
        return enqueued(run, "one", count)


@contextmanager
def listening(run: Run) -> Iterator[None]:
    """While a worker of another queue listens, which has had the time to start."""
    with run.workers(queue="other"):
        time.sleep(1.5)
        yield


def enqueue_many(run: Run, count: int) -> Figures:
    """All jobs in the fewest calls that there are for it."""
    return enqueued(run, "many", count)


def enqueued(run: Run, command: str, count: int) -> Figures:
    with run.start(command, count=count) as asked:
        asked.answer()
        database = run.store.cpu()
        asked.go()
        answer = asked.answer()
        database = run.store.cpu() - database
    check_saved(run, count)
    return {
        "jobs/s": answer["count"] / (answer["ended"] - answer["begun"]),
        "client CPU, µs/job": answer["cpu"] / answer["count"] * 1e6,
        "database CPU, µs/job": database / answer["count"] * 1e6,
    }


def enqueue_eight(run: Run, count: int) -> Figures:
    """Eight processes, each saving one job after the other, committed, while a worker of another queue listens."""
    each = count // 8
    with ExitStack() as around:
        if not run.contestant.bare:
            around.enter_context(listening(run))
        asked = [around.enter_context(run.start("one", count=each, first=number * each)) for number in range(8)]
        for one in asked:
            one.answer()
        for one in asked:
            one.go()
        answers = [one.answer() for one in asked]
    check_saved(run, each * 8)
    took = max(answer["ended"] for answer in answers) - min(answer["begun"] for answer in answers)
    return {"jobs/s": sum(answer["count"] for answer in answers) / took}


def check_saved(run: Run, count: int) -> None:
    """Whether live and ended jobs are as many as were enqueued. Only Belayed's tables are known here."""
    if run.contestant.program != "belayed":
        return
    live, ended = stores.rows(run.store)
    if live + ended != count:
        raise Failed(f"{count} jobs were enqueued, and there are {live} live and {ended} in the history")


def check_marks(run: Run, count: int) -> list[tuple[float, int]]:
    """The marks, which must be one for each job."""
    marks = run.marks.read()
    numbers = {number for _, number in marks}
    if len(marks) != count or numbers != set(range(count)):
        raise Failed(f"{count} jobs were enqueued; {len(marks)} starts are marked, of {len(numbers)} different jobs")
    return marks


def drain(run: Run, count: int, *, workers: int = 1, job: str = "noop") -> Figures:
    """A backlog worked off. The rate is from the first start of a job to the last: a start-up does not count."""
    run.ask("fill", count=count, job=job)
    run.store.settle()
    before = run.store.counted()
    with run.workers(workers) as started:
        figures = watched(run, started, count)
    for name, value in run.store.counted().items():
        figures[f"{name}/job"] = (value - before[name]) / count
    marks = check_marks(run, count)
    check_saved(run, count)
    figures["jobs/s"] = (count - 1) / (marks[-1][0] - marks[0][0])
    return figures


def watched(run: Run, workers: Workers, count: int) -> Figures:
    """What processes use from the first jobs to the last."""
    run.marks.wait_for(1, workers=workers, patience=60)
    first, used, database = run.marks.count(), workers.cpu(), run.store.cpu()
    run.marks.wait_for(count, workers=workers)
    used, database = workers.cpu() - used, run.store.cpu() - database
    command, children = workers.memory()
    seen = max(1, count - first)
    return {
        "worker CPU, µs/job": used / seen * 1e6,
        "database CPU, µs/job": database / seen * 1e6,
        "command RSS, MB": command / 1e6,
        "children RSS, MB": children / 1e6,
    }


def drain_two(run: Run, count: int) -> Figures:
    """The same by two worker commands."""
    return drain(run, count, workers=2)


def io(run: Run, count: int) -> Figures:
    """Jobs that wait for 10 ms, 50 at once."""
    return drain(run, count, job="wait")


def io_async(run: Run, count: int) -> Figures:
    """The same as coroutines, where threads are the usual."""
    return drain(run, count, job="wait_async")


def statements(run: Run, count: int) -> Figures:
    """What PostgreSQL is asked for a job, counted in its log: too slow to be measured for time."""
    assert isinstance(run.store, PostgresStore)
    server = run.store.server
    run.ask("fill", count=count)
    with server.set(log_statement="all"):
        since = server.log.stat().st_size
        with run.workers() as workers:
            run.marks.wait_for(count, workers=workers, patience=60)
        return {"statements/job": server.logged(STATEMENT, since) / count}


def waits(run: Run, count: int) -> Figures:
    """From the call of enqueue to the start of the job, on one idle worker; it includes the commit."""
    warmup = 20
    with (
        run.workers() as workers,
        run.start("paced", count=count, warmup=warmup, interval=INTERVAL) as asked,
    ):
        # The worker has started, and been idle for a while.
        asked.answer()
        run.marks.wait_for(warmup, workers=workers, patience=60)
        time.sleep(1)
        asked.go()
        called = asked.answer()["called"]
        run.marks.wait_for(warmup + count, workers=workers)
    marks = [(at, number) for at, number in run.marks.read() if number >= 0]
    if len(marks) != count:
        raise Failed(f"{count} jobs were enqueued, and {len(marks)} starts are marked")
    check_saved(run, warmup + count)
    took = sorted((at - called[number]) * 1000 for at, number in marks)
    return {f"p{share} ms": quantile(took, share / 100) for share in (50, 95, 99)} | {"max ms": took[-1]}


def latency_pooled(run: Run, count: int) -> Figures:
    """The same behind PgBouncer in transaction mode, where no notification arrives."""
    assert isinstance(run.store, PostgresStore)
    with servers.pgbouncer(run.store.server, run.store.database) as run.url:
        return waits(run, count)


def idle(run: Run, _: int) -> Figures:
    """Four workers with nothing to do: what they and their database use in a second, and what they ask."""
    with ExitStack() as around:
        if isinstance(run.store, PostgresStore):
            around.enter_context(run.store.server.set(log_statement="all"))
        workers = around.enter_context(run.workers(4))
        run.ask("fill", count=1)
        run.marks.wait_for(1, workers=workers, patience=60)
        time.sleep(4)
        asked = run.store.counted().get("statements", 0.0)
        since = run.store.server.log.stat().st_size if isinstance(run.store, PostgresStore) else 0
        used, database, begun = workers.cpu(), run.store.cpu(), time.monotonic()
        time.sleep(IDLE)
        used, database, took = workers.cpu() - used, run.store.cpu() - database, time.monotonic() - begun
        figures = {"worker CPU, ms/s": used / took * 1000, "database CPU, ms/s": database / took * 1000}
        if isinstance(run.store, PostgresStore):
            figures["statements/s"] = run.store.server.logged(STATEMENT, since) / took
        elif run.store.kind == "redis":
            # Less the question itself.
            figures["statements/s"] = (run.store.counted()["statements"] - asked - 1) / took
        figures["command RSS, MB"], figures["children RSS, MB"] = (size / 1e6 for size in workers.memory())
    return figures


ALL: dict[str, Workload] = {
    "enqueue one": enqueue_one,
    "enqueue eight": enqueue_eight,
    "enqueue many": enqueue_many,
    "drain": drain,
    "drain two": drain_two,
    "io": io,
    "io async": io_async,
    "statements": statements,
    "latency": waits,
    "latency pooled": latency_pooled,
    "idle": idle,
}
UNSIZED = {"latency": 100, "latency pooled": 100, "idle": 1}
"""Jobs of those workloads that are the same size for all."""
