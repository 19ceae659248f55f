"""The workloads: each takes a `Jobs` with empty tables and returns its figures by name."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event

import psycopg

from belayed import Jobs, State
from benchmarks import machine
from benchmarks.tasks import noop, pause, stamp

TABLES = "belayed_jobs, belayed_history, belayed_attempts, belayed_workers, belayed_queues, belayed_versions"


def drop_tables(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {TABLES}")


def drain(jobs: Jobs, count: int) -> dict[str, float]:
    """No-op jobs worked off by one `belayed work` at its defaults, from its first outcome to its last."""
    jobs.enqueue_many(noop.draft(number) for number in range(count))
    database = machine.database_cpu(jobs.url)
    before = machine.commits(jobs.url) if jobs.url.startswith("postgres") else 0
    with machine.worker(jobs.url) as (process,):
        first, begun = wait_for(jobs, 1)
        used = machine.cpu(process.pid)
        last, ended = wait_for(jobs, count)
        used = machine.cpu(process.pid) - used
    figures = {"jobs/s": (last - first) / (ended - begun), "worker CPU, µs/job": used / (last - first) * 1e6}
    if before:
        figures["database CPU, µs/job"] = (machine.database_cpu(jobs.url) - database) / count * 1e6
        figures["commits per 1,000 jobs"] = (machine.commits(jobs.url) - before) / count * 1000
    return figures


def wait_for(jobs: Jobs, count: int) -> tuple[int, float]:
    """Wait until at least *count* jobs have succeeded: how many, and when."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        done = jobs.counts(most=count + 1).ended.get(State.SUCCEEDED, 0)
        now = time.perf_counter()
        if done >= count:
            return done, now
        time.sleep(0.05)
    raise SystemExit(f"only {done} of {count} jobs ended within 300 s")


def drain_coroutines(jobs: Jobs, count: int) -> dict[str, float]:
    """Coroutines that wait 10 ms, worked off by one `belayed work` at its defaults (100 at once)."""
    count //= 5
    jobs.enqueue_many(pause.draft() for _ in range(count))
    with machine.worker(jobs.url):
        first, begun = wait_for(jobs, 1)
        last, ended = wait_for(jobs, count)
    return {"jobs/s": (last - first) / (ended - begun)}


def enqueue_one(jobs: Jobs, count: int) -> dict[str, float]:
    """One job after the other, each committed."""
    count //= 20
    noop.using(jobs=jobs).enqueue(0)
    used, begun = time.process_time(), time.perf_counter()
    for number in range(count):
        noop.using(jobs=jobs).enqueue(number)
    took = time.perf_counter() - begun
    return {"jobs/s": count / took, "client CPU, µs/job": (time.process_time() - used) / count * 1e6}


def enqueue_many(jobs: Jobs, count: int) -> dict[str, float]:
    """All jobs in one call."""
    noop.using(jobs=jobs).enqueue(0)
    used, begun = time.process_time(), time.perf_counter()
    jobs.enqueue_many(noop.draft(number) for number in range(count))
    took = time.perf_counter() - begun
    return {"jobs/s": count / took, "client CPU, µs/job": (time.process_time() - used) / count * 1e6}


def latency(jobs: Jobs, count: int) -> dict[str, float]:
    """From the call of enqueue to the start of the job, on an idle worker, a job every 50 ms."""
    with machine.worker(jobs.url):
        stamp.using(jobs=jobs).enqueue().wait(30)
        time.sleep(2)
        waits = []
        for _ in range(min(200, count)):
            begun = time.time()
            job = stamp.using(jobs=jobs).enqueue()
            time.sleep(0.05)
            waits.append((job, begun))
        took = [(job.wait(30).result - begun) * 1000 for job, begun in waits]
    return quantiles("ms", took)


def enqueue_beside_drain(jobs: Jobs, count: int) -> dict[str, float]:
    """One job after the other from another process, while a worker drains a backlog."""
    jobs.enqueue_many(noop.draft(number) for number in range(count * 2))
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.queues.Queue[list[float]] = context.Queue()
    stop = context.Event()
    with machine.worker(jobs.url):
        wait_for(jobs, 1)
        process = context.Process(target=enqueue_until, args=(jobs.url, stop, answers))
        process.start()
        wait_for(jobs, count * 2)
        stop.set()
        took = answers.get(timeout=60)
        process.join()
    return {"enqueued": float(len(took)), **quantiles("ms", took), "max ms": max(took)}


def enqueue_until(url: str, stop: Event, answers: multiprocessing.queues.Queue[list[float]]) -> None:
    """Enqueue jobs until told to stop; how long each took, in ms."""
    jobs = Jobs(url)
    took = []
    while not stop.is_set():
        begun = time.perf_counter()
        noop.using(jobs=jobs).enqueue(0)
        took.append((time.perf_counter() - begun) * 1000)
    answers.put(took)


def quantiles(unit: str, values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"p{share} {unit}": ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 99)}


ALL: dict[str, Callable[[Jobs, int], dict[str, float]]] = {
    "drain no-ops": drain,
    "drain coroutines of 10 ms": drain_coroutines,
    "enqueue one": enqueue_one,
    "enqueue many": enqueue_many,
    "latency, idle worker": latency,
    "enqueue beside a drain": enqueue_beside_drain,
}
