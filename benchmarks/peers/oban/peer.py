"""Oban for Python: coroutines, psycopg."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import uvloop
from oban import Oban, job
from oban.schema import install
from psycopg_pool import AsyncConnectionPool

from benchmarks.peers.peer import WAIT, AsyncPeer, mark


@job(queue="default")
async def noop(number: int) -> None:
    mark(number)


@job(queue="default")
async def wait(number: int) -> None:
    mark(number)
    await asyncio.sleep(WAIT)


class Measured(AsyncPeer):
    packages = ("oban", "psycopg", "uvloop")

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        uvloop.run(coroutine)

    async def setup(self) -> None:
        await self.open()
        await install(self.pool)
        await self.close()

    async def open(self) -> None:
        self.pool: AsyncConnectionPool[Any] = AsyncConnectionPool(self.url, open=False)
        await self.pool.open()
        self.oban = Oban(pool=self.pool)
        self.task: Any = globals()[self.job]

    async def close(self) -> None:
        await self.pool.close()

    async def enqueue(self, number: int) -> None:
        await self.oban.enqueue(self.task.new(number))

    async def enqueue_many(self, numbers: range) -> None:
        for first in range(numbers.start, numbers.stop, 1000):
            chunk = range(first, min(first + 1000, numbers.stop))
            await self.oban.enqueue_many([self.task.new(number) for number in chunk])

    def work(self) -> None:
        queues = f"{self.queue}:{self.options.get('limit', 10)}"
        arguments = ("start", "--dsn", self.url, "--queues", queues, "--cron-modules", __name__, "--log-level", "error")
        self.become("oban", *arguments)
