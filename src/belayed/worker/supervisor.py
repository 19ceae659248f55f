"""The supervisor: it alone claims, beats, finishes and gives back; its children run the jobs.

It imports neither the application nor a framework: what it must know of them a child says in its hello.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from belayed.application import Application
from belayed.config import WorkerConfig
from belayed.worker.logs import say_to_log
from belayed.worker.output import Output, OutputHandler, Sink
from belayed.worker.pool import Pool, Started
from belayed.worker.reloading import reloading
from belayed.worker.report import Summary
from belayed.worker.signals import heeding, ignore_meaningless
from belayed.worker.vigil import Vigil, pool_watched

JOINED = 0.2
"""Seconds between two looks whether the pools have ended."""


class Supervisor:
    """What `belayed work` runs: pools of children, each by its settings, and the application by its name."""

    def __init__(
        self,
        application: Application | None,
        url: str | None,
        configs: Sequence[WorkerConfig],
        *,
        log_level: str | None = None,
        log_format: str | None = None,
        log_file: Path | None = None,
        log_arguments: bool = False,
        reload: bool = False,
        title: str | None = None,
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            # This program is its own: nobody else has a use for them.
            ignore_meaningless()
        self.output = Output(Sink(log_file))
        say_to_log(log_level, OutputHandler(self.output), format=log_format)
        app = application and [application.name, application.source, str(application.folder)]
        self.folder = application.folder if application else Path.cwd()
        self.reload = reload
        self.pools: list[Pool] = []
        for config in configs:
            first: dict[str, Any] = {
                "app": app,
                "url": url,
                "threads": config.threads,
                "async_slots": config.async_slots,
                "read_ahead": config.read_ahead,
                "log_level": log_level,
                "log_format": log_format,
                "log_arguments": log_arguments,
                "title": title and f"{title} child",
            }
            self.pools.append(Pool(config, first, self.output))
        self.vigil = Vigil(configs[0], [pool_watched(pool) for pool in self.pools])

    def run(self, until_empty: bool = False, started: Started | None = None) -> Summary:
        """Work until stopped, or with *until_empty* until no job is ready. *started* is called for each pool.

        Raises ConfigError if the first child does not start, and the errors of a store that cannot be used.
        """
        try:
            with ExitStack() as stack:
                stack.enter_context(heeding(self.stop, self.pause, self.woken))
                stack.enter_context(self.vigil)
                if self.reload:
                    stack.enter_context(reloading(self.folder, self.renew))
                if len(self.pools) == 1:
                    self.pools[0].run(until_empty, started)
                else:
                    self.run_each(until_empty, started)
        finally:
            self.output.close()
        for pool in self.pools:
            if pool.failure is not None:
                raise pool.failure
        return Summary.of([pool.summary for pool in self.pools])

    def run_each(self, until_empty: bool, started: Started | None) -> None:
        """Run the pools, each in a thread of its own; if one of them fails, the others end."""
        threads = [
            threading.Thread(target=pool.run, args=(until_empty, started), name=f"belayed-pool-{number}")
            for number, pool in enumerate(self.pools, 1)
        ]
        for thread in threads:
            thread.start()
        told = False
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(JOINED)
            if not told and any(pool.failure for pool in self.pools):
                told = True
                self.stop()

    def stop(self, now: bool = False, patient: bool = False) -> None:
        """Stop: *now*, *patient* with what runs, or within the grace. From a signal handler too."""
        self.vigil.stopping()
        for pool in self.pools:
            pool.stop(now, patient)

    def pause(self, paused: bool) -> None:
        """Claim nothing more, or claim again. From a signal handler too."""
        for pool in self.pools:
            pool.pause(paused)

    def woken(self) -> None:
        """A process has died that is a child of this one."""
        for pool in self.pools:
            pool.woken()

    def renew(self, why: str) -> None:
        """Replace all children: they end with what they run."""
        for pool in self.pools:
            pool.nursery.renew(why)
