"""Long loads: an old transaction, many claimers, enqueuers beside a drain, and a worker's memory."""

from __future__ import annotations

import re
import statistics
import threading
import time
from contextlib import ExitStack
from datetime import timedelta

import psycopg

from belayed import Jobs
from belayed.config import Config
from benchmarks import stores
from benchmarks.figures import quantile
from benchmarks.peers.belayed.peer import again, noop
from benchmarks.programs import Failed, Run, Workers
from benchmarks.scale.fill import Filler
from benchmarks.scale.sizes import Sizes
from benchmarks.stores import PostgresStore
from benchmarks.workloads import Figures, check_marks, check_saved

RATE = 2_000
"""Jobs a second while an old transaction is open."""
BURST = 30_000
BURSTS = 3
"""Bursts at the start and at the end: the rate is the median of them."""
PROBES = 1_000_000_000
"""The arguments of probes begin here."""


def held(run: Run, sizes: Sizes) -> Figures:
    """A REPEATABLE READ transaction stays open while jobs come and go: what claims cost at its start and its end."""
    assert isinstance(run.store, PostgresStore)
    server = run.store.server
    filler = Filler(run)
    figures: Figures = {}
    with ExitStack() as around:
        old = around.enter_context(psycopg.connect(run.store.url))
        workers = around.enter_context(run.workers())
        filler.jobs(range(1))
        run.marks.wait_for(1, workers=workers, patience=60)
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM belayed_jobs")
        around.enter_context(server.set(log_min_duration_statement="0"))
        figures["jobs/s at its start"], figures["claim ms at its start"] = bursts(run, filler, workers, 1)
        probes = Probes(run.store.url)
        loading = around.enter_context(run.start("stream", first=1 + BURSTS * BURST, rate=RATE, seconds=sizes.held))
        loading.answer()
        probes.start()
        loading.go()
        streamed = loading.answer()["count"]
        probes.stop()
        first = 1 + BURSTS * BURST + streamed
        count = first + probes.sent
        run.marks.wait_for(count, workers=workers)
        ((dead,),) = server.execute(
            "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'belayed_jobs'", database=run.store.database
        )
        figures["dead rows"] = float(dead)
        figures["jobs/s at its end"], figures["claim ms at its end"] = bursts(run, filler, workers, first)
    check_saved(run, count + BURSTS * BURST)
    marks = {number: at for at, number in run.marks.read()}
    figures["end / start"] = figures["jobs/s at its end"] / figures["jobs/s at its start"]
    return figures | probes.waits(marks)


def bursts(run: Run, filler: Filler, workers: Workers, first: int) -> tuple[float, float]:
    """The medians of several bursts, after a checkpoint: one by the clock would come at the end of five minutes."""
    assert isinstance(run.store, PostgresStore)
    run.store.server.execute("CHECKPOINT")
    found = [burst(run, filler, workers, first + number * BURST) for number in range(BURSTS)]
    return statistics.median(rate for rate, _ in found), statistics.median(took for _, took in found)


def burst(run: Run, filler: Filler, workers: Workers, first: int) -> tuple[float, float]:
    """The rate of jobs that all come at once, and the mean time of a claim meanwhile, in ms."""
    assert isinstance(run.store, PostgresStore)
    since, before = run.store.server.log.stat().st_size, run.marks.count()
    numbers = range(first, first + BURST)
    filler.jobs(numbers)
    run.marks.wait_for(before + BURST, workers=workers)
    at = [when for when, number in run.marks.read() if number in numbers]
    return (BURST - 1) / (at[-1] - at[0]), claim_time(run.store.server.log.read_bytes()[since:].decode())


def claim_time(log: str) -> float:
    """The mean duration in ms of the statements that claim, from PostgreSQL's log; 0 if there is none."""
    took = []
    for entry in re.split(r"^(?=\d{4}-\d\d-\d\d )", log, flags=re.MULTILINE):
        found = re.search(r"duration: ([\d.]+) ms  (?:execute|statement)", entry)
        if found and "SKIP LOCKED" in entry and "SET state = 'running'" in entry:
            took.append(float(found[1]))
    return statistics.fmean(took) if took else 0.0


