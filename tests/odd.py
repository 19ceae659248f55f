"""Rows with every odd value in every column of every table: as a program writes them that is not Belayed."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from belayed.config import address

TABLES = ("jobs", "history", "attempts", "workers", "queues")
LONG = 70_000
"""Characters: more than any column but the payload and the result takes."""
NESTED = "[" * 3000
SQLITE = (
    "NULL", "'x'", "''", "x'00ff'", "CAST(x'61ff' AS text)", "9223372036854775807", "-9223372036854775808", "1e999",
    "-1e999", "-1", "0", "1.5", "253402300800000000", "-62135596800000001", "2147483648", "'a' || char(0, 10, 27)",
    f"'{'é' * LONG}'", f"'{NESTED}'", "'[1]'", "'{\"a\": NaN, \"b\": \"\\ud800\"}'", "'unreadable'",
)  # fmt: skip
LAST_ID = "9223372036854775807"
POSTGRES = {
    "timestamp with time zone": ("'infinity'", "'-infinity'", "'4713-01-01 BC'", "'20000-01-01'", "'0001-01-01 BC'"),
    "integer": ("2147483647", "-2147483648", "-1", "0"),
    "bigint": ("9223372036854775807", "-9223372036854775808", "-1", "0"),
    "double precision": ("'NaN'", "'Infinity'", "'-Infinity'", "-1", "1e300", "0"),
    "boolean": ("true", "false"),
    "text": ("''", "'x'", "E'a\\n\\x1b'", f"repeat('é', {LONG})", f"'{NESTED}'", "'[1]'",
             "'{\"a\": NaN, \"b\": \"\\ud800\", \"c\": \"\\u0000\"}'", "'unreadable'"),
}  # fmt: skip


@dataclass(frozen=True)
class Odd:
    """A row that was let in: where its odd value is, and its primary key; None if that is what is odd."""

    table: str
    column: str
    value: str
    key: Any


class Writer:
    """A connection of a program that is not Belayed."""

    def __init__(self, raw: Any) -> None:
        self.raw, self.lite = raw, isinstance(raw, sqlite3.Connection)

    def rows(self, text: str) -> list[Any]:
        return list(self.raw.execute(text).fetchall())

    def done(self, text: str) -> bool:
        """Whether the database takes the statement."""
        try:
            with self.tried():
                self.raw.execute(text)
        except (sqlite3.Error, psycopg.Error):
            return False
        return True

    @contextmanager
    def tried(self) -> Iterator[None]:
        if not self.lite:
            with self.raw.transaction():
                yield
            return
        self.raw.execute("SAVEPOINT odd")
        try:
            yield
        except BaseException:
            self.raw.execute("ROLLBACK TO odd")
            raise
        finally:
            self.raw.execute("RELEASE odd")

    def columns(self, table: str) -> list[tuple[str, str]]:
        """The names and types of a table's columns, the primary key first."""
        if self.lite:
            found = self.rows(f"SELECT name, type FROM pragma_table_info('belayed_{table}') ORDER BY pk DESC, cid")
            return [(name, kind) for name, kind in found]
        text = (
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'belayed_{}' ORDER BY {}"
        )
        return self.rows(text.format(table, "column_name NOT IN ('id', 'name'), ordinal_position"))

    def odd_values(self, kind: str) -> tuple[str, ...]:
        return SQLITE if self.lite else ("NULL", *POSTGRES[kind])

    def add(self, table: str, template: Any) -> list[Odd]:
        """Rows like that of a primary key, with each odd value in each column: those that the database takes."""
        (key, kind), *others = self.columns(table)
        number = key == "id" and table != "workers"
        names = [key, *(name for name, _ in others)]
        given = str(template) if number else f"'{template}'"
        odd = []
        for column, column_kind in [(key, kind), *others]:
            for value in self.odd_values(column_kind):
                if column == "id" and value == LAST_ID and self.lite:
                    # After it SQLite gives no more ids: AUTOINCREMENT counts from the largest that there was.
                    continue
                count = next(self.counter)
                own = str(count) if number else f"'odd-{count}'"
                values = {**{name: name for name in names}, key: own, column: value}
                text = f"INSERT INTO belayed_{table} ({', '.join(names)}) SELECT {', '.join(values.values())} "
                if self.done(f"{text} FROM belayed_{table} WHERE {key} = {given}"):
                    whose = None if column == key else count if number else f"odd-{count}"
                    odd.append(Odd(table, column, value, whose))
        return odd

    counter = iter(range(1_000_000, 2_000_000))

    def without_checks(self) -> None:
        """Take the checks away, as a file of another program or an administrator may have lost them."""
        if self.lite:
            self.raw.execute("PRAGMA writable_schema = ON")
            checked = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql LIKE '%CHECK%'"
            for name, text in self.rows(checked):
                loose = re.sub(r",\n    CHECK [^\n]*?(?=,?\n)", "", re.sub(r"\) STRICT(, )?", ") ", text))
                assert "CHECK" not in loose
                self.raw.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (loose, name))
            version = self.rows("PRAGMA schema_version")[0][0]
            self.raw.execute(f"PRAGMA schema_version = {version + 1}")
            self.raw.execute("PRAGMA writable_schema = OFF")
            return
        found = self.rows(
            "SELECT table_name, column_name, data_type, collation_name FROM information_schema.columns "
            "WHERE table_name LIKE 'belayed%' AND domain_name IS NOT NULL"
        )
        for table, column, kind, collation in found:
            collate = sql.SQL(' COLLATE "C"' if collation == "C" else "")
            self.raw.execute(
                sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {}{}").format(
                    sql.Identifier(table), sql.Identifier(column), sql.SQL(kind), collate
                )
            )


@contextmanager
def writer(url: str) -> Iterator[Writer]:
    """A connection of its own, whose rows are committed at the end."""
    at = address(url)
    if at.dialect == "sqlite":
        with closing(sqlite3.connect(at.target, isolation_level=None)) as raw:
            yield Writer(raw)
    else:
        with psycopg.connect(url, autocommit=True) as raw:
            yield Writer(raw)
