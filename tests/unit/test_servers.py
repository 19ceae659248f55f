"""The databases that the tests run on are what the tests take them for."""

from __future__ import annotations

import psycopg
import pytest


def test_a_database_is_empty_and_takes_tables(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT * FROM pg_tables WHERE schemaname = 'public'").fetchall()
        connection.execute("CREATE TABLE belayed_jobs (id bigint)")

    assert tables == []


def test_the_next_test_finds_none_of_it(postgres_url):
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT * FROM pg_tables WHERE schemaname = 'public'").fetchall()

    assert tables == []


def test_a_private_server_can_be_stopped_and_started(private_postgres):
    with psycopg.connect(private_postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (id bigint)")

    private_postgres.stop("immediate")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(private_postgres.url())
    private_postgres.start()

    with psycopg.connect(private_postgres.url()) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
