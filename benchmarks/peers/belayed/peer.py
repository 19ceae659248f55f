"""Belayed, as its command runs it at its defaults."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

from belayed import Jobs, Retry, current_job, task
from benchmarks.peers.peer import WAIT, Peer, mark


@task
def noop(number: int) -> None:
    mark(number)


@task
def wait(number: int) -> None:
    mark(number)
    time.sleep(WAIT)


@task
async def wait_async(number: int) -> None:
    mark(number)
    await asyncio.sleep(WAIT)


@task
def again(number: int) -> None:
    """Marks its second attempt, a second after the first."""
    job = current_job()
    if job.free_retries == 0:
        raise Retry(after=timedelta(seconds=1), free=True)
    mark(number)


TASKS: dict[str, Any] = {"noop": noop, "wait": wait, "wait_async": wait_async, "again": again}


class Measured(Peer):
    packages = ("belayed", "psycopg")

    async def setup(self) -> None:
        jobs = Jobs(self.url)
        jobs.migrate()
        jobs.close()

    async def open(self) -> None:
        self.jobs = Jobs(self.url)
        self.task = TASKS[self.job].using(jobs=self.jobs)

    async def close(self) -> None:
        self.jobs.close()

    async def enqueue(self, number: int) -> None:
        self.task.enqueue(number)

    async def enqueue_many(self, numbers: range) -> None:
        self.jobs.enqueue_many(self.task.draft(number) for number in numbers)

    def work(self) -> None:
        given = [str(part) for part in self.options.get("arguments", [])]
        if self.queue != "default":
            given += ["--queue", self.queue]
        self.become("belayed", "work", "--app", __name__, "--url", self.url, "--log-level", "warning", *given)
