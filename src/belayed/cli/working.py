"""The options of a worker, and what they choose. No rich on this path: workers stay lean."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from belayed.cli.app import options
from belayed.cli.completing import complete_queues
from belayed.cli.pools import VARIABLE, pooled, pools_of
from belayed.cli.show import rough
from belayed.cli.times import memory
from belayed.cli.times import time as duration
from belayed.config import WorkerConfig, settings
from belayed.parsing import listed
from belayed.worker.logs import LEVELS

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(dir_okay=False, path_type=Path)
OF_DELAYED_JOB = {
    "queues": ("QUEUES", "QUEUE"),
    "min_priority": ("MIN_PRIORITY",),
    "max_priority": ("MAX_PRIORITY",),
    "poll_interval": ("SLEEP_DELAY",),
    "read_ahead": ("READ_AHEAD",),
}
"""The variables by which Delayed Job's workers are told, for the settings whose own are not there."""
DEFAULTS: dict[str, Any] = {setting.name: setting.default for setting in fields(WorkerConfig)}


def identifier(text: str) -> str:
    """A word that can be part of a file's name."""
    if not text.isprintable() or not text.strip() or set(text) & set("/\\:"):
        raise click.BadParameter(f"{text!r}: it is part of file names, so no slashes, colons or control characters")
    return text


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
                "--queue", "--queues", "-q", "queues", metavar="NAMES", multiple=True, shell_complete=complete_queues,
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
            click.option(
                "--pool", "pools", metavar="NAMES[:N[xM]]", multiple=True,
                help="N processes (or 1) for these queues, instead of --queue and --processes; with xM at most M jobs "
                "run at once in each, def and async def together. May be repeated: 'snapshots:1x1', '*:1x4'.",
            ),
            click.option(
                "--identifier", "-i", type=identifier, metavar="ID",
                help="What tells this worker from others of the machine: its name.",
            ),
            click.option("--prefix", metavar="TEXT", help="Call its processes TEXT/belayed.ID in lists of processes."),
            click.option(
                "--reload/--no-reload", default=False, help="Replace the child processes when Python code changes."
            ),
            setting("health", "Answer /healthz and /readyz by HTTP at this port, or host:port.", metavar="[HOST:]PORT"),
            click.option("--quiet", is_flag=True, help="Log warnings and errors only. Also by the variable QUIET."),
            click.option("--log-level", type=click.Choice(list(LEVELS)), help="What to log. Default: info."),
            click.option(
                "--log-format", type=click.Choice(["text", "json"]),
                help="The form of all lines. Default: text, or the application's.",
            ),
            click.option("--log-file", type=FILE, metavar="FILE", help="Log to this file, not to stderr."),
            click.option("--pid-file", type=FILE, metavar="FILE", help="Keep the process id in this file."),
            click.option("--log-arguments", is_flag=True, help="Show the arguments of jobs in the log."),
            options,
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@dataclass
class Chosen:
    """What the command line, and where it is silent the environment, says of a worker."""

    configs: list[WorkerConfig]
    """One for each pool."""
    logs: dict[str, Any]
    pid_file: Path | None
    reload: bool
    title: str | None
    log_arguments: bool


def chosen(given: dict[str, Any]) -> Chosen:
    """What the options say. Raises ConfigError or UsageError."""
    quiet, level, pools, ident = (given.pop(name) for name in ("quiet", "log_level", "pools", "identifier"))
    if level is None and (quiet or os.environ.get("QUIET")):
        level = "warning"
    logs = {"log_level": level, "log_format": given.pop("log_format"), "log_file": given.pop("log_file")}
    logs["log_arguments"] = given.pop("log_arguments")
    pid_file, reload, prefix = (given.pop(name) for name in ("pid_file", "reload", "prefix"))
    source = "--pool" if pools else VARIABLE
    pools = pools_of(pools, given)
    queues = listed(",".join(given.pop("queues")))
    settled = {name: value for name, value in given.items() if value is not None}
    if ident is not None:
        settled.setdefault("name", ident)
    config = settings(WorkerConfig, {**settled, **({"queues": queues} if queues else {})}, also=OF_DELAYED_JOB)
    title = None if prefix is None else f"{prefix}/belayed{'' if ident is None else f'.{ident}'}"
    return Chosen(pooled(config, pools, source) or [config], logs, pid_file, reload, title, logs["log_arguments"])
