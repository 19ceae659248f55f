"""The migration operation that brings Belayed's tables to a version."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError
from django.db.migrations.operations.base import Operation

from belayed.django import conf
from belayed.django.jobs import wrapped
from belayed.django.routing import is_allowed
from belayed.errors import ConfigError
from belayed.steps import run
from belayed.store import Store, open_store


class Tables(Operation):
    """Applies the numbered SQL up to *version*, in the database that jobs live in, and writes its version row."""

    reversible = True
    reduces_to_sql = False
    atomic = True

    def __init__(self, version: int) -> None:
        self.version = version

    def state_forwards(self, app_label: str, state: Any) -> None:
        """The models are declared beside it."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        connection = schema_editor.connection
        if not wanted(connection.alias):
            return
        connection.ensure_connection()
        inner: Any = wrapped(connection)
        run(store_of(connection.alias).migrate(self.version), inner.send)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        connection = schema_editor.connection
        if self.version > 1 or not wanted(connection.alias):
            return
        connection.ensure_connection()
        inner: Any = wrapped(connection)
        run(store_of(connection.alias).drop(), inner.send)

    def describe(self) -> str:
        return f"Bring the tables of jobs to version {self.version}"


def wanted(alias: str) -> bool:
    """Whether jobs live in this database, as the others have no such tables, and routers allow them there.

    A library with a schema for each tenant refuses them in those of tenants. Raises CommandError.
    """
    try:
        return alias == conf.alias() and is_allowed(alias)
    except ConfigError as error:
        raise CommandError(str(error)) from error


def store_of(alias: str) -> Store:
    return open_store(conf.dialect_of(alias), schema=conf.schema())
