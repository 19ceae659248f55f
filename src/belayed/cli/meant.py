"""What a command line of another worker (Celery's, RQ's) is here, for the errors of wrong use."""

from __future__ import annotations

import re

import click

OPTIONS = {
    "-A": "--app MODULE",
    "--application": "--app MODULE",
    "-c": "--processes N, and --threads N in each",
    "--concurrency": "--processes N, and --threads N in each",
    "--workers": "--processes N",
    "-w": "--processes N",
    "-Q": "--queue NAMES",
    "-l": "--log-level LEVEL",
    "--loglevel": "--log-level LEVEL",
    "-n": "--name NAME",
    "--hostname": "--name NAME",
    "--burst": "the command workoff",
    "--max-tasks-per-child": "--max-jobs N",
    "--max-memory-per-child": "--max-rss SIZE",
    "--autoreload": "--reload",
    "--watch": "--reload",
    "--database": "--url URL",
    "--db": "--url URL",
    "--settings": "python manage.py belayed, or the variable DJANGO_SETTINGS_MODULE",
}
"""What is written for these."""
COMMANDS = {"worker": "work", "run": "work", "consume": "work", "info": "status", "list": "jobs", "purge": "clear"}
UNKNOWN = re.compile(r"^No such command '(?P<name>\w+)'")
EXTRA = re.compile(r"unexpected extra argument \((?P<name>[\w.:/]+)\)")


def explained(error: click.UsageError) -> None:
    """Put into an error of wrong use what was most likely meant."""
    unknown = UNKNOWN.search(error.message)
    if isinstance(error, click.NoSuchOption):
        if error.option_name in OPTIONS:
            add(error, f"write {OPTIONS[error.option_name]}")
    elif unknown and unknown["name"] in COMMANDS:
        add(error, f"did you mean '{COMMANDS[unknown['name']]}'?")
    elif (extra := EXTRA.search(error.message)) and takes_app(error.ctx):
        add(error, f"an application is named by --app {extra['name']}")


def takes_app(context: click.Context | None) -> bool:
    """Whether a command takes an application, and no arguments that could be meant."""
    parameters = context.command.params if context else []
    names = [one.name for one in parameters if isinstance(one, click.Option)]
    return "app" in names and len(names) == len(parameters)


def add(error: click.UsageError, advice: str) -> None:
    error.message = f"{error.message.rstrip('.')}: {advice}"  # type: ignore[misc]
    # What click itself finds that is alike.
    vars(error)["possibilities"] = None
