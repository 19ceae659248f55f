"""The catalogues of the dialects say the same, and are read as they are meant."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from belayed.errors import ConfigError
from belayed.store import STORES, statements
from belayed.store.statements import Tables, catalogue, split, statement

DIALECTS = tuple(STORES)
ONLY = {
    # Schemas, roles, sessions and hints are PostgreSQL's.
    "postgresql": {
        *("has_schema", "create_schema", "sessions", "insert_told", "notify", "look_lanes", "claim_lanes"),
        *("no_entry", "no_room", "lacking", "secured", "copies", "notified"),
    },
    # The merge of several lanes is the store's own there.
    "sqlite": {"peek"},
}


def names(dialect):
    return list(catalogue(dialect, Tables()))


def binds(dialect, name):
    return {bind for one in catalogue(dialect, Tables())[name] for bind in one.order}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Reads a catalogue of the test's own."""
    monkeypatch.setattr(statements, "files", lambda package: tmp_path)
    (tmp_path / "sql").mkdir()

    def read(text):
        (tmp_path / "sql" / "test.sql").write_text(text)
        statements.catalogue.cache_clear()
        return catalogue("test", Tables("t_"))

    yield read
    statements.catalogue.cache_clear()


def test_the_dialects_have_the_same_statements_in_the_same_order():
    shared = {dialect: [name for name in names(dialect) if name not in ONLY[dialect]] for dialect in DIALECTS}

    assert shared["sqlite"] == shared["postgresql"]
    assert all(ONLY[dialect] <= set(names(dialect)) for dialect in DIALECTS)


def test_a_statement_takes_the_same_binds_in_each_dialect():
    different = {
        name: binds("sqlite", name) ^ binds("postgresql", name)
        for name in set(names("sqlite")) & set(names("postgresql"))
        if binds("sqlite", name) ^ binds("postgresql", name)
    }

    assert different == {
        # PostgreSQL locks by the table's name, sends the hint with the insert, and starts a claim from the mark.
        "lock_versions": {"table"},
        "insert": {"channel", "hint"},
        "insert_ready": {"now"},
        # SQLite gives the ids after the largest.
        "reserve": {"count", "table"},
        "claim": {"mark_at", "mark_id"},
    }


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_statement_is_used(dialect):
    source = "".join(
        file.read_text("utf-8") for file in resources.files("belayed.store").iterdir() if file.name.endswith(".py")
    )

    unused = [name for name in names(dialect) if f'"{name}"' not in source]

    assert unused == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_nothing_of_the_catalogue_is_left_unfilled(dialect):
    unfilled = [
        one.name
        for found in catalogue(dialect, Tables("p_", "s")).values()
        for one in found
        if re.search(r"\{\w+\}|--", one.named)
    ]

    assert unfilled == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_bind_is_in_every_style(dialect):
    for found in catalogue(dialect, Tables()).values():
        for one in found:
            assert set(re.findall(r"%\((\w+)\)s", one.pyformat)) == set(one.order)
            assert {int(number) for number in re.findall(r"[$?](\d+)", one.numeric)} == {*range(1, len(one.order) + 1)}


def test_a_bind_is_numbered_by_its_first_use():
    one = statement("test", "SELECT :b, :a, :b, 'x:y', CAST(:c AS text), d::text")

    assert one.order == ("b", "a", "c")
    assert one.numeric == "SELECT $1, $2, $1, 'x:y', CAST($3 AS text), d::text"
    assert one.pyformat == "SELECT %(b)s, %(a)s, %(b)s, 'x:y', CAST(%(c)s AS text), d::text"


def test_a_percent_sign_is_doubled_where_it_would_begin_a_placeholder():
    with_bind, without = statement("test", "SELECT 7 % :n"), statement("test", "SELECT 7 % 2")

    assert [with_bind.named, with_bind.numeric, with_bind.pyformat] == [
        "SELECT 7 % :n",
        "SELECT 7 % $1",
        "SELECT 7 %% %(n)s",
    ]
    assert [without.named, without.numeric, without.pyformat] == ["SELECT 7 % 2", "SELECT 7 % 2", "SELECT 7 %% 2"]


def test_statements_end_with_a_semicolon_at_the_end_of_a_line():
    found = split("SELECT ';' ;\nSELECT 2;  \n\nSELECT 3\n;")

    assert found == ["SELECT ';'", "SELECT 2", "SELECT 3"]


def test_parts_names_and_comments_are_told_apart(written):
    found = written(
        "-- The head of the file.\n\n-- part: now\n-- Why.\n:now\n\n-- part: later\n{now} + 1\n\n"
        "-- name: one\n-- Why.\nSELECT {later} FROM {jobs};\n\n-- name: two\nDELETE FROM {history};\nSELECT 2;\n"
    )

    assert {name: [one.named for one in many] for name, many in found.items()} == {
        "one": ['SELECT :now + 1 FROM "t_jobs"'],
        "two": ['DELETE FROM "t_history"', "SELECT 2"],
    }


def test_a_name_that_stands_twice_is_refused(written):
    with pytest.raises(ConfigError, match=r"test\.sql: the name one stands twice"):
        written("-- name: one\nSELECT 1;\n\n-- name: one\nSELECT 2;\n")


def test_text_before_the_first_name_is_refused(written):
    with pytest.raises(ConfigError, match=r"test\.sql: text before the first name"):
        written("SELECT 1;\n\n-- name: one\nSELECT 2;\n")


@pytest.mark.parametrize(
    ("tables", "jobs"),
    [
        (Tables(), '"belayed_jobs"'),
        (Tables("my_"), '"my_jobs"'),
        (Tables("my_", "Work"), '"Work"."my_jobs"'),
    ],
)
def test_tables_are_named_with_their_prefix_and_schema(tables, jobs):
    assert tables.named("jobs") == jobs
    assert all(tables.named("jobs") in one.named for one in catalogue("postgresql", tables)["promote"])
