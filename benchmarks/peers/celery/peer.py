"""Celery on Redis."""

from __future__ import annotations

import os
import time

from celery import Celery

from benchmarks.peers.peer import URL, WAIT, Peer, mark

app = Celery("benchmark", broker=os.environ.get(URL))
app.conf.task_default_queue = "default"
app.conf.worker_prefetch_multiplier = int(os.environ.get("BENCHMARK_PREFETCH", "4"))
app.conf.broker_connection_retry_on_startup = True


@app.task
def noop(number: int) -> None:
    mark(number)


@app.task
def wait(number: int) -> None:
    mark(number)
    time.sleep(WAIT)


class Measured(Peer):
    packages = ("celery", "kombu", "redis")

    async def open(self) -> None:
        self.task = globals()[self.job]

    async def enqueue(self, number: int) -> None:
        self.task.delay(number)

    def work(self) -> None:
        given = self.options.get("arguments", [])
        prefetch = str(self.options.get("prefetch", 4))
        arguments = ("--app", f"{__name__}:app", "worker", "--queues", self.queue, "--loglevel", "ERROR", *given)
        self.become("celery", *arguments, BENCHMARK_PREFETCH=prefetch, C_FORCE_ROOT="1")
