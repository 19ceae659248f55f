"""Finds the application and its `Jobs`: what --app and --url say, the environment, or pyproject.toml."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar, cast

import click

from belayed import importing, origin
from belayed.addresses import hidden, without_secrets
from belayed.application import DJANGO, FOLDER, Application, loaded
from belayed.cli.completing import complete_app
from belayed.cli.handing import handed
from belayed.cli.show import as_called, program
from belayed.config import nearest_project
from belayed.errors import ConfigError, StoreUnavailable
from belayed.jobs import Jobs

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Place:
    """Which application, and where its jobs are, as the command line says."""

    app: str | None = None
    """None: not said; empty: none."""
    url: str | None = field(default_factory=handed, repr=False)

    def called(self, program: str) -> str:
        """What command lines of *program* begin with that mean the same place, without a password."""
        if self.app is not None:
            program = f"{program} --app {quote(without_secrets(self.app))}"
        elif os.environ.get("BELAYED_APP") == DJANGO and program in ("belayed", "python -m belayed"):
            program = Application(DJANGO, "BELAYED_APP", folder_of_django()).program
        return program if self.url is None else f"{program} --url {quote(hidden(self.url))}"

    def application(self) -> Application | None:
        """The application that was named on the command line, in BELAYED_APP or in pyproject.toml."""
        if self.app is not None or "BELAYED_APP" in os.environ:
            given = os.environ["BELAYED_APP"] if self.app is None else self.app
            folder = folder_of_django() if given == DJANGO else Path.cwd()
            return Application(given, "BELAYED_APP" if self.app is None else "--app", folder) if given else None
        project = nearest_project()
        name = named_in(project) if project else None
        if project and name:
            return Application(name, str(project), project.parent)
        if os.environ.get("DJANGO_SETTINGS_MODULE"):
            return Application(DJANGO, "DJANGO_SETTINGS_MODULE", Path.cwd())
        return None

    def jobs(self, *, create: bool = False, warn: bool = True) -> Jobs:
        """The application's `Jobs`, or else those of the URL; they are closed with the command.

        Unless they may *create* it, an SQLite file must be there, with its tables: a look at jobs leaves no empty file
        behind, and changes nobody else's.
        """
        jobs = cast(Jobs, loaded(self.application(), self.url))
        if warn:
            importing.warn()
        if not create:
            check_file(jobs)
            jobs.makes_tables = False
        if context := click.get_current_context(silent=True):
            context.call_on_close(jobs.close)
        return jobs


def options(command: F) -> F:
    """Give *command* --app and --url. They may stand before and after a command's name; the later one counts."""

    def store(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            setattr(ctx.ensure_object(Place), str(param.name), value)

    common: dict[str, Any] = {"expose_value": False, "callback": store}
    url = click.option(
        "--url", metavar="URL", help="Where jobs are kept, such as postgresql://… (or BELAYED_URL).", **common
    )
    app = click.option(
        "--app",
        metavar="MODULE[:NAME]",
        shell_complete=complete_app,
        help="The application to import (or BELAYED_APP, or app in [tool.belayed] of pyproject.toml).",
        **common,
    )
    return app(url(command))


def folder_of_django() -> Path:
    """Where a Django project is: where manage.py says, or else here."""
    return Path(os.environ.get(FOLDER) or Path.cwd())


def named_in(project: Path) -> str | None:
    """The application that a pyproject.toml names. Raises ConfigError."""
    try:
        name = tomllib.loads(project.read_text("utf-8")).get("tool", {}).get("belayed", {}).get("app")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{project} cannot be read: {error}") from error
    if name is not None and not isinstance(name, str):
        raise ConfigError(f'{project}: app in [tool.belayed] is {name!r}; write app = "module"')
    return name or None


def check_file(jobs: Jobs) -> None:
    """Raise StoreUnavailable if the jobs are kept in an SQLite file that is not there."""
    file = jobs.address.target
    if jobs.address.is_missing:
        by = origin.named_by(jobs.address)
        raise StoreUnavailable(
            f"there is no SQLite file {file}{f', which is looked for {by}' if by else ''}: the first enqueue makes it, "
            f"as do `{program()} work` and `{as_called(jobs.migrate_command)}`{origin.advice(jobs.address)}"
        )
