"""Which code the rows of a project may name: the project's own, or what BELAYED['TRUST'] names and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from pkgutil import get_importer

from django.apps import apps
from django.conf import ENVIRONMENT_VARIABLE, settings

from belayed.trust import Trust, _is_foreign

NEVER = frozenset({"django", "belayed", *sys.stdlib_module_names})
"""Packages that are no project's own, whatever the settings module is."""


class ProjectTrust(Trust):
    """Without TRUST: packages outside of site-packages, and the one of the settings module wherever it is.

    That an application is installed in the project says nothing about who wrote it: most are other people's code, such
    as `django.contrib.auth`, whose functions make superusers. And not every directory beside `manage.py` is code: one
    without an `__init__.py`, as uploads lie in, counts only for the applications in it.
    """

    def __init__(self, packages: Iterable[str] | None = None) -> None:
        super().__init__(packages)
        self._bare: dict[str, bool] = {}
        self._code: dict[str, bool] = {}
        if packages is None:
            for package in project():
                self.add(package)

    def covers(self, module: str) -> bool:
        """Whether code of *module* may be run. Nothing is imported to find out."""
        top = module.partition(".")[0]
        if (bare := self._bare.get(top)) is None:
            bare = self._bare[top] = is_bare(top)
        covered = within(module, self._prefixes) if bare else super().covers(module)
        return covered and self._is_code(module)

    def _is_code(self, module: str) -> bool:
        """Whether none of the directories that lead to *module* is one that uploads may lie in."""
        if (known := self._code.get(module)) is not None:
            return known
        steps = dict(files_of(module))
        if are_uploads(steps) or self._uncovered(steps) is not None:
            self._code[module] = False
            return False
        if module in steps:
            # Else it is not there yet, or no file.
            self._code[module] = True
        return True

    def _uncovered(self, steps: Mapping[str, str | None]) -> str | None:
        """The first directory without an `__init__.py` that is not covered by its own name."""
        return next((name for name, file in steps.items() if file is None and not self._names(name)), None)

    def _names(self, directory: str) -> bool:
        """Whether a directory without an `__init__.py`, or what is in it, is covered by its own name."""
        return any(within(prefix, [directory]) for prefix in self._prefixes)

    def forget(self) -> None:
        """As of Trust."""
        super().forget()
        self._bare.clear()
        self._code.clear()

    def refusal(self, name: str) -> str:
        module = name.partition(":")[0]
        return f"{name}: workers may not run code of {module!r}{self.why(module)}; {self.fix(module)}"

    def why(self, module: str) -> str:
        """What keeps *module* from being covered."""
        steps = dict(files_of(module))
        if are_uploads(steps):
            return ", as it lies in MEDIA_ROOT, among what was uploaded"
        if self.given and not within(module, self._prefixes):
            return ", as BELAYED['TRUST'] does not name it"
        if (bare := self._uncovered(steps)) is not None:
            return (
                f", as {bare.replace('.', '/')!r} is a directory without an __init__.py, and in none of "
                "INSTALLED_APPS: add the one, or the application to the other"
            )
        return ", as it is not the project's own: it is Python's, or was installed as a package" if steps else ""

    def fix(self, module: str) -> str:
        if are_uploads(dict(files_of(module))):
            return "keep code elsewhere"
        known = {*self._prefixes, *(package_of(one.name) for one in apps.get_app_configs() if self.covers(one.name))}
        named = ", ".join(repr(package) for package in sorted({*known, package_of(module)}))
        return f"if they should, set BELAYED = {{'TRUST': [{named}]}}, which is then all that they may run"


def within(module: str, packages: Iterable[str]) -> bool:
    """Whether *module* is one of *packages*, or below one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def project() -> Iterable[str]:
    """What is the project's own though its top-level package does not say so.

    These are its applications in directories without an `__init__.py`, and the package of the settings module also
    where it is installed into site-packages, as containers do.
    """
    for one in apps.get_app_configs():
        if is_bare(one.name.partition(".")[0]) and not _is_foreign(one.path):
            yield one.name
    parts = os.environ.get(ENVIRONMENT_VARIABLE, "").split(".")
    names = [".".join(parts[:count]) for count in range(1, len(parts) + 1)] if parts[0] not in NEVER else []
    # Not a namespace package, which others may have parts in.
    yield from [name for name in names if getattr(sys.modules.get(name), "__file__", None) is not None][:1]


def files_of(module: str) -> Iterator[tuple[str, str | None]]:
    """The packages that lead to *module*, and it, as far as they are files: each with its file, or None if it has none.

    Nothing is imported. A top-level package may be anywhere; what is below it is looked for in its directories.
    """
    name, spec = "", None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        try:
            spec = find_spec(part) if spec is None else found_in(spec.submodule_search_locations or (), name)
        except (ImportError, ValueError, AttributeError):
            return
        if spec is None:
            return
        yield name, spec.origin if spec.has_location else None
        if spec.submodule_search_locations is None:
            return


def found_in(folders: Iterable[str], name: str) -> ModuleSpec | None:
    """What the import system would find of *name* in the *folders* of its package, without that being imported."""
    bare = ModuleSpec(name, None, is_package=True)
    for folder in folders:
        finder = get_importer(folder)
        spec = finder.find_spec(name) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return spec
        if spec is not None and bare.submodule_search_locations is not None:
            bare.submodule_search_locations += spec.submodule_search_locations or ()
    return bare if bare.submodule_search_locations else None


def are_uploads(steps: Mapping[str, str | None]) -> bool:
    """Whether any of the files that lead to a module was uploaded."""
    return any(is_upload(file) for file in steps.values())


def is_upload(file: str | None) -> bool:
    """Whether a file lies in MEDIA_ROOT, by any links; unless modules are imported from there or from below it."""
    if not file or not settings.MEDIA_ROOT:
        return False
    place = Path(settings.MEDIA_ROOT).resolve()
    if any(Path(folder).resolve().is_relative_to(place) for folder in sys.path):
        return False
    return Path(file).resolve().is_relative_to(place)


def is_bare(top: str) -> bool:
    """Whether a top-level package is a directory without an `__init__.py`: a namespace package."""
    try:
        spec = find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return False
    return spec is not None and spec.origin is None and spec.submodule_search_locations is not None


def package_of(module: str) -> str:
    """The package to name for *module*: never the whole of Django, as that has commands and imports of any name."""
    top, *below = module.split(".")
    if top in NEVER:
        application = apps.get_containing_app_config(module)
        return application.name if application is not None else module
    return f"{top}.{below[0]}" if below and is_bare(top) else top
