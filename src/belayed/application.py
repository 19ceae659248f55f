"""The program whose jobs these are: found by its name, imported, and asked for its `Jobs`."""

from __future__ import annotations

import importlib
import sys
import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from belayed.addresses import without_secrets
from belayed.config import current
from belayed.database import Database
from belayed.errors import ConfigError
from belayed.importing import watched
from belayed.misnamed import advice, as_module, deeper, holder, is_dotted, like, submodule
from belayed.mistakes import nearest

DJANGO = "belayed.django.start:jobs"
"""The application of a Django project."""
FOLDER = "_BELAYED_FOLDER"
"""The variable by which manage.py says where its project is, as it may be called from anywhere."""


@dataclass(frozen=True)
class Application:
    """An application by its name, and who named it."""

    name: str
    source: str
    folder: Path

    @property
    def shown(self) -> str:
        """Its name for messages: some write the URL of the database there."""
        return without_secrets(repr(self.name))

    @property
    def module(self) -> str:
        return self.name.partition(":")[0]

    @property
    def program(self) -> str:
        """What command lines of this application begin with."""
        if self.name == DJANGO:
            return f"{'python manage.py' if (self.folder / 'manage.py').is_file() else 'django-admin'} belayed"
        return f"belayed --app {quote(without_secrets(self.name))}" if self.source == "--app" else "belayed"

    def written(self, name: str) -> str:
        """How *name* is written where this application was named."""
        forms = {"--app": f"--app {name}", "BELAYED_APP": f"BELAYED_APP={name}"}
        return forms.get(self.source, f'app = "{name}"')

    def instead(self) -> str:
        """What to do where there is no such module."""
        outer, inner = holder(self.module) or (None, "")
        if outer and inner in vars(outer):
            return f"{inner} is in {outer.__name__}: {self.written(outer.__name__)}"
        if near := like(self.module, self.folder):
            return f"did you mean {self.written(near)}?"
        if folder := deeper(self.module, self.folder):
            return f"it is in {folder}: cd {quote(str(folder))}"
        if outer and not hasattr(outer, "__path__"):
            return f"{outer.__name__} is a module, with no others in it: {self.written(outer.__name__)}"
        return "start where it can be imported"

    def load(self) -> Any:
        """Import it; its `Jobs`: the one named, or the program's. Raises ConfigError."""
        attribute = self.name.partition(":")[2]
        if (meant := as_module(self.name, self.folder, self.written)) is not None:
            raise ConfigError(f"{self.source} names {self.shown}: {meant}")
        if not is_dotted(self.module):
            raise ConfigError(f"{self.source} names {self.shown}: write module or module:name, such as shop.jobs")
        found: Any = self.imported()
        parts = attribute.split(".") if attribute else []
        for count, part in enumerate(parts):
            if not hasattr(found, part):
                near = submodule(found, self.module, attribute)
                # Numbers and texts have no names of their own.
                if not near and (like_it := nearest(part, getattr(found, "__dict__", ()))):
                    near = f"{self.module}:{'.'.join((*parts[:count], like_it))}"
                meant = f"did you mean {self.written(near)}?" if near else ""
                raise ConfigError(
                    f"{self.source} names {self.shown}: {self.module} has no {attribute}; "
                    f"{meant or f'{self.written(self.module)} is enough'}"
                )
            found = getattr(found, part)
        jobs: Any = found if isinstance(found, Database) else current()
        # Belayed's own module that starts a Django project would let rows run any function of Belayed.
        package = self.module.partition(".")[0]
        if not jobs.trust.given and package != __name__.partition(".")[0]:
            jobs.trust.add(package)
        return jobs

    def imported(self) -> Any:
        first_on_path(self.folder)
        try:
            with watched(self.module):
                return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name and f"{self.module}.".startswith(f"{error.name}."):
                raise ConfigError(
                    f"{self.source} names {self.shown}, but there is no module {error.name}: looked in {self.folder} "
                    f"and among the installed packages; {self.instead()}"
                ) from error
            raise ImportFailed(self, error) from error
        # A script without an `if __name__ == "__main__"` may well exit when it is imported.
        except (Exception, SystemExit) as error:
            raise ImportFailed(self, error) from error


class InLines(ConfigError):
    """A mistake that is shown in several lines, as they are."""


class ImportFailed(InLines):
    """The application's own code raised: that error is shown, with the frames of that code only."""

    def __init__(self, application: Application, error: BaseException) -> None:
        self.what = f"{application.source} names {application.shown}, which cannot be imported:"
        self.error = error
        self.advice = without_secrets(advice(error))
        super().__init__("\n\n".join(part for part in (self.what, self.trace, self.advice) if part))

    @property
    def reason(self) -> str:
        """The error in a line."""
        return without_secrets(f"{type(self.error).__name__}: {self.error}")

    @property
    def trace(self) -> str:
        frames = [frame for frame in traceback.extract_tb(self.error.__traceback__) if not is_ours(frame.filename)]
        shown = [frame for frame in frames if not is_foreign(frame.filename)] or frames
        lines = traceback.format_list(shown) + traceback.format_exception_only(self.error)
        # A line of the source may hold the URL of the database.
        return without_secrets("".join(lines).rstrip())


def loaded(application: Application | None, url: str | None) -> Any:
    """The application's `Jobs`, moved to *url* if there is one; without an application those of the URL."""
    # Without an application too: workers import what jobs name.
    first_on_path(application.folder if application else Path.cwd())
    if application is None:
        # The program's, so that jobs that enqueue others do it in the same place.
        assert current.make is not None, "belayed.jobs sets it when it is imported"
        current.jobs = jobs = current.make(url)
        return jobs
    jobs = application.load()
    if url:
        jobs.move(url)
    return jobs


def first_on_path(folder: Path) -> None:
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))


def is_ours(file: str) -> bool:
    """Whether *file* has only to do with the import."""
    return file.startswith("<frozen ") or file == importlib.__file__ or Path(file).is_relative_to(Path(__file__).parent)


def is_foreign(file: str) -> bool:
    """Whether *file* is of the standard library or of an installed package."""
    path = Path(file)
    return "site-packages" in path.parts or path.is_relative_to(sysconfig.get_path("stdlib"))
