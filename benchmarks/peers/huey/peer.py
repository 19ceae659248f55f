"""Huey on Redis: it takes a job off the list before it runs it."""

from __future__ import annotations

import os
import time

from huey import RedisHuey

from benchmarks.peers.peer import URL, WAIT, Peer, mark

huey = RedisHuey("benchmark-" + os.environ.get("BENCHMARK_QUEUE", "default"), url=os.environ.get(URL))


@huey.task()
def noop(number: int) -> None:
    mark(number)


@huey.task()
def wait(number: int) -> None:
    mark(number)
    time.sleep(WAIT)


class Measured(Peer):
    packages = ("huey", "redis")

    async def open(self) -> None:
        self.task = globals()[self.job]

    async def enqueue(self, number: int) -> None:
        self.task(number)

    def work(self) -> None:
        arguments = [f"{__name__}.huey", "--quiet", "--graceful-signal", "TERM"]
        if workers := self.options.get("workers"):
            arguments += ["--workers", str(workers)]
        if self.options.get("no_periodic"):
            arguments.append("--no-periodic")
        self.become("huey_consumer", *arguments, BENCHMARK_QUEUE=self.queue)
