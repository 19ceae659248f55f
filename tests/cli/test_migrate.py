"""`migrate`."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest

from belayed.store import schema


@pytest.mark.dj(96)
def test_migrate_makes_the_tables_and_then_finds_nothing_to_do(run, each_url):
    first = run("migrate")
    second = run("migrate")
    status = run("status")

    assert (first.exit_code, second.exit_code, status.exit_code) == (0, 0, 0)
    assert first.stdout.startswith("Applied version 1")
    assert second.stdout.startswith("Nothing to do: the tables in ")


def test_the_statements_are_printed_without_touching_a_database(run, folder):
    result = run("migrate", "--sql")

    assert result.exit_code == 0
    assert 'CREATE TABLE "main"."belayed_jobs"' in result.stdout
    assert list(folder.iterdir()) == []


def test_the_statements_make_the_same_tables_in_sqlite(run, sqlite_url, folder):
    sql = run("migrate", "--sql").stdout
    with sqlite3.connect(folder / "belayed.db") as connection:
        connection.executescript(sql)
    connection.close()

    result = run("migrate")

    assert result.stdout.startswith("Nothing to do")


def test_the_statements_make_the_same_tables_in_postgresql(run, postgres_url):
    sql = run("migrate", "--sql", url=postgres_url).stdout
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.encode())

    result = run("migrate", url=postgres_url)

    assert result.stdout.startswith("Nothing to do")


def test_tables_of_a_newer_version_are_left_alone(run, store, each_url):
    store.rows(f"INSERT INTO {{versions}} (version) VALUES ({schema.latest(store.dialect) + 1}) RETURNING version")

    result = run("migrate")

    assert result.exit_code == 2
    assert "pip install -U belayed" in result.stderr


def test_a_file_that_cannot_be_made_is_exit_code_3(run, folder):
    result = run("migrate", url="sqlite:///no/such/folder/jobs.db")

    assert result.exit_code == 3
    assert f"there is no folder {folder}/no/such/folder" in result.stderr
