"""PgQueuer: coroutines only, asyncpg; its command runs them in uvloop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.peers.peer import URL, WAIT, AsyncPeer, mark


@asynccontextmanager
async def worker() -> AsyncIterator[PgQueuer]:
    """What `pgq run` is told to run. It has no queues but its entrypoints: a worker for another queue knows another."""
    connection = await asyncpg.connect(os.environ[URL])
    measured = PgQueuer(AsyncpgDriver(connection))
    named = ("noop", "wait") if os.environ["BENCHMARK_QUEUE"] == "default" else ("other", "other wait")

    @measured.entrypoint(named[0])
    async def noop(job: Job) -> None:
        mark(int(job.payload or b""))

    @measured.entrypoint(named[1])
    async def wait(job: Job) -> None:
        mark(int(job.payload or b""))
        await asyncio.sleep(WAIT)

    yield measured
    await connection.close()


class Measured(AsyncPeer):
    packages = ("pgqueuer", "asyncpg", "uvloop")

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self.options.get("uvloop"):
            import uvloop

            uvloop.run(coroutine)
        else:
            asyncio.run(coroutine)

    async def setup(self) -> None:
        await self.open()
        await self.queries.install()
        if self.options.get("autovac"):
            await self.queries.optimize_autovacuum()
        await self.close()

    async def open(self) -> None:
        self.connection = await asyncpg.connect(self.url)
        self.queries = Queries(AsyncpgDriver(self.connection))

    async def close(self) -> None:
        await self.connection.close()

    async def enqueue(self, number: int) -> None:
        await self.queries.enqueue(self.job, b"%d" % number)

    async def enqueue_many(self, numbers: range) -> None:
        step = self.options.get("chunk", 10_000)
        for first in range(numbers.start, numbers.stop, step):
            chunk = range(first, min(first + step, numbers.stop))
            count = len(chunk)
            await self.queries.enqueue([self.job] * count, [b"%d" % number for number in chunk], [0] * count)

    def work(self) -> None:
        arguments = ["run", f"{__name__}:worker"]
        if batch := self.options.get("batch_size"):
            arguments += ["--batch-size", str(batch)]
        if most := self.options.get("max_concurrent_tasks"):
            arguments += ["--max-concurrent-tasks", str(most)]
        self.become("pgq", *arguments, BENCHMARK_QUEUE=self.queue)