class Probes(threading.Thread):
    """Jobs that begin before the mark of a worker: committed late, promoted, tried again."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.jobs = Jobs(url)
        self.url = url
        self.ended = threading.Event()
        self.due: dict[str, dict[int, float]] = {"late-committed": {}, "promoted": {}, "retried": {}}

    @property
    def sent(self) -> int:
        return sum(len(due) for due in self.due.values())

    def run(self) -> None:
        number = PROBES
        second = timedelta(seconds=1)
        while not self.ended.wait(1):
            with psycopg.connect(self.url) as connection:
                noop.using(jobs=self.jobs, connection=connection).enqueue(number)
                noop.using(jobs=self.jobs, run_at=second).enqueue(number + 1)
                self.due["promoted"][number + 1] = time.monotonic() + 1
                again.using(jobs=self.jobs).enqueue(number + 2)
                self.due["retried"][number + 2] = time.monotonic() + 1
                time.sleep(1)
            self.due["late-committed"][number] = time.monotonic()
            number += 3

    def stop(self) -> None:
        self.ended.set()
        self.join()
        self.jobs.close()

    def waits(self, marks: dict[int, float]) -> Figures:
        """The longest wait of each kind, in seconds."""
        return {
            f"{kind}, max s": max((marks[number] - at for number, at in due.items()), default=0.0)
            for kind, due in self.due.items()
        }


def claimers(run: Run, count: int, jobs: int) -> Figures:
    """So many workers on one queue, which all wait for the same jobs: their rate, deadlocks, and long lock waits."""
    assert isinstance(run.store, PostgresStore)
    server = run.store.server
    filler = Filler(run)
    one_process = {"arguments": ["--processes", "0"]}
    with server.set(log_lock_waits="on", deadlock_timeout="100ms"), run.workers(count, options=one_process) as workers:
        since = server.log.stat().st_size
        ready(run, workers, count)
        filler.jobs(range(jobs))
        # The rows came without a hint; this one has it.
        run.ask("fill", first=jobs, count=1)
        run.marks.wait_for(jobs + 1, workers=workers)
        waits = server.logged(r"still waiting for", since)
        ((deadlocks,),) = server.execute(
            f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{run.store.database}'"
        )
    marks = check_marks(run, jobs + 1)
    check_saved(run, jobs + 1)
    rate = jobs / (marks[-1][0] - marks[0][0])
    return {"jobs/s": rate, "lock waits over 100 ms": float(waits), "deadlocks": float(deadlocks)}


def ready(run: Run, workers: Workers, count: int) -> None:
    """Wait until all workers have told the store that they are there."""
    assert isinstance(run.store, PostgresStore)
    deadline = time.monotonic() + 20 + 2 * count
    question = "SELECT count(*) FROM belayed_workers"
    while run.store.server.execute(question, database=run.store.database)[0][0] < count:
        if workers.ended() or time.monotonic() > deadline:
            raise Failed(f"{count} workers did not start: {workers.log.read_text(errors='replace')[-500:]}")
        time.sleep(0.1)
    time.sleep(2)


def beside(run: Run, sizes: Sizes) -> Figures:
    """Four processes enqueue one job after the other while a worker drains: how long each call takes."""
    backlog = min(sizes.large, int(sizes.beside * 40_000))
    filler = Filler(run)
    filler.jobs(range(backlog))
    run.store.settle()
    with run.workers() as workers, ExitStack() as around:
        run.marks.wait_for(1, workers=workers, patience=60)
        started = [
            around.enter_context(run.start("beside", first=backlog + number * 10_000_000, seconds=sizes.beside))
            for number in range(4)
        ]
        for one in started:
            one.answer()
        for one in started:
            one.go()
        answers = [one.answer() for one in started]
        drained = run.marks.count()
    check_accounts(run, backlog + sum(answer["count"] for answer in answers))
    took = sorted(seconds * 1000 for answer in answers for seconds in answer["took"])
    return {
        "enqueue p50 ms": quantile(took, 0.5),
        "enqueue p99 ms": quantile(took, 0.99),
        "enqueue max ms": took[-1],
        "enqueued/s": len(took) / sizes.beside,
        "drained/s": drained / sizes.beside,
        "errors": float(sum(len(answer["errors"]) for answer in answers)),
    }


def check_accounts(run: Run, saved: int) -> None:
    """Whether each job that was saved waits or has run, once, and the history has those: the newest, if it is full."""
    live, ended = stores.rows(run.store)
    marks = run.marks.read()
    started = len({number for _, number in marks})
    if live + started != saved or started != len(marks) or ended < min(started, Config().max_succeeded):
        raise Failed(
            f"{saved} jobs were enqueued; {len(marks)} starts are marked, of {started} different jobs; "
            f"{live} live and {ended} in the history"
        )


def memory(run: Run, sizes: Sizes) -> Figures:
    """What a worker command and its children have resident after a tenth of the jobs, and after all."""
    filler = Filler(run)
    filler.jobs(range(sizes.memory))
    run.store.settle()
    with run.workers() as workers:
        run.marks.wait_for(sizes.memory // 10, workers=workers, patience=60)
        early = workers.memory()
        run.marks.wait_for(sizes.memory, workers=workers)
        late = workers.memory()
    check_marks(run, sizes.memory)
    check_saved(run, sizes.memory)
    return {
        "command RSS, MB": late[0] / 1e6,
        "children RSS, MB": late[1] / 1e6,
        "command growth, MB": (late[0] - early[0]) / 1e6,
        "children growth, MB": (late[1] - early[1]) / 1e6,
    }
