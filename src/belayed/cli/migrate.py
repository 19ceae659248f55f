"""`migrate`: makes Belayed's tables, or brings them to this version."""

from __future__ import annotations

from collections.abc import Iterator

import click

from belayed.addresses import hidden
from belayed.cli.app import Place, options
from belayed.cli.show import counted, echo
from belayed.jobs import Jobs
from belayed.store import schema
from belayed.store.sql import SqlStore


@click.command()
@click.option("--sql", is_flag=True, help="Print the statements of all versions instead; touch no database.")
@options
@click.pass_obj
def migrate(place: Place, sql: bool) -> None:
    """Make Belayed's tables, or bring them to this version. Running it again does nothing."""
    jobs = place.jobs(create=True)
    if sql:
        echo("\n".join(statements(jobs)))
        return
    applied = jobs.migrate()
    needed = schema.latest(jobs.address.dialect)
    if applied:
        versions = f"version{'' if len(applied) == 1 else 's'} {', '.join(map(str, applied))}"
        echo(f"Applied {versions}: the tables in {hidden(jobs.url)} are ready.")
    else:
        echo(f"Nothing to do: the tables in {hidden(jobs.url)} are of version {needed}, as they should be.")


def statements(jobs: Jobs) -> Iterator[str]:
    """What `migrate` would run on a database without tables, version by version."""
    store = jobs.store
    assert isinstance(store, SqlStore)
    found = schema.migrations(store.dialect, store.tables)
    yield f"-- Belayed's tables for {store.dialect}, {counted(len(found), 'version')}."
    if store.tables.schema and "create_schema" in store.statements:
        yield from (f"{one.named};" for one in store.statements["create_schema"])
    yield from (f"{one.named};" for one in store.statements["create_versions"])
    for version, texts in found.items():
        yield f"\n-- Version {version}\nBEGIN;"
        yield from (f"{one.named};" for one in texts)
        yield from (f"{one.named.replace(':version', str(version))};" for one in store.statements["migrated"])
        yield "COMMIT;"
