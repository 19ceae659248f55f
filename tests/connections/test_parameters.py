"""Connections that are opened with parameters which the application gives for each."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from belayed.config import Address, address
from belayed.connections import Connections
from belayed.connections.deadlines import connect_timeout
from belayed.connections.parameters import ConnectionParameters, of_driver
from belayed.connections.postgresql import OwnAsyncPsycopg, OwnPsycopg
from belayed.errors import ConfigError, StoreUnavailable
from belayed.store import open_store
from tests.connections.conftest import draft
from tests.poolers import TransactionPooler

STORE = open_store("postgresql")
ROLE = f"a '{uuid4().hex}'"


@pytest.fixture
def given(postgres_url: str) -> dict[str, str]:
    """What libpq finds an empty database with."""
    return {name: str(value) for name, value in conninfo_to_dict(postgres_url).items()}


@pytest.fixture
def role(postgres_url: str) -> Iterator[str]:
    """A role with a name that has to be quoted, which may do everything."""
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(ROLE)))
        raw.execute(sql.SQL("CREATE ROLE {} SUPERUSER").format(sql.Identifier(ROLE)))
        yield ROLE
        raw.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(sql.Identifier(ROLE)))
        raw.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(ROLE)))


def user(own: Any) -> str:
    return str(own.raw.execute("SELECT current_user").fetchone()[0])


def owners(url: str) -> set[str]:
    """Who has made the tables, and so by which role the statements ran."""
    with psycopg.connect(url) as raw:
        rows = raw.execute("SELECT tableowner FROM pg_tables WHERE tablename LIKE 'belayed%'").fetchall()
    return {owner for (owner,) in rows}


def test_parameters_are_asked_for_each_connection(given: dict[str, str]) -> None:
    asked: list[ConnectionParameters] = []

    def source() -> ConnectionParameters:
        asked.append(of_driver({**given, "application_name": f"shop {len(asked)}"}))
        return asked[-1]

    connections = Connections(address("postgresql:///x"), source=source)
    names = []
    for _ in range(3):
        with closing(connections.open()) as own:
            names.append(own.raw.info.get_parameters()["application_name"])

    assert names == ["shop 0", "shop 1", "shop 2"]


async def test_parameters_are_asked_for_connections_that_are_awaited(given: dict[str, str]) -> None:
    connections = Connections(address("postgresql:///x"), source=partial(of_driver, given))

    await connections.aperform(STORE.migrate())

    assert await connections.aperform(STORE.version()) == 1
    await connections.aclose()


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"require_auth": "scram-sha-256"}, "scram-sha-256"),
        ({"ssl_min_protocol_version": "TLSv9"}, "TLSv9"),
        ({"not_an_option": "1"}, "not_an_option"),
    ],
)
def test_no_parameter_is_dropped(given: dict[str, str], more: dict[str, str], error: str) -> None:
    with pytest.raises((StoreUnavailable, ConfigError), match=error):
        OwnPsycopg(of_driver({**given, **more}))


def test_what_is_about_the_application_s_own_statements_is_dropped(given: dict[str, str]) -> None:
    theirs = {"prepare_threshold": 5, "cursor_factory": psycopg.ClientCursor, "context": None, "autocommit": False}

    with closing(OwnPsycopg(of_driver({**given, **theirs, "port": 5432, "sslcert": None}))) as own:
        assert own.raw.autocommit


@pytest.mark.parametrize(
    ("timeout", "given", "found"),
    [(None, None, 10), (3, None, 3), (3, "2", 2), (3, "60", 3), (None, "0", 10), (30, "4", 4), (3, "soon", "soon")],
)
def test_the_shorter_time_to_connect_counts(timeout: float | None, given: str | None, found: Any) -> None:
    assert connect_timeout(timeout, given) == found


def test_passwords_are_shown_nowhere(given: dict[str, str]) -> None:
    secrets = {"password": "secret1 'x", "sslpassword": "secret2", "of_a_proxy": "secret3"}
    one = ConnectionParameters({**given, **secrets}, commands=("PRAGMA key = 'secret4'",))

    said = one.quoting("no secret1 'x for secret2 and secret3 of host h")

    assert said == "no *** for *** and *** of host h"
    assert "secret" not in repr(one)
    assert "of_a_proxy" in repr(one)


def test_a_connection_that_cannot_be_made_says_why_without_the_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(StoreUnavailable, match=f"port {port}") as caught:
            OwnPsycopg(of_driver({"host": "127.0.0.1", "port": port, "dbname": "d", "password": "secret"}))

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql:///x", {"sslmode": "verify-full", "password": "p"}),
        ("postgresql://u:own@h/x?sslmode=disable", {}),
        ("postgresql:///x?sslmode=disable", {"password": "p"}),
    ],
)
def test_variables_that_another_process_lacks_count_where_the_parameters_are_silent(
    url: str, found: dict[str, str]
) -> None:
    variables = {"PGSSLMODE": "verify-full", "PGPASSWORD": "p", "PGHOST": "", "PGNONSENSE": "1", "PATH": "/bin"}
    connections = Connections(address(url))

    given = connections.parameters(variables).given

    assert given == {"conninfo": url, **found}
    assert connections.parameters({"PATH": "/bin"}) == connections.source()


@pytest.mark.parametrize("url", ["sqlite:////srv/jobs.db", "postgresql://u:p@h/x?nonsense=1"])
def test_they_change_nothing_of_a_file_or_of_a_malformed_url(url: str) -> None:
    connections = Connections(address(url))

    assert connections.parameters({"PGSSLMODE": "require"}) == connections.source()


# The role.


def test_a_session_takes_its_role(given: dict[str, str], role: str) -> None:
    with closing(OwnPsycopg(of_driver(given, role=role))) as own:
        assert own.direct
        assert user(own) == role


def test_a_role_that_may_not_be_taken_is_told(given: dict[str, str]) -> None:
    with pytest.raises(StoreUnavailable, match="nobody"):
        OwnPsycopg(of_driver(given, role="nobody"))


@contextmanager
def pooled(url: str) -> Iterator[dict[str, Any]]:
    """The parameters of the database behind a pooler."""
    with TransactionPooler(url, own_keys=True) as pooler:
        yield dict(conninfo_to_dict(pooler.url))


def test_behind_a_pooler_each_transaction_takes_the_role_and_leaves_none(postgres_url: str, role: str) -> None:
    with pooled(postgres_url) as given:
        connections = Connections(address("postgresql:///x"), source=partial(of_driver, given, role=role))
        connections.perform(STORE.migrate())
        connections.perform(STORE.insert(draft()))
        found = connections.perform(STORE.find({}, before=None, count=10))
        with closing(connections.open()) as own:
            assert not own.direct
            assert user(own) == "postgres"
        connections.close()

    assert len(found) == 1
    assert owners(postgres_url) == {role}


async def test_so_does_one_that_is_awaited(postgres_url: str, role: str) -> None:
    with pooled(postgres_url) as given:
        connections = Connections(address("postgresql:///x"), source=partial(of_driver, given, role=role))
        await connections.aperform(STORE.migrate())
        await connections.aperform(STORE.insert(draft()))
        found = await connections.aperform(STORE.find({}, before=None, count=10))
        own = await OwnAsyncPsycopg.open(of_driver(given, role=role))
        left = await (await own.raw.execute("SELECT current_user")).fetchone()
        await own.close()
        await connections.aclose()

    assert len(found) == 1
    assert left == ("postgres",)
    assert owners(postgres_url) == {role}


def test_reading_behind_a_pooler_needs_the_role_too(postgres_url: str, role: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        Connections(address(postgres_url)).perform(STORE.migrate())
        reader = f"reader_{uuid4().hex}"
        raw.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(reader)))
        raw.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(reader)))
        try:
            with pooled(postgres_url.replace("postgres@", f"{reader}@")) as given:
                own = OwnPsycopg(of_driver(given, role=role))
                found = own.perform(STORE.find({}, before=None, count=10))
                refused = OwnPsycopg(of_driver(given))
                with pytest.raises(Exception, match="permission denied"):
                    refused.perform(STORE.find({}, before=None, count=10))
                own.close()
                refused.close()
        finally:
            raw.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(reader)))

    assert found == []


# The commands of SQLite.


def test_an_sqlite_connection_begins_with_the_application_s_commands(tmp_path: Any) -> None:
    path = tmp_path / "jobs.db"
    commands = ("PRAGMA synchronous = OFF", "PRAGMA cache_size = 77", "PRAGMA busy_timeout = 9999")
    connections = Connections(Address("sqlite", str(path)), source=partial(of_driver, {}, commands=commands))

    with closing(connections.open()) as own:
        names = ("synchronous", "cache_size", "busy_timeout", "journal_mode", "wal_autocheckpoint")
        found = [own.raw.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    assert found == [0, 77, 3, "wal", 4000]


def test_an_sqlite_file_is_opened_as_its_uri_says(tmp_path: Any) -> None:
    path = tmp_path / "jobs.db"
    source = partial(of_driver, {"database": f"file:{path}?mode=rw"})
    connections = Connections(Address("sqlite", str(path)), source=source)

    with pytest.raises(StoreUnavailable, match="unable to open"):
        connections.open()
    Connections(Address("sqlite", str(path))).open().close()
    with closing(connections.open()) as own:
        assert own.usable()


def test_a_journal_mode_of_the_application_s_stays(tmp_path: Any) -> None:
    path = tmp_path / "jobs.db"
    source = partial(of_driver, {}, commands=("PRAGMA JOURNAL_MODE = TRUNCATE",))

    with closing(Connections(Address("sqlite", str(path)), source=source).open()) as own:
        assert own.raw.execute("PRAGMA journal_mode").fetchone() == ("truncate",)


def test_a_command_that_is_refused_is_not_quoted(tmp_path: Any) -> None:
    source = partial(of_driver, {}, commands=("PRAGMA cache_size = 7", "PRAGMA key = 'my'secret"))

    with pytest.raises(StoreUnavailable, match="SQLite refused command 2 of those") as caught:
        Connections(Address("sqlite", str(tmp_path / "jobs.db")), source=source).open()

    assert "secret" not in str(caught.value)
    assert not isinstance(caught.value.__cause__, sqlite3.Error)
