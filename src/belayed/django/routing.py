"""Database routers: whether the project's let the tables of jobs be in the database that jobs live in."""

from __future__ import annotations

from contextlib import suppress

from django.apps import apps
from django.db import connections, router
from django.db.migrations.recorder import MigrationRecorder

from belayed.errors import ConfigError

LABEL = "belayed"


def is_allowed(alias: str) -> bool:
    """Whether the routers allow the tables of jobs in a database. Raises ConfigError if they do so for some only."""
    models = list(apps.get_app_config(LABEL).get_models())
    refused = [model.__name__ for model in models if not router.allow_migrate_model(alias, model)]
    if refused and len(refused) < len(models):
        raise ConfigError(
            f"{routers()} not allow {', '.join(refused)} in the database {alias!r}, but the other models of {LABEL}: "
            f"jobs need all their tables in one database; let allow_migrate decide by the app label {LABEL!r} alone"
        )
    return not refused


def refusal(alias: str) -> tuple[str, str] | None:
    """Why `migrate` makes no tables for jobs in a database, and what to do about it; None: it does."""
    try:
        if is_allowed(alias):
            return None
    except ConfigError as error:
        what, _, fix = str(error).partition(": ")
        return what, fix
    return (
        f"{routers()} not allow the tables of jobs in the database {alias!r}",
        f"let allow_migrate({alias!r}, {LABEL!r}, …) return True or None, or keep jobs in another: BELAYED['DATABASE']",
    )


def routers() -> str:
    """The project's routers, as the subject of a sentence about what they do not do."""
    names = [type(one).__qualname__ for one in router.routers]
    return f"the database router {names[0]} does" if len(names) == 1 else f"the database routers {', '.join(names)} do"


def is_recorded(alias: str) -> bool:
    """Whether Django takes the migrations for applied, as it does where a router has kept them from doing anything."""
    connection = connections[alias]
    if connection.in_atomic_block:
        # It may be broken, and nothing can be asked then.
        return False
    with suppress(Exception):
        return any(label == LABEL for label, _ in MigrationRecorder(connection).applied_migrations())
    return False


def remedy(alias: str) -> str:
    """What to do about tables that are missing: a command, or why a command alone does not help."""
    command = f"python manage.py migrate{where(alias)}"
    if (why := refusal(alias)) is not None:
        return ": ".join(why)
    if is_recorded(alias):
        return (
            "Django has their migrations on record, as it has where a database router did not allow them then: run "
            f"`{command} --fake {LABEL} zero`, and then `{command}`"
        )
    return command


def where(alias: str) -> str:
    """What to add to `manage.py migrate` for a database."""
    return "" if alias == "default" else f" --database={alias}"
