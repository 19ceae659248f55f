"""What a Dockerfile installs: the application by its own files, and the extras of Belayed that it uses."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from belayed.errors import ConfigError

BRINGS = {
    "postgres": ("psycopg",),
    "asyncpg": ("asyncpg", "psycopg"),
    "aiosqlite": ("aiosqlite",),
    "pydantic": ("pydantic",),
    "django": ("django",),
    "titles": ("setproctitle",),
}
"""The extras that a worker may need, and the packages that each brings."""
OF_SCHEMES = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "postgresql+asyncpg": "asyncpg",
    "sqlite+aiosqlite": "aiosqlite",
}
"""The extra that a database URL asks for, by its scheme."""
REQUIREMENT = re.compile(r"\s*(?:\S+#egg=)?([A-Za-z0-9][\w.-]*)\s*(?:\[([^\]]*)\])?", re.ASCII)
LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "Pipfile.lock")


@dataclass
class Named:
    """The packages that some requirements name, and the extras of Belayed."""

    packages: set[str] = field(default_factory=set)
    extras: set[str] = field(default_factory=set)

    def add(self, package: str, extras: Iterable[Any] = ()) -> None:
        package = re.sub(r"[-_.]+", "-", package).lower()
        self.packages.add(package)
        if package == "belayed":
            self.extras.update(str(extra).strip().lower() for extra in extras)

    def take(self, other: Named) -> None:
        self.packages |= other.packages
        self.extras |= other.extras

    def brings(self, extra: str) -> bool:
        """Whether these requirements install what an extra would."""
        return bool({extra, "all"} & self.extras) or self.packages.issuperset(BRINGS[extra])


def install(folder: Path, url: str, *, is_django: bool) -> str:
    """The lines of a Dockerfile that install the application in *folder*, whose jobs are kept at *url*."""
    lines, installed = own(folder)
    wanted = {extra for extra in mentioned(folder).extras if extra in BRINGS}
    wanted |= {extra for extra in BRINGS if locked(folder).packages.issuperset(BRINGS[extra])}
    if (scheme := url.partition("://")[0].lower()) in OF_SCHEMES:
        wanted.add(OF_SCHEMES[scheme])
    elif scheme.partition("+")[0] in OF_SCHEMES:
        wanted.add(OF_SCHEMES[scheme.partition("+")[0]])
    if is_django:
        wanted.add("django")
    missing = {extra for extra in wanted if not installed.brings(extra)}
    # What another one of them brings need not be named.
    missing -= {one for one in missing for other in missing - {one} if set(BRINGS[one]) < set(BRINGS[other])}
    if missing:
        # In a line of its own: with hashes in its requirements pip takes nothing beside them.
        lines.insert(-1, f"RUN pip install --no-cache-dir 'belayed[{','.join(sorted(missing))}]'")
    elif "belayed" not in installed.packages:
        lines.insert(-1, "RUN pip install --no-cache-dir belayed")
    return "\n".join(line for line in lines if line)


def own(folder: Path) -> tuple[list[str], Named]:
    """How the application's own files are installed, and what that brings. The last line may be empty."""
    requirements, project = folder / "requirements.txt", folder / "pyproject.toml"
    if requirements.is_file():
        named = listed(requirements)
        return ["COPY requirements.txt .", "RUN pip install --no-cache-dir -r requirements.txt", "COPY . ."], named
    if is_package(folder):
        return ["COPY . .", "RUN pip install --no-cache-dir .", ""], declared(toml(project))
    return ["COPY . .", ""], Named()


def is_package(folder: Path) -> bool:
    """Whether pip can install the folder: a pyproject.toml may be there for the settings of tools alone."""
    project = toml(folder / "pyproject.toml")
    return "project" in project or "build-system" in project or (folder / "setup.py").is_file()


def mentioned(folder: Path) -> Named:
    """All that the folder's files name, in groups that are not installed by default too."""
    project = toml(folder / "pyproject.toml")
    named = declared(project)
    for group in (part(project, "project", "optional-dependencies"), part(project, "dependency-groups")):
        for lines in group.values():
            named.take(of_lines(lines))
    for group in part(project, "tool", "poetry", "group").values():
        named.take(of_table(part(group, "dependencies")))
    named.take(of_table(part(toml(folder / "Pipfile"), "packages")))
    for path in sorted(folder.glob("requirements*.txt")):
        named.take(listed(path))
    named.take(locked(folder))
    return named


def declared(project: Mapping[str, Any]) -> Named:
    """What a pyproject.toml has installed with its package."""
    dependencies = part(project, "project").get("dependencies")
    named = of_lines(dependencies if isinstance(dependencies, list) else ())
    named.take(of_table(part(project, "tool", "poetry", "dependencies")))
    return named


def locked(folder: Path) -> Named:
    """What the lock files of the folder name."""
    named = Named()
    for name in LOCKS:
        lock = toml(folder / name)
        packages = [one for key in ("package", "packages") for one in lock.get(key, ()) if isinstance(one, dict)]
        for package in packages:
            extras = package.get("extras")
            named.add(str(package.get("name")), extras if isinstance(extras, list) else ())
            for one in package.get("dependencies", ()) if name == "uv.lock" else ():
                named.add(str(one.get("name")), one.get("extra", ()))
        named.take(of_table(part(lock, "default")))
    return named


def of_lines(lines: Iterable[Any]) -> Named:
    """What requirements in the form of pip name."""
    named = Named()
    for line in lines:
        if isinstance(line, str) and (found := REQUIREMENT.match(line)):
            named.add(found[1], (found[2] or "").split(","))
    return named


def of_table(table: Mapping[str, Any]) -> Named:
    """What a table of packages names, as Poetry and Pipenv have it: `belayed = {extras = ["postgres"]}`."""
    named = Named()
    for package, how in table.items():
        extras = how.get("extras") if isinstance(how, dict) else None
        named.add(package, extras if isinstance(extras, list) else ())
    return named


def listed(path: Path) -> Named:
    """What a requirements file names, with those that it includes."""
    return of_lines(lines_of(path, set()))


def lines_of(path: Path, seen: set[Path]) -> Iterator[str]:
    path = path.absolute()
    if path in seen:
        return
    seen.add(path)
    for line in text_of(path).splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if included := re.match(r"(?:-r|--requirement)[\s=]*(.+)", line):
            yield from lines_of(path.parent / included[1], seen)
        elif line in (".", "-e ."):
            yield from part(toml(path.parent / "pyproject.toml"), "project").get("dependencies", ())
        else:
            yield re.sub(r"^(?:-e|--editable)[\s=]+", "", line)


def part(table: Any, *names: str) -> Mapping[str, Any]:
    """A table within a table; empty if there is none."""
    for name in names:
        table = table.get(name) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else {}


def toml(path: Path) -> dict[str, Any]:
    """What is in a file of TOML or JSON; nothing if there is none. Raises ConfigError."""
    text = text_of(path)
    if not text.strip():
        return {}
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return found if isinstance(found, dict) else {}


def text_of(path: Path) -> str:
    with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
        try:
            return path.read_text("utf-8")
        except (PermissionError, ValueError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
    return ""
