"""`work` and `workoff`: run jobs until stopped, or until none is ready. No rich on this path: workers stay lean."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any, TypeVar

import click

import belayed
from belayed.cli.app import Place, options
from belayed.cli.checks import has_wal_reset_bug, product
from belayed.cli.show import counted, rough, safe, span
from belayed.cli.times import time as duration
from belayed.config import WorkerConfig, hidden
from belayed.jobs import Jobs
from belayed.worker import Summary, Worker

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("belayed")

DEFAULTS: dict[str, Any] = {setting.name: setting.default for setting in fields(WorkerConfig)}
SHORT = {"WARNING": "WARN", "CRITICAL": "FATAL"}
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def working(command: F) -> F:
    """The options of a worker. What is not given comes from the environment, as BELAYED_THREADS, or its default."""

    def setting(name: str, help: str, *short: str, **kind: Any) -> Callable[..., Any]:
        default = DEFAULTS[name]
        shown = "" if default is None else f" Default: {rough(default) if isinstance(default, timedelta) else default}."
        return click.option(f"--{name.replace('_', '-')}", *short, help=f"{help}{shown}", **kind)

    time: dict[str, Any] = {"type": duration, "metavar": "TIME"}
    for option in reversed(
        [
            click.option(
                "--queues", "-q", metavar="NAMES", multiple=True,
                help="Serve these queues: names, * for all, !name for all but that; commas or several -q. Default: *.",
            ),
            setting("min_priority", "Only jobs of this priority or a larger one.", type=int),
            setting("max_priority", "Only jobs of this priority or a smaller one.", type=int),
            setting("threads", "How many def jobs run at once.", "-t", type=int),
            setting("async_slots", "How many async def jobs run at once.", type=int),
            setting("poll_interval", "The longest time between two looks while nothing wakes the worker.", **time),
            setting("read_ahead", "The most jobs to claim at once.", type=int),
            setting("beat", "How often to say that this worker is alive.", **time),
            setting("lapse", "After how long without a beat others rescue its jobs.", **time),
            setting("grace", "How long running jobs may go on after a stop.", **time),
            setting("name", "What to call this worker. Default: host and process id."),
            click.option("--log-level", type=click.Choice(list(LEVELS)), help="What to log. Default: info."),
            click.option("--log-arguments", is_flag=True, help="Show the arguments of jobs in the log."),
            options,
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@working
@click.pass_obj
def work(place: Place, /, log_level: str | None, log_arguments: bool, **given: Any) -> None:
    """Run jobs until stopped.

    SIGTERM or Ctrl-C stops it: running jobs may finish within the grace, then it exits with 0. A second one stops
    them at once; what did not finish is run again later.
    """
    jobs = place.jobs(create=True)
    say_to_log(log_level)
    summary = started(jobs, log_arguments, given).run()
    log.info("stopped after %s: %s", span(timedelta(seconds=summary.seconds)), in_words(summary))


@click.command()
@click.option("--strict", is_flag=True, help="Exit with 1 if an attempt did not succeed, even if it is tried again.")
@working
@click.pass_obj
def workoff(place: Place, /, strict: bool, log_level: str | None, log_arguments: bool, **given: Any) -> None:
    """Run jobs until none is ready, then exit with 0.

    Scheduled jobs stay, and so do those that wait to be tried again.
    """
    jobs = place.jobs(create=True)
    say_to_log(log_level)
    summary = started(jobs, log_arguments, given).run(until_empty=True)
    log.info("no job is ready after %s: %s", span(timedelta(seconds=summary.seconds)), in_words(summary))
    if strict and (summary.failed or summary.retried):
        click.get_current_context().exit(1)


def started(jobs: Jobs, log_arguments: bool, given: dict[str, Any]) -> Worker:
    """A worker of *jobs*, whose tables are there; the log says what it serves."""
    queues = tuple(part.strip() for text in given.pop("queues") for part in text.split(",") if part.strip())
    settings = {name: value for name, value in given.items() if value is not None}
    worker = Worker(jobs, **settings, **({"queues": queues} if queues else {}))
    if log_arguments:
        jobs.config = replace(jobs.config, log_arguments=True)
    jobs.check_schema()
    database = jobs.do(jobs.store.check)
    name = product(jobs.store.dialect)
    log.info(
        "belayed %s serves %s of %s (%s %s) with %s",
        belayed.__version__,
        "all queues" if worker.config.queues == ("*",) else f"queues {', '.join(worker.config.queues)}",
        hidden(jobs.url),
        name,
        database.version,
        counted(worker.config.threads, "thread"),
    )
    if jobs.store.dialect == "sqlite" and has_wal_reset_bug(database.version):
        log.warning(
            "SQLite %s has the WAL-reset bug, which in rare cases corrupts a file that several processes write: "
            "use 3.51.3 or later (or 3.50.7, 3.44.6)",
            database.version,
        )
    return worker


def in_words(summary: Summary) -> str:
    """What a run has brought, without what there was none of."""
    counts = {
        "succeeded": summary.succeeded,
        "failed": summary.failed,
        "to be tried again": summary.retried,
        "cancelled": summary.cancelled,
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "no job ended"


def say_to_log(level: str | None) -> None:
    """Log to stderr, unless the application has set up logging itself: then its word counts."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Lines())
        root.addHandler(handler)
        # Libraries at DEBUG would drown the rest.
        root.setLevel(max(LEVELS[level or "info"], logging.INFO))
        log.setLevel(LEVELS[level or "info"])
    elif level is not None:
        log.setLevel(LEVELS[level])


class Lines(logging.Formatter):
    """`12:00:01.123 INFO  text`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(short)-5s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return safe(super().format(record))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return f"{time.strftime('%H:%M:%S', self.converter(record.created))}.{int(record.msecs):03d}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.short = SHORT.get(record.levelname, record.levelname)
        return super().formatMessage(record)
