"""Procrastinate: coroutines, psycopg."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import procrastinate

from benchmarks.peers.peer import URL, WAIT, AsyncPeer, mark

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ.get(URL, "")))


@app.task
async def noop(number: int) -> None:
    mark(number)


@app.task
async def wait(number: int) -> None:
    mark(number)
    await asyncio.sleep(WAIT)


class Measured(AsyncPeer):
    packages = ("procrastinate", "psycopg")

    async def setup(self) -> None:
        await self.open()
        await app.schema_manager.apply_schema_async()
        await self.close()

    async def open(self) -> None:
        await app.open_async()
        self.task = app.tasks[f"{__name__}.{self.job}"].configure(queue="default")

    async def close(self) -> None:
        await app.close_async()

    async def enqueue(self, number: int) -> None:
        await self.task.defer_async(number=number)

    async def enqueue_many(self, numbers: range) -> None:
        for first in range(numbers.start, numbers.stop, 1000):
            chunk = range(first, min(first + 1000, numbers.stop))
            arguments: list[Any] = [{"number": number} for number in chunk]
            await self.task.batch_defer_async(*arguments)

    def work(self) -> None:
        arguments = ["--app", f"{__name__}.app", "--log-level", "warning", "worker", "--queues", self.queue]
        if most := self.options.get("concurrency"):
            arguments += ["--concurrency", str(most)]
        if which := self.options.get("delete_jobs"):
            arguments += ["--delete-jobs", which]
        self.become("procrastinate", *arguments)
