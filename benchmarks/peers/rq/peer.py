"""RQ on Redis: a process for each job, unless told otherwise."""

from __future__ import annotations

import time

from redis import Redis
from rq import Queue

from benchmarks.peers.peer import WAIT, Peer, mark


def noop(number: int) -> None:
    mark(number)


def wait(number: int) -> None:
    mark(number)
    time.sleep(WAIT)


class Measured(Peer):
    packages = ("rq", "redis")

    async def open(self) -> None:
        self.rq = Queue("default", connection=Redis.from_url(self.url))
        self.task = globals()[self.job]

    async def enqueue(self, number: int) -> None:
        self.rq.enqueue(self.task, number)

    async def enqueue_many(self, numbers: range) -> None:
        for first in range(numbers.start, numbers.stop, 1000):
            chunk = range(first, min(first + 1000, numbers.stop))
            self.rq.enqueue_many([Queue.prepare_data(self.task, (number,)) for number in chunk])

    def work(self) -> None:
        arguments = ["worker", "--url", self.url, "--quiet"]
        if kind := self.options.get("worker_class"):
            arguments += ["--worker-class", kind]
        self.become("rq", *arguments, self.queue)
