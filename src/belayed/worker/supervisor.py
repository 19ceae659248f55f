"""The supervisor: it alone claims, beats, finishes and gives back; its children run the jobs.

It imports neither the application nor a framework: what it must know of them a child says in its hello.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from belayed.application import Application
from belayed.config import Config, WorkerConfig, from_plain
from belayed.database import Database
from belayed.errors import BelayedError, ConfigError
from belayed.worker.children import Children
from belayed.worker.logs import say_to_log
from belayed.worker.loop import Loop
from belayed.worker.nursery import Nursery
from belayed.worker.output import Output, OutputHandler, Sink
from belayed.worker.report import Summary
from belayed.worker.worker import row_of

log = logging.getLogger("belayed")

BEYOND_GRACE = 3.0
"""Seconds after the grace at which the supervisor ends, whatever the store does."""
AT_ONCE = 2.0
"""The same after a second signal."""
FAREWELL = 5.0
"""Seconds that children may take to end without work."""


class Supervisor:
    """What `belayed work` runs: the settings of belayed.config.WorkerConfig, and the application by its name."""

    def __init__(
        self,
        application: Application | None,
        url: str | None,
        config: WorkerConfig,
        *,
        log_level: str | None = None,
        log_format: str | None = None,
        log_file: Path | None = None,
        log_arguments: bool = False,
    ) -> None:
        self.config, self.log_arguments = config, log_arguments
        self.output = Output(Sink(log_file))
        say_to_log(log_level, OutputHandler(self.output), format=log_format)
        app = application and [application.name, application.source, str(application.folder)]
        first: dict[str, Any] = {
            "app": app,
            "url": url,
            "threads": config.threads,
            "async_slots": config.async_slots,
            "read_ahead": config.read_ahead,
            "log_level": log_level,
            "log_format": log_format,
            "log_arguments": log_arguments,
        }
        self.children = Children(config)
        self.nursery = Nursery(self.children, config, first, self.output)
        self.database: Database | None = None
        self.loop: Loop | None = None
        self.failure: BaseException | None = None
        self.worked = False
        self.stops = 0
        self.end_by = float("inf")

    def run(self, until_empty: bool = False, started: Any = None) -> Summary:
        """Work until stopped, or with *until_empty* until no job is ready. *started* is called with the Database.

        Raises ConfigError if the first child does not start, and the errors of a store that cannot be used.
        """
        before = {number: signal.signal(number, self.asked) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: self.nursery.alarm())
        try:
            if self.first_child():
                self.serve(until_empty, started)
            self.nursery.end(FAREWELL)
        except BaseException:
            self.nursery.end(0)
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.output.close()
        if self.failure is not None:
            raise self.failure
        return self.loop.summary if self.loop else Summary()

    def asked(self, _number: int, _frame: FrameType | None) -> None:
        """A signal: stop; a second one: now."""
        self.stops += 1
        now = time.monotonic()
        grace = self.config.grace.total_seconds() + BEYOND_GRACE
        self.end_by = min(self.end_by, now + (grace if self.stops == 1 else AT_ONCE + BEYOND_GRACE))
        if self.loop is not None:
            self.loop.stop(now=self.stops > 1)
        self.nursery.alarm()

    def first_child(self) -> bool:
        """Wait until the first child is ready; False: a stop came before. Raises ConfigError if it does not start."""
        nursery = self.nursery
        while nursery.hello is None:
            if self.stops:
                return False
            nursery.step(1)
            if nursery.failures:
                raise ConfigError(nursery.complaint)
        config = from_plain(Config, nursery.hello["config"])
        nursery.jobs_config = config = replace(config, url=nursery.hello["url"])
        self.database = Database(config)
        return True

    def serve(self, until_empty: bool, started: Any) -> None:
        """Serve the children, while a thread of its own works with the store."""
        assert self.database is not None
        database = self.database
        database.check_schema()
        if started is not None:
            started(database)
        self.loop = Loop(database, self.config, row_of(self.config), self.children)
        if self.stops:
            self.loop.stop()
        thread = threading.Thread(target=self.work, args=(until_empty,), name="belayed-store", daemon=True)
        thread.start()
        while not self.worked:
            left = self.end_by - time.monotonic()
            if left <= 0:
                self.failure = BelayedError(
                    "the store did not answer in time: outcomes that could not be written are lost, and other workers "
                    "run those jobs again after the lapse"
                )
                return
            self.nursery.step(min(left, 60))
        database.close()

    def work(self, until_empty: bool) -> None:
        """The thread of the store."""
        assert self.loop is not None
        try:
            self.loop.run(until_empty)
        except BaseException as error:
            self.failure = error
        finally:
            self.worked = True
            self.nursery.alarm()
