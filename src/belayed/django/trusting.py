"""Which code the rows of a project may name: the project's own, or what BELAYED['TRUST'] names and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from django.apps import apps
from django.conf import ENVIRONMENT_VARIABLE

from belayed.trust import Trust

NEVER = frozenset({"django", "belayed", *sys.stdlib_module_names})
"""Packages that are no project's own, whatever the settings module is."""


class ProjectTrust(Trust):
    """Without TRUST: packages outside of site-packages, and the one of the settings module wherever it is.

    That an application is installed in the project says nothing about who wrote it: most are other people's code, such
    as `django.contrib.auth`, whose functions make superusers.
    """

    def __init__(self, packages: Iterable[str] | None = None) -> None:
        super().__init__(packages)
        if packages is None and (own := project()) is not None:
            self.add(own)

    def fix(self, module: str) -> str:
        known = {*self._prefixes, *(package_of(one.name) for one in apps.get_app_configs() if self.covers(one.name))}
        named = ", ".join(repr(package) for package in sorted({*known, package_of(module)}))
        return f"if they should, set BELAYED = {{'TRUST': [{named}]}}, which is then all that they may run"

    _fix = fix


def project() -> str | None:
    """The package of the settings module, also where it is installed into site-packages, as containers do."""
    parts = os.environ.get(ENVIRONMENT_VARIABLE, "").split(".")
    if parts[0] in NEVER:
        return None
    for count in range(1, len(parts) + 1):
        package = ".".join(parts[:count])
        # Not a namespace package, which others have parts in.
        if getattr(sys.modules.get(package), "__file__", None) is not None:
            return package
    return None


def package_of(module: str) -> str:
    """The package to name for *module*: never the whole of Django, as that has commands and imports of any name."""
    top = module.partition(".")[0]
    if top not in NEVER:
        return top
    application = apps.get_containing_app_config(module)
    return application.name if application is not None else module
