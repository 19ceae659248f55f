"""By what the place of the jobs was named: a wrong database answers as well as the right one, and says nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from belayed.addresses import hidden
from belayed.config import Address, address, default_url, nearest_project
from belayed.errors import ConfigError

VARIABLES = ("BELAYED_URL", "DATABASE_URL")
INSTEAD = "or say where jobs are kept: BELAYED_URL, or belayed.configure(url)"
APPLICATION = "belayed.django"


def found(environ: Mapping[str, str] | None = None) -> Address:
    """Where jobs are kept if the program does not say it. Raises ConfigError."""
    environ = os.environ if environ is None else environ
    if not environ.get("BELAYED_URL"):
        refuse_for_django(environ)
    variable = next((name for name in VARIABLES if environ.get(name)), None)
    try:
        return address(default_url(environ))
    except ConfigError as error:
        other = "; BELAYED_URL counts for more than it" if variable == "DATABASE_URL" else ""
        raise ConfigError(f"{variable}: {error}{other}") from error


def refuse_for_django(environ: Mapping[str, str]) -> None:
    """Raise ConfigError in a Django project, whose jobs are where its settings say, and in no file beside it."""
    conf: Any = sys.modules.get("django.conf")
    apps: Any = getattr(sys.modules.get("django.apps"), "apps", None)
    if conf is None or not conf.settings.configured:
        if environ.get("DJANGO_SETTINGS_MODULE"):
            raise ConfigError(
                "DJANGO_SETTINGS_MODULE is set, but Django has not been set up in this program: call django.setup() "
                f"before; {INSTEAD}"
            )
        return
    is_ready = apps is not None and apps.ready
    named: Any = getattr(conf.settings, "INSTALLED_APPS", ())
    is_named = any(f"{name}.".startswith(f"{APPLICATION}.") for name in named)
    if not (is_named or apps is not None and is_ready and apps.is_installed(APPLICATION)):
        raise ConfigError(
            f"this Django project does not have Belayed: add {APPLICATION!r} to INSTALLED_APPS; {INSTEAD}"
        )
    if not is_ready:
        raise ConfigError(f"Django has not been set up yet in this program: call django.setup() before; {INSTEAD}")
    raise ConfigError(
        "jobs of a Django project are kept where its settings say: use belayed.enqueue() and the like as they are, "
        "with settings in BELAYED = {…}; or name a URL"
    )


def named_by(place: Address, environ: Mapping[str, str] | None = None) -> str:
    """By what a place was named, as far as it shows; empty if by the program or the command line."""
    environ = os.environ if environ is None else environ
    for variable in VARIABLES:
        if environ.get(variable):
            with suppress(ConfigError):
                if address(environ[variable]) == place:
                    return f"by {variable}"
    return "by default, as no URL was given" if is_default(place, environ) else ""


def is_default(place: Address, environ: Mapping[str, str] | None = None) -> bool:
    """Whether a place is the one that is taken where nothing names any."""
    environ = os.environ if environ is None else environ
    with suppress(ConfigError, OSError):
        return not any(environ.get(name) for name in VARIABLES) and address(default_url({})) == place
    return False


def shown(place: Address) -> str:
    """A place for people, and by what it was named."""
    by = named_by(place)
    return f"{hidden(place.url)}{f' ({by})' if by else ''}"


def advice(place: Address) -> str:
    """What to do if a place is the wrong one, as a clause that begins with `; `; empty if nothing suggests that."""
    if not is_default(place):
        return ""
    if (manage := nearby_project()) is not None:
        return (
            f"; {manage} belongs to a Django project, whose jobs are seen by `python {manage} belayed …` only, and by "
            "`belayed …` with DJANGO_SETTINGS_MODULE"
        )
    return "; if jobs are enqueued elsewhere, name their database here too: BELAYED_URL, --url, or --app"


def nearby_project() -> Path | None:
    """The manage.py of a Django project in this folder, above it up to the nearest pyproject.toml, or just below."""
    with suppress(OSError):
        here, project = Path.cwd(), nearest_project()
        above = [here, *here.parents]
        if project is not None:
            above = above[: above.index(project.parent) + 1]
        for path in (*(folder / "manage.py" for folder in above), *sorted(here.glob("*/manage.py"))):
            with suppress(OSError):
                if b"DJANGO_SETTINGS_MODULE" in path.read_bytes():
                    return path.relative_to(here) if path.is_relative_to(here) else path
    return None
