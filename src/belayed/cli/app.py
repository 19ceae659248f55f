"""Finds the application and its `Jobs`: what --app and --url say, the environment, or pyproject.toml."""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import tomllib
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from belayed.config import address, current, nearest_project
from belayed.connections import Connections
from belayed.errors import ConfigError, StoreUnavailable
from belayed.jobs import Jobs
from belayed.store import open_store

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Place:
    """Which application, and where its jobs are, as the command line says."""

    app: str | None = None
    """None: not said; empty: none."""
    url: str | None = None

    def application(self) -> Application | None:
        """The application that was named on the command line, in BELAYED_APP or in pyproject.toml."""
        if self.app is not None or "BELAYED_APP" in os.environ:
            given = os.environ["BELAYED_APP"] if self.app is None else self.app
            return Application(given, "BELAYED_APP" if self.app is None else "--app", Path.cwd()) if given else None
        project = nearest_project()
        name = named_in(project) if project else None
        return Application(name, str(project), project.parent) if project and name else None

    def jobs(self, *, create: bool = False) -> Jobs:
        """The application's `Jobs`, or else those of the URL; they are closed with the command.

        Unless they may *create* it, an SQLite file must be there: a look at jobs leaves no empty file behind.
        """
        application = self.application()
        # Without an application too: workers import what jobs name.
        first_on_path(application.folder if application else Path.cwd())
        if application:
            jobs = application.load()
            if self.url:
                move(jobs, self.url)
        else:
            # The program's, so that jobs that enqueue others do it in the same place.
            current.jobs = jobs = Jobs(self.url)
        if not create:
            check_file(jobs)
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
        help="The application to import (or BELAYED_APP, or app in [tool.belayed] of pyproject.toml).",
        **common,
    )
    return app(url(command))


@dataclass(frozen=True)
class Application:
    """An application by its name, and who named it."""

    name: str
    source: str
    folder: Path

    @property
    def module(self) -> str:
        return self.name.partition(":")[0]

    def load(self) -> Jobs:
        """Import it; its `Jobs`: the one named, or the program's. Raises ConfigError."""
        attribute = self.name.partition(":")[2]
        if not all(part.isidentifier() for part in self.module.split(".")):
            raise ConfigError(f"{self.source} names {self.name!r}: write module or module:name, such as shop.jobs")
        found: Any = self.imported()
        for part in attribute.split(".") if attribute else ():
            if not hasattr(found, part):
                raise ConfigError(f"{self.source} names {self.name!r}: {self.module} has no {attribute}")
            found = getattr(found, part)
        jobs = found if isinstance(found, Jobs) else cast(Jobs, current())
        jobs.trust.add(self.module.partition(".")[0])
        return jobs

    def imported(self) -> Any:
        first_on_path(self.folder)
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name and f"{self.module}.".startswith(f"{error.name}."):
                raise ConfigError(
                    f"{self.source} names {self.name!r}, but there is no module {error.name}: looked in {self.folder} "
                    "and among the installed packages; start where it can be imported"
                ) from error
            raise ImportFailed(self, error) from error
        # A script without an `if __name__ == "__main__"` may well exit when it is imported.
        except (Exception, SystemExit) as error:
            raise ImportFailed(self, error) from error


class ImportFailed(click.ClickException):
    """The application's own code raised: that error is shown, with the frames of that code only."""

    exit_code = 2

    def __init__(self, application: Application, error: BaseException) -> None:
        super().__init__(f"{application.source} names {application.name!r}, which cannot be imported:")
        self.error = error

    def format_message(self) -> str:
        return f"{self.message}\n\n{self.trace}"

    @property
    def reason(self) -> str:
        """The error in a line."""
        return f"{type(self.error).__name__}: {self.error}"

    @property
    def trace(self) -> str:
        frames = [frame for frame in traceback.extract_tb(self.error.__traceback__) if not is_ours(frame.filename)]
        shown = [frame for frame in frames if not is_foreign(frame.filename)] or frames
        lines = traceback.format_list(shown) + traceback.format_exception_only(self.error)
        return "".join(lines).rstrip()


def is_ours(file: str) -> bool:
    return file.startswith("<frozen ") or Path(file).is_relative_to(Path(__file__).parents[1])


def is_foreign(file: str) -> bool:
    """Whether *file* is of the standard library or of an installed package."""
    path = Path(file)
    return "site-packages" in path.parts or path.is_relative_to(sysconfig.get_path("stdlib"))


def named_in(project: Path) -> str | None:
    """The application that a pyproject.toml names. Raises ConfigError."""
    try:
        name = tomllib.loads(project.read_text("utf-8")).get("tool", {}).get("belayed", {}).get("app")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{project} cannot be read: {error}") from error
    if name is not None and not isinstance(name, str):
        raise ConfigError(f'{project}: app in [tool.belayed] is {name!r}; write app = "module"')
    return name or None


def first_on_path(folder: Path) -> None:
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))


def move(jobs: Jobs, url: str) -> None:
    """Keep what *jobs* keeps at *url* instead: for all of the program's code that holds it."""
    jobs.close()
    jobs.url, jobs.address = url, address(url)
    jobs.config = replace(jobs.config, url=url)
    jobs.store = open_store(jobs.address.dialect, prefix=jobs.config.prefix, schema=jobs.config.schema)
    jobs.connections = Connections(jobs.address, synchronous=jobs.config.synchronous)


def check_file(jobs: Jobs) -> None:
    """Raise StoreUnavailable if the jobs are kept in an SQLite file that is not there."""
    file = jobs.address.target
    if jobs.address.dialect == "sqlite" and file != ":memory:" and not Path(file).exists():
        raise StoreUnavailable(
            f"there is no SQLite file {file}: the first enqueue makes it, as do `belayed work` and `belayed migrate`"
        )
