"""`work` and `workoff`: run jobs until stopped, or until none is ready. No rich on this path: workers stay lean."""

from __future__ import annotations

import logging
import os
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import click

import belayed
from belayed.addresses import hidden
from belayed.cli.app import Place
from belayed.cli.checks import WAL_RESET_REMEDY, has_wal_reset_bug, product
from belayed.cli.handing import leave_out_url
from belayed.cli.pidfile import pid_file
from belayed.cli.pools import capacity
from belayed.cli.show import span
from belayed.cli.working import chosen, working
from belayed.config import CappedConfig, WorkerConfig
from belayed.connections.leftovers import leftovers
from belayed.database import Database
from belayed.errors import ConfigError
from belayed.worker import Summary, Worker
from belayed.worker.forced import ForcedEnd
from belayed.worker.logs import say_to_log
from belayed.worker.output import OutputHandler, Sink
from belayed.worker.prints import end_lines, keep_lines_whole
from belayed.worker.starting import check_tables
from belayed.worker.supervisor import Supervisor
from belayed.worker.title import set_title
from belayed.worker.vigil import Vigil, worker_watched

log = logging.getLogger("belayed")


@click.command()
@click.option("--exit-on-complete", is_flag=True, default=None, help="End when no job is ready, as workoff does.")
@working
@click.pass_obj
def work(place: Place, /, **given: Any) -> None:
    """Run jobs until stopped.

    SIGTERM or Ctrl-C stops it: running jobs may finish within the grace, then it exits with 0; SIGQUIT gives them all
    the time that they take. A second signal stops them at once; what did not finish is run again later. SIGUSR2 lets it
    claim nothing more, until SIGCONT.
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
    leave_out_url(place.url)
    told = chosen(given)
    config = told.configs[0]

    def announced(database: Database, served: WorkerConfig) -> None:
        announce(database, served, warn=served is config)

    with pid_file(told.pid_file):
        if config.processes and os.name == "posix":
            set_title(told.title)
            supervisor = Supervisor(
                place.application(), place.url, told.configs, reload=told.reload, title=told.title, **told.logs
            )
            return supervisor.run(until_empty, announced)
        if told.reload:
            raise ConfigError("--reload replaces child processes: with --processes 0 there are none")
        if len(told.configs) > 1 or isinstance(config, CappedConfig):
            raise ConfigError("pools are for Linux and macOS, as they have processes: start a worker for each")
        set_title(told.title)
        # Before the application is imported, which may set up handlers that write there.
        keep_lines_whole()
        jobs = place.jobs(create=True, warn=False)
        file = told.logs["log_file"]
        handler = OutputHandler(Sink(file)) if file else None
        say_to_log(told.logs["log_level"], handler, format=told.logs["log_format"], always=bool(file))
        if told.log_arguments:
            jobs.config = replace(jobs.config, log_arguments=True)
        check_tables(jobs)
        announced(jobs, config)
        worker = Worker(jobs, **vars_of(config))
        worker.at_stop = ForcedEnd(worker).asked
        leftovers.only_jobs = True
        try:
            with Vigil(config, [worker_watched(worker)]):
                return worker.run(until_empty)
        finally:
            leftovers.only_jobs = False
            end_lines()


def announce(database: Database, config: WorkerConfig, *, warn: bool) -> None:
    """Log what is served, and *warn* of what this database is known for."""
    checked = database.do(database.store.check)
    dialect = database.store.dialect
    log.info(
        "belayed %s serves %s of %s (%s %s) with %s",
        belayed.__version__,
        "all queues" if config.queues == ("*",) else f"queues {', '.join(config.queues)}",
        hidden(database.url),
        product(dialect),
        checked.version,
        capacity(config),
    )
    if warn and dialect == "sqlite" and has_wal_reset_bug(checked.version):
        log.warning(
            "SQLite %s has the WAL-reset bug, which in rare cases corrupts a file that several processes write: %s",
            checked.version,
            WAL_RESET_REMEDY,
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
