"""`work` and `workoff`: run jobs until stopped, or until none is ready. No rich on this path: workers stay lean."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, TypeVar

import click

import belayed
from belayed.cli.app import Place, options
from belayed.cli.checks import has_wal_reset_bug, product
from belayed.cli.pidfile import pid_file
from belayed.cli.show import counted, rough, span
from belayed.cli.times import memory
from belayed.cli.times import time as duration
from belayed.config import WorkerConfig, hidden, listed, settings
from belayed.database import Database
from belayed.errors import ConfigError
from belayed.worker import Summary, Worker
from belayed.worker.logs import LEVELS, say_to_log
from belayed.worker.supervisor import Supervisor

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("belayed")

FILE = click.Path(dir_okay=False, path_type=Path)
NO_SETTINGS = ("quiet", "log_level", "log_format", "log_file", "pid_file", "log_arguments")
"""The options of a worker that are no settings of its."""
OF_DELAYED_JOB = {
    "queues": ("QUEUES", "QUEUE"),
    "min_priority": ("MIN_PRIORITY",),
    "max_priority": ("MAX_PRIORITY",),
    "poll_interval": ("SLEEP_DELAY",),
    "read_ahead": ("READ_AHEAD",),
}
"""The variables by which Delayed Job's workers are told, for the settings whose own are not there."""
DEFAULTS: dict[str, Any] = {setting.name: setting.default for setting in fields(WorkerConfig)}


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
                "--queue", "--queues", "-q", "queues", metavar="NAMES", multiple=True,
                help="Serve these queues: names, * for all, !name for all but that; commas or several -q. Default: *.",
            ),
            setting("min_priority", "Only jobs of this priority or a larger one.", type=int),
            setting("max_priority", "Only jobs of this priority or a smaller one.", type=int),
            setting("processes", "How many child processes run jobs; 0: this process does.", "-p", type=int),
            setting("threads", "How many def jobs run at once in each process.", "-t", type=int),
            setting("async_slots", "How many async def jobs run at once in each process.", type=int),
            click.option("--spare", is_flag=True, default=None, help="Keep one more process warm, to take over."),
            setting("max_jobs", "Replace a process after so many jobs.", type=int),
            setting("max_rss", "Replace a process that has more memory: 512M, 2G.", type=memory, metavar="SIZE"),
            setting("poll_interval", "The longest time between two looks while nothing wakes the worker.", **time),
            setting("read_ahead", "The most jobs to claim at once.", type=int),
            setting("beat", "How often to say that this worker is alive.", **time),
            setting("lapse", "After how long without a beat others rescue its jobs.", **time),
            setting("grace", "How long running jobs may go on after a stop.", **time),
            setting("kill_after", "How long a job that was stopped may go on, until its process is ended.", **time),
            setting("name", "What to call this worker. Default: host and process id."),
            click.option("--quiet", is_flag=True, help="Log warnings and errors only. Also by the variable QUIET."),
            click.option("--log-level", type=click.Choice(list(LEVELS)), help="What to log. Default: info."),
            click.option("--log-format", type=click.Choice(["text", "json"]), help="Its form. Default: text."),
            click.option("--log-file", type=FILE, metavar="FILE", help="Log to this file, not to stderr."),
            click.option("--pid-file", type=FILE, metavar="FILE", help="Keep the process id in this file."),
            click.option("--log-arguments", is_flag=True, help="Show the arguments of jobs in the log."),
            options,
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.option("--exit-on-complete", is_flag=True, default=None, help="End when no job is ready, as workoff does.")
@working
@click.pass_obj
def work(place: Place, /, **given: Any) -> None:
    """Run jobs until stopped.

    SIGTERM or Ctrl-C stops it: running jobs may finish within the grace, then it exits with 0. A second one stops
    them at once; what did not finish is run again later.
    """
    summary = worked(place, given)
    log.info("stopped after %s: %s", span(timedelta(seconds=summary.seconds)), in_words(summary))


@click.command()
@click.option("--strict", is_flag=True, help="Exit with 1 if an attempt did not succeed, even if it is tried again.")
@working
@click.pass_obj
def workoff(place: Place, /, strict: bool, **given: Any) -> None:
    """Run jobs until none is ready, then exit with 0.

    Scheduled jobs stay, and so do those that wait to be tried again.
    """
    summary = worked(place, given, until_empty=True)
    log.info("no job is ready after %s: %s", span(timedelta(seconds=summary.seconds)), in_words(summary))
    if strict and (summary.failed or summary.retried):
        click.get_current_context().exit(1)


def worked(place: Place, given: dict[str, Any], *, until_empty: bool = False) -> Summary:
    """What a worker with these options brings: in child processes, or with `--processes 0` in this one."""
    quiet, level, form, log_file, pid, log_arguments = (given.pop(one) for one in NO_SETTINGS)
    if level is None and (quiet or os.environ.get("QUIET")):
        level = "warning"
    queues = listed(",".join(given.pop("queues")))
    chosen = {name: value for name, value in given.items() if value is not None}
    config = settings(WorkerConfig, {**chosen, **({"queues": queues} if queues else {})}, also=OF_DELAYED_JOB)
    with pid_file(pid):
        if config.processes and os.name == "posix":
            logs = {"log_level": level, "log_format": form, "log_file": log_file, "log_arguments": log_arguments}
            supervisor = Supervisor(place.application(), place.url, config, **logs)
            return supervisor.run(until_empty, lambda database: announce(database, config))
        jobs = place.jobs(create=True)
        say_to_log(level, log_file and handler(log_file), format=form)
        if log_arguments:
            jobs.config = replace(jobs.config, log_arguments=True)
        jobs.check_schema()
        announce(jobs, config)
        return Worker(jobs, **vars_of(config)).run(until_empty)


def handler(path: Path) -> logging.Handler:
    """What logs to a file, and opens it anew when it was moved away."""
    try:
        return WatchedFileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ConfigError(f"the log file {path} cannot be written: {error.strerror}") from error


def announce(database: Database, config: WorkerConfig) -> None:
    """Log what is served, and warn of what this database is known for."""
    checked = database.do(database.store.check)
    dialect = database.store.dialect
    threads = counted(config.threads, "thread")
    log.info(
        "belayed %s serves %s of %s (%s %s) with %s",
        belayed.__version__,
        "all queues" if config.queues == ("*",) else f"queues {', '.join(config.queues)}",
        hidden(database.url),
        product(dialect),
        checked.version,
        threads if config.processes <= 1 else f"{config.processes} processes of {threads}",
    )
    if dialect == "sqlite" and has_wal_reset_bug(checked.version):
        log.warning(
            "SQLite %s has the WAL-reset bug, which in rare cases corrupts a file that several processes write: "
            "use 3.51.3 or later (or 3.50.7, 3.44.6)",
            checked.version,
        )


def vars_of(config: WorkerConfig) -> dict[str, Any]:
    return {setting.name: getattr(config, setting.name) for setting in fields(config)}


def in_words(summary: Summary) -> str:
    """What a run has brought, without what there was none of."""
    counts = {
        "succeeded": summary.succeeded,
        "failed": summary.failed,
        "to be tried again": summary.retried,
        "cancelled": summary.cancelled,
    }
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "no job ended"
