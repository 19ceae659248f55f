"""`Worker`: runs jobs in this process, in the foreground, or in a thread beside the program's own work."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from belayed.config import WorkerConfig, current, settings
from belayed.errors import BelayedError
from belayed.safelog import log
from belayed.store.answers import WorkerRow
from belayed.worker.attempt import Attempts
from belayed.worker.ending import Ending, unsound
from belayed.worker.loop import Loop
from belayed.worker.overseer import Overseer
from belayed.worker.report import Summary
from belayed.worker.signals import heeding
from belayed.worker.silence import nothing
from belayed.worker.slots import Slots
from belayed.worker.starting import check_tables


class Worker:
    """A worker in this process. The settings are those of belayed.config.WorkerConfig.

    `run()` works in the calling thread until it is stopped; `with worker:` works in a thread of its own meanwhile.
    Stops and timeouts are cooperative: an exception is raised in the job's thread, or its coroutine is cancelled.
    """

    def __init__(self, jobs: Any = None, **given: Any) -> None:
        self.jobs = jobs or current()
        self.config = settings(WorkerConfig, given)
        self.loop: Loop | None = None
        self.thread: threading.Thread | None = None
        self.failure: BaseException | None = None
        self.at_stop: Callable[[Ending], None] = nothing
        """Called when it is asked to end, each time."""

    def __repr__(self) -> str:
        return f"<Worker of {self.jobs!r}>"

    def run(self, until_empty: bool = False) -> Summary:
        """Work until stopped, or with *until_empty* until no job is ready (scheduled ones stay).

        In the main thread SIGTERM and SIGINT stop it: running jobs may finish within the grace; a second signal
        stops them at once. Raises SchemaMissing, SchemaNewer or StoreUnavailable at the start.
        """
        with ended_by_nobody():
            return self.worked(self.made(), until_empty)

    def stop(self, now: bool = False) -> None:
        """Ask the worker to end, from any thread; *now* stops the running jobs at once."""
        if self.loop is not None:
            self.loop.stop(now)

    def unfinished(self) -> list[str]:
        """The jobs that run, in words."""
        return self.loop.slots.names() if self.loop is not None else []

    def __enter__(self) -> Self:
        loop, self.failure = self.made(), None

        def work() -> None:
            try:
                with ended_by_nobody(), self.jobs.plugins.around("around_work", self), self.overseen(loop):
                    loop.run()
            except BaseException as error:
                self.failure = error
                log.exception("the worker ended by an error")

        self.thread = threading.Thread(target=work, name="belayed-worker", daemon=True)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        assert self.thread is not None
        self.thread.join()
        self.loop = self.thread = None
        if self.failure is not None and error is None:
            raise self.failure

    def made(self) -> Loop:
        """A loop, its worker not yet registered."""
        if self.loop is not None:
            raise BelayedError(f"{self!r} runs already")
        self.jobs.check_worker()
        check_tables(self.jobs)
        row = row_of(self.config)
        slots = Slots(
            Attempts(self.jobs),
            threads=self.config.threads,
            async_slots=self.config.async_slots,
            read_ahead=self.config.read_ahead,
        )
        loop = self.loop = Loop(self.jobs, self.config, row, slots)
        loop.ending.on_stop.append(lambda: self.at_stop(loop.ending))
        if self.jobs.plugins.by_hook["around_pass"]:
            self.loop.around_pass = lambda: self.jobs.plugins.around("around_pass", self)
        return self.loop

    def overseen(self, loop: Loop) -> Overseer:
        """What keeps time limits while the loop waits for the store."""
        assert isinstance(loop.slots, Slots)
        return Overseer(loop, loop.slots)

    def worked(self, loop: Loop, until_empty: bool) -> Summary:
        with self.jobs.plugins.around("around_work", self):
            return self.heeded(loop, until_empty)

    def heeded(self, loop: Loop, until_empty: bool) -> Summary:
        """Run the loop; in the main thread it heeds signals."""
        if threading.current_thread() is not threading.main_thread():
            try:
                with self.overseen(loop):
                    return loop.run(until_empty)
            finally:
                self.loop = None

        try:
            with heeding(loop.stop, loop.pause), self.overseen(loop):
                return loop.run(until_empty)
        finally:
            self.loop = None


@contextmanager
def ended_by_nobody() -> Iterator[None]:
    """Let a SystemExit that a job has raised in the worker's own thread not look like an end that was asked for."""
    try:
        yield
    except SystemExit as error:
        raise unsound("SystemExit was raised in the thread of its loop") from error


def row_of(config: WorkerConfig) -> WorkerRow:
    """A new worker as the store is to show it, in this process."""
    host = socket.gethostname()
    name = config.name or own_name()
    return WorkerRow(
        # Read in histories long after the worker has left; the random part makes it a fence.
        id=f"{name}-{secrets.token_hex(8)}",
        name=name,
        host=host,
        pid=os.getpid(),
        queues=json.dumps(config.queues),
        version=version(),
        lapse=config.lapse.total_seconds(),
    )


def own_name() -> str:
    """What a worker of this process is called that has no other name."""
    return f"{socket.gethostname()}:{os.getpid()}"


def version() -> str:
    """This Belayed's version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("belayed")
    except PackageNotFoundError:
        return "unknown"
