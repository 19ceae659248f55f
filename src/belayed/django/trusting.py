"""Which code the rows of a project may name: the project's own, or what BELAYED['TRUST'] names and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

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
        self._uploads = uploads()
        if packages is None:
            for package in project():
                self.add(package)

    def covers(self, module: str) -> bool:
        """Whether code of *module* may be run. Nothing is imported to find out."""
        if within(module, self._uploads):
            return False
        top = module.partition(".")[0]
        if (bare := self._bare.get(top)) is None:
            bare = self._bare[top] = is_bare(top)
        return within(module, self._prefixes) if bare else super().covers(module)

    def forget(self) -> None:
        """As of Trust."""
        super().forget()
        self._bare.clear()

    def fix(self, module: str) -> str:
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


def uploads() -> list[str]:
    """What MEDIA_ROOT is called as a package, where it lies in a directory that modules are imported from."""
    if not settings.MEDIA_ROOT:
        return []
    place = Path(settings.MEDIA_ROOT)
    pairs = [(place.absolute(), Path(folder).absolute()) for folder in sys.path]
    # Both spellings, as one of the two may be a link.
    pairs += [(place.resolve(), Path(folder).resolve()) for folder in sys.path]
    inside = {one.relative_to(root).parts for one, root in pairs if one.is_relative_to(root)}
    return [".".join(parts) for parts in inside if parts]


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
