"""The reference names everything that there is, with the right defaults."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import click
import psycopg
import pytest

import belayed.testing
from belayed import errors
from belayed.cli import main
from belayed.config import Config, WorkerConfig
from belayed.job import Options, Outcome, State
from belayed.parsing import duration

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
ERRORS = [
    name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
]
SETTINGS = [*dataclasses.fields(Config), *dataclasses.fields(WorkerConfig)]
OPTIONS = {
    option
    for command in [main, *main.commands.values()]
    for parameter in command.params
    if isinstance(parameter, click.Option)
    for option in (*parameter.opts, *parameter.secondary_opts)
}


def text_of(page: str) -> str:
    return (REFERENCE / f"{page}.md").read_text("utf-8")


@pytest.mark.parametrize("name", belayed.__all__)
def test_every_public_name_is_in_the_reference(name):
    if name == "errors":
        assert "belayed.errors" in text_of("api")
    else:
        assert re.search(rf"^\.\. auto\w+:: belayed\.{name}(\(.*\))?$", text_of("api"), re.MULTILINE)


@pytest.mark.parametrize("name", belayed.testing.__all__)
def test_every_name_for_tests_is_in_the_reference(name):
    assert re.search(rf"^\.\. autofunction:: belayed\.testing\.{name}$", text_of("api"), re.MULTILINE)


@pytest.mark.dj(235)
@pytest.mark.parametrize("name", ERRORS)
def test_every_error_is_in_the_reference_with_what_else_it_is(name):
    error = getattr(errors, name)

    row = re.search(rf"^\| `{name}`(?: \((\w+)\))? \|", text_of("errors"), re.MULTILINE)

    assert row is not None
    assert row[1] is None or row[1] in [base.__name__ for base in error.__bases__]


@pytest.mark.dj(235)
@pytest.mark.parametrize("name", ERRORS)
def test_every_error_but_the_one_that_stops_a_job_has_one_base(name):
    error = getattr(errors, name)

    assert issubclass(error, errors.BelayedError) is not (name == "AttemptStopped")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_in_the_reference_with_its_default(setting):
    row = re.search(rf"^\| `{setting.name}` \| .+? \| (.+?) \|", text_of("settings"), re.MULTILINE)

    assert row is not None
    if setting.name == "url":
        assert row[1] == "see below"
    elif setting.default_factory is not dataclasses.MISSING:
        assert (row[1], setting.default_factory()) == ("none", {})
    else:
        assert value_of(row[1], setting.default) == setting.default


def value_of(text: str, default: object) -> object:
    """What the *text* of a default stands for, where it is of the type of *default*."""
    plain = text.strip("`")
    if default is None:
        return None if text == "none" else text
    if isinstance(default, bool):
        return {"yes": True, "no": False}[plain]
    if isinstance(default, timedelta):
        return duration(plain)
    if isinstance(default, tuple):
        return tuple(plain.split(","))
    return type(default)(plain)


def test_no_setting_is_in_the_reference_that_there_is_not():
    named = re.findall(r"^\| `(\w+)` \|", text_of("settings"), re.MULTILINE)

    assert sorted(named) == sorted(setting.name for setting in SETTINGS)


@pytest.mark.parametrize("command", list(main.commands))
def test_every_command_is_in_the_reference(command):
    assert re.search(rf"^## .*`belayed {command}\b", text_of("commands"), re.MULTILINE)


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_every_option_of_a_command_is_in_the_reference(option):
    assert re.search(rf"`{option}\b", text_of("commands"))


def test_no_option_is_in_the_reference_that_there_is_not():
    named = set(re.findall(r"`(--[a-z-]+)", text_of("commands")))

    assert named - OPTIONS <= {"--help"}


@pytest.mark.parametrize("option", Options.__annotations__)
def test_every_option_of_a_job_is_explained(option):
    page = (REFERENCE.parent / "learn" / "jobs.md").read_text("utf-8")

    assert f"| `{option}` |" in page


@pytest.mark.parametrize("word", [*State, *Outcome])
def test_every_state_and_outcome_is_in_the_glossary(word):
    assert f"`{word.value}`" in text_of("glossary")


@pytest.fixture
def columns(request, sqlite_path):
    """The columns of each table, as a migrated database of this kind has them."""

    def columns(dialect: str) -> dict[str, set[str]]:
        url = f"sqlite:///{sqlite_path}" if dialect == "sqlite" else request.getfixturevalue("postgres_url")
        jobs = belayed.Jobs(url)
        jobs.migrate()
        jobs.close()
        if dialect == "sqlite":
            with closing(sqlite3.connect(sqlite_path)) as connection:
                rows = connection.execute(
                    "SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c "
                    "WHERE m.type = 'table' AND m.name LIKE 'belayed%'"
                ).fetchall()
        else:
            with psycopg.connect(url) as connection:
                rows = connection.execute(
                    "SELECT table_name, column_name FROM information_schema.columns WHERE table_name LIKE 'belayed%'"
                ).fetchall()
        found: dict[str, set[str]] = {}
        for table, column in rows:
            found.setdefault(table, set()).add(column)
        return found

    return columns


@pytest.mark.dj(92)
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_every_column_is_in_the_reference(columns, dialect):
    sections = re.split(r"^## `(\w+)`$", text_of("schema"), flags=re.MULTILINE)[1:]
    told = {
        table: set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
        for table, text in zip(sections[::2], sections[1::2], strict=True)
    }
    # It names what it has beyond that table.
    only_live = {"token", "suspect", "cancel_requested", "unknown_since"}
    told["belayed_history"] |= told["belayed_jobs"] - only_live

    assert told == columns(dialect)
