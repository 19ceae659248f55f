"""Numbered migrations: brings a database's tables to this version, and refuses those of a newer one."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from belayed.errors import ConfigError, SchemaMissing, SchemaNewer
from belayed.steps import Ask, Statement, Steps
from belayed.store.answers import Checked
from belayed.store.statements import COMMENT, Tables, split, statement


@cache
def migrations(dialect: str, tables: Tables) -> dict[int, list[Statement]]:
    """The statements of each version, in order."""
    folder = files("belayed.store").joinpath("migrations", dialect)
    found = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            code = tables.fill(COMMENT.sub("", file.read_text("utf-8")))
            found[int(file.name.partition("_")[0])] = [statement(file.name, one) for one in split(code)]
    return found


def latest(dialect: str) -> int:
    """The version that this code needs."""
    return max(migrations(dialect, Tables()))


def checked(version: int | None, dialect: str) -> int:
    """*version* if this code can work with it."""
    needed = latest(dialect)
    if version is None or version < needed:
        have = f"are of version {version}, this Belayed needs {needed}" if version else "are not in this database"
        raise SchemaMissing(f"Belayed's tables {have}: run `belayed migrate`")
    if version > needed:
        raise SchemaNewer(
            f"Belayed's tables are of version {version}, made by a newer Belayed than this one ({needed}): "
            "upgrade this one (pip install -U belayed); it changes nothing here"
        )
    return version


def migrate(store: Any, upto: int | None = None) -> Steps[list[int]]:
    """Apply what is missing, in one transaction, for as long as it takes: it may build an index on a big table."""
    tables = store.tables
    yield Ask(store.calls("lock_versions", table=tables.named("versions")), patient=True)
    have = None
    there = yield from found(store, "has_versions", table=tables.named("versions"))
    if there:
        have = yield from found(store, "version")
        if have is not None and have > latest(store.dialect):
            checked(have, store.dialect)
    missing = {
        number: statements
        for number, statements in migrations(store.dialect, tables).items()
        if (have is None or number > have) and (upto is None or number <= upto)
    }
    # Nothing is made that is there: IF NOT EXISTS asks for the right to make it, too.
    if missing and not there:
        (row,) = (yield Ask(store.calls("check"), patient=True))[-1]
        if fault := store.unfit(Checked(*row)):
            raise ConfigError(f"Belayed makes no tables in this database: {fault}")
        if tables.schema and "create_schema" in store.statements:
            if not (yield from found(store, "has_schema", name=tables.schema)):
                yield Ask(store.calls("create_schema"), patient=True)
        yield Ask(store.calls("create_versions"), patient=True)
    for number, statements in missing.items():
        calls = [*((one, {}) for one in statements), *store.calls("migrated", version=number)]
        yield Ask(calls, patient=True)
    return [*missing]


def found(store: Any, name: str, /, **params: Any) -> Steps[Any]:
    """The one value that a statement of the catalogue answers, for as long as it takes."""
    ((value,),) = (yield Ask(store.calls(name, **params), patient=True))[-1]
    return value
