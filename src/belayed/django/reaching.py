"""System checks of the connections that are Belayed's own: a worker's, and the one that looks for the tables."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.db import connections
from django.db.backends.signals import connection_created

from belayed.config import MEMORY
from belayed.django.jobs import DjangoConnection, DjangoJobs
from belayed.errors import BelayedError
from belayed.pages import Page

PATIENCE = 5.0
"""Seconds to wait for an answer of the database."""
OPENING = ("connect", "get_new_connection", "init_connection_state", "_configure_connection", "_configure_role")
"""The methods of Django's engines that open a connection and set it up."""
INSTEAD = (
    "If workers need what it sets, set it in OPTIONS ('options': '-c …', 'assume_role', 'init_command'), in the "
    "engine's get_connection_params(), or in the database (ALTER ROLE … SET …). If they do not, silence this check."
)


def unreached(jobs: DjangoJobs) -> list[checks.CheckMessage]:
    """Why a connection as a worker opens it cannot be used; Django's own can be."""
    if jobs.address.target == MEMORY:
        return []
    try:
        connection = jobs.connections.open(PATIENCE, PATIENCE)
        try:
            if connection.perform(jobs.store.place()) is not None or not seen_by_django(jobs):
                return []
            why = (
                "it does not see the tables of jobs, which Django's own sees: its role, or its search path, is another"
            )
        finally:
            connection.close()
    except BelayedError as error:
        why = str(error)
    return [
        checks.Error(
            f"workers cannot use the database {jobs.alias!r}, though Django can: {why}",
            hint="A worker connects with what the engine's get_connection_params() returns, 'assume_role' and "
            f"'init_command': see {Page.DJANGO.named('Workers')}.",
            id="belayed.E006",
        )
    ]


def seen_by_django(jobs: DjangoJobs) -> bool:
    """Whether Django's own connection sees the tables."""
    return DjangoConnection(jobs.alias).perform(jobs.store.place()) is not None


def unheeded(alias: str) -> list[checks.CheckMessage]:
    """Code of the project that Django calls for each of its connections, and that workers cannot call for theirs."""
    found: list[checks.CheckMessage] = []
    if handlers := receivers(alias):
        found.append(
            checks.Info(
                f"receivers of connection_created are not called for the own connections of workers: "
                f"{', '.join(handlers)}",
                hint=INSTEAD,
                id="belayed.I002",
            )
        )
    engine = type(connections[alias])
    if methods := [name for name in OPENING if hasattr(engine, name) and not is_djangos(getattr(engine, name))]:
        found.append(
            checks.Info(
                f"the engine {connections.databases[alias]['ENGINE']} opens connections by code of its own, which is "
                f"not called for those of workers: {', '.join(methods)}",
                hint=INSTEAD,
                id="belayed.I003",
            )
        )
    return found


def receivers(alias: str) -> list[str]:
    """The receivers of connection_created for a database that are not of Django itself."""
    # Of coroutines, too: Django has them apart.
    live: Any = connection_created._live_receivers(sender=type(connections[alias]))
    return sorted({name_of(one) for some in live for one in some if not is_djangos(one)})


def is_djangos(call: Any) -> bool:
    return module_of(call).partition(".")[0] == "django"


def module_of(call: Any) -> str:
    return str(getattr(call, "__module__", None) or type(call).__module__)


def name_of(call: Any) -> str:
    return f"{module_of(call)}.{getattr(call, '__qualname__', type(call).__qualname__)}"
