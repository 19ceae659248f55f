"""One line of work of a supervisor: children that serve the same queues, and the thread that works with the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from belayed.application import InLines
from belayed.config import MEMORY, CappedConfig, WorkerConfig
from belayed.database import Database
from belayed.errors import BelayedError, ConfigError
from belayed.worker import orphans
from belayed.worker.capped import Capped
from belayed.worker.children import Children
from belayed.worker.ending import AT_ONCE, BEYOND_GRACE
from belayed.worker.loop import Loop
from belayed.worker.nursery import Nursery
from belayed.worker.output import Output
from belayed.worker.report import HALF, Summary
from belayed.worker.starting import check_tables
from belayed.worker.telling import Telling
from belayed.worker.worker import row_of

Started = Callable[[Database, WorkerConfig], None]

LAST_TRY = 1.0
"""Seconds before that at which the children are ended, so that what could not be written may be."""
FAREWELL = 5.0
"""Seconds that children may take to end without work."""


class Pool:
    """Children for the same queues. `run` is called in a thread of its own, or in the only one."""

    def __init__(self, config: WorkerConfig, first: dict[str, Any], output: Output) -> None:
        self.config = config
        self.children = Capped(config) if isinstance(config, CappedConfig) else Children(config)
        self.nursery = Nursery(self.children, config, first, output)
        self.loop: Loop | None = None
        self.failure: BaseException | None = None
        self.worked = False
        self.over = False
        """Whether its run has ended."""
        self.stopping = self.paused = self.bereaved = False
        self.end_by = float("inf")
        self.stepped_at = time.monotonic()

    def run(self, until_empty: bool, started: Started | None) -> None:
        """Work until stopped, or until no job is ready. What goes wrong is in `failure`."""
        try:
            if self.first_child():
                self.serve(until_empty, started)
            self.nursery.end(FAREWELL)
        except BaseException as error:
            self.failure = self.failure or error
            self.nursery.end(0)
        finally:
            self.over = True

    def stop(self, now: bool = False, patient: bool = False) -> None:
        """Stop: *now*, *patient* with what runs, or within the grace. From a signal handler too."""
        self.stopping = True
        grace = float("inf") if patient else self.config.grace.total_seconds() + BEYOND_GRACE
        self.end_by = min(self.end_by, time.monotonic() + (AT_ONCE + BEYOND_GRACE if now else grace))
        if self.loop is not None:
            self.loop.stop(now, patient)
        self.nursery.alarm()

    def pause(self, paused: bool) -> None:
        """Claim nothing more, or claim again. From a signal handler too."""
        self.paused = paused
        if self.loop is not None:
            self.loop.pause(paused)

    def woken(self) -> None:
        """A child has died, or an orphan. From a signal handler."""
        self.bereaved = True
        self.nursery.alarm()

    def step(self, longest: float) -> None:
        """A step of the nursery."""
        self.nursery.step(longest)
        if self.bereaved:
            self.bereaved = False
            orphans.reap()
        self.stepped_at = time.monotonic()

    def first_child(self) -> bool:
        """Wait until the first child is ready; False: a stop came before. Raises ConfigError if it does not start."""
        nursery = self.nursery
        while not nursery.staff.started:
            if self.stopping:
                return False
            self.step(1)
            if nursery.staff.given_up:
                raise InLines(nursery.staff.given_up)
        return True

    def serve(self, until_empty: bool, started: Started | None) -> None:
        """Serve the children, while a thread of its own works with the store."""
        said = self.children.said
        database = Database(self.nursery.jobs_config, said if said.parameters is not None else None)
        if database.address.target == MEMORY:
            raise ConfigError(
                "the jobs are kept in memory, where each process has its own: name a file (sqlite:///jobs.db) or a "
                "server by BELAYED_URL, --url or in the application"
            )
        check_tables(database)
        if started is not None:
            started(database, self.config)
        self.loop = Loop(database, self.config, row_of(self.config), self.children)
        self.loop.report.elsewhere, self.loop.report.most = Telling(self.children).pass_on, HALF
        if self.stopping:
            self.loop.stop()
        if self.paused:
            self.loop.pause()
        thread = threading.Thread(target=self.work, args=(self.loop, until_empty), name="belayed-store", daemon=True)
        thread.start()
        while not self.worked:
            left = self.end_by - LAST_TRY - time.monotonic()
            if left <= 0:
                # A job may hold a lock that the store waits for.
                self.nursery.end(0)
                thread.join(LAST_TRY)
                break
            self.step(min(left, self.config.beat.total_seconds()))
        if self.worked:
            database.close()
        else:
            self.failure = BelayedError(
                "the store did not answer in time: outcomes that could not be written are lost, and other workers "
                "run those jobs again after the lapse"
            )

    def work(self, loop: Loop, until_empty: bool) -> None:
        """The thread of the store."""
        try:
            loop.run(until_empty)
        except BaseException as error:
            self.failure = error
        finally:
            self.worked = True
            self.nursery.alarm()

    @property
    def summary(self) -> Summary:
        return self.loop.summary if self.loop else Summary()
