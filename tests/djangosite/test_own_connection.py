"""The connections that are Belayed's own, those of workers first of all: opened as Django opens its own."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import environment, eventually
from django.core import checks
from django.db import connection, connections
from django.db.backends.signals import connection_created
from django.db.backends.sqlite3.base import DatabaseWrapper as Sqlite
from shop.tasks import greet
from test_commands import working

from belayed import State, Worker
from belayed.config import current
from belayed.django import conf
from belayed.django.jobs import DjangoJobs
from belayed.errors import ConfigError, StoreUnavailable
from tests.patience import patient

pytestmark = pytest.mark.django_db(transaction=True)
SERVER = pytest.mark.skipif(not os.environ.get("SITE_URL"), reason="of PostgreSQL")
SQLITE = pytest.mark.skipif(bool(os.environ.get("SITE_URL")), reason="of SQLite")
POSTGRESQL = "django.db.backends.postgresql"


@pytest.fixture
def database(monkeypatch):
    """Adds a database of such settings, to which nobody connects; its name."""

    def database(**settings):
        monkeypatch.setitem(connections.settings, "made", settings)
        connections.configure_settings(connections.settings)
        return "made"

    yield database
    if hasattr(connections._connections, "made"):
        del connections["made"]


@pytest.fixture
def options(monkeypatch):
    """Changes OPTIONS of the jobs' database, for connections from then on."""

    def options(**changes):
        found = connections["default"].settings_dict
        monkeypatch.setitem(found, "OPTIONS", {**found["OPTIONS"], **changes})
        current.jobs = None

    yield options
    current.jobs = None


# Which database it is.


@pytest.mark.parametrize(
    ("engine", "dialect"),
    [
        (POSTGRESQL, "postgresql"),
        ("django.db.backends.postgresql_psycopg2", "postgresql"),
        ("django.db.backends.sqlite3", "sqlite"),
        ("engine", "postgresql" if os.environ.get("SITE_URL") else "sqlite"),
    ],
)
def test_an_engine_is_judged_by_the_database_that_it_is_for(engine, dialect, database):
    assert conf.dialect_of(database(ENGINE=engine, NAME="n")) == dialect


@pytest.mark.parametrize("vendor", ["oracle", "cockroachdb", "unknown"])
def test_a_database_of_another_kind_is_refused(vendor, database, monkeypatch):
    monkeypatch.setattr(Sqlite, "vendor", vendor)
    name = database(ENGINE="django.db.backends.sqlite3", NAME="n")

    with pytest.raises(ConfigError, match=r"'made' is of django\.db\.backends\.sqlite3: Belayed keeps jobs in"):
        conf.dialect_of(name)


def test_an_engine_that_cannot_be_imported_is_told(database):
    with pytest.raises(ConfigError, match=r"the engine of the database 'made' cannot be used: 'no\.such'"):
        conf.dialect_of(database(ENGINE="no.such", NAME="n"))


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (
            {"ENGINE": POSTGRESQL, "NAME": "a b", "USER": "u@x", "PASSWORD": "p@/:", "HOST": "h"},
            "postgresql://u%40x@h/a%20b",
        ),
        ({"ENGINE": POSTGRESQL, "NAME": "n", "HOST": "/run/pg", "PORT": "5433"},
         "postgresql:///n?host=%2Frun%2Fpg&port=5433"),
        ({"ENGINE": POSTGRESQL, "NAME": "n", "HOST": "::1", "PORT": 5432}, "postgresql://[::1]:5432/n"),
        ({"ENGINE": POSTGRESQL, "NAME": "n", "HOST": "a,b"}, "postgresql:///n?host=a%2Cb"),
        ({"ENGINE": POSTGRESQL, "NAME": "", "OPTIONS": {"service": "shop"}}, "postgresql:///?service=shop"),
        ({"ENGINE": "django.db.backends.sqlite3", "NAME": "/srv/a b.db"}, "sqlite:////srv/a%20b.db"),
        ({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}, "sqlite:///:memory:"),
        ({"ENGINE": "django.db.backends.sqlite3", "NAME": "file:/srv/a%20b.db?mode=rw"}, "sqlite:////srv/a%20b.db"),
        ({"ENGINE": "django.db.backends.sqlite3", "NAME": "file:///srv/a.db"}, "sqlite:////srv/a.db"),
        ({"ENGINE": "django.db.backends.sqlite3", "NAME": "file:x?mode=memory&cache=shared"}, "sqlite:///:memory:"),
    ],
)  # fmt: skip
def test_the_url_says_which_database_it_is_and_no_password(settings, url, database):
    assert conf.url_of(database(**settings)) == url


# What it is opened with.


@pytest.mark.parametrize(
    "options",
    [
        {"sslmode": "verify-full", "sslrootcert": "/etc/ca.pem", "require_auth": "scram-sha-256"},
        {"ssl_min_protocol_version": "TLSv1.3", "sslnegotiation": "direct", "gssencmode": "disable"},
        {"passfile": "/run/secrets/pg", "options": "-c search_path=shop", "application_name": "shop"},
        {"not_known_yet": "1"},
    ],
    ids=",".join,
)
def test_no_option_is_lost(options, database):
    name = database(ENGINE=POSTGRESQL, NAME="n", USER="u", PASSWORD="p", HOST="h", PORT=5433, OPTIONS=options)

    found = conf.parameters_of(name)

    base = {"dbname": "n", "user": "u", "password": "p", "host": "h", "port": "5433", "client_encoding": "UTF8"}
    assert found.given == {**base, **options}


def test_options_of_django_s_own_are_not_given_to_the_driver(database):
    options = {"pool": {"min_size": 2}, "server_side_binding": True, "isolation_level": 3, "prepare_threshold": 5}
    name = database(ENGINE=POSTGRESQL, NAME="n", OPTIONS={**options, "assume_role": "clerk"})

    found = conf.parameters_of(name)

    assert (dict(found.given), found.role) == ({"dbname": "n", "client_encoding": "UTF8"}, "clerk")


def test_settings_that_django_refuses_are_refused(database):
    with pytest.raises(ConfigError, match=r"the database 'made': .*NAME"):
        conf.parameters_of(database(ENGINE=POSTGRESQL, NAME=""))


def test_an_engine_that_cannot_say_how_to_connect_is_an_outage(database, monkeypatch):
    monkeypatch.setenv("SITE_TOKEN", "/nowhere")

    with pytest.raises(StoreUnavailable, match="'made' cannot say how to connect: FileNotFoundError"):
        conf.parameters_of(database(ENGINE="engine", NAME="n"))


def rows(own, text):
    """What a statement answers on a connection of ours."""
    return own.raw.execute(text).fetchall()


@SERVER
def test_a_worker_takes_the_role_that_django_assumes(options):
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS \"a 'clerk'\"")
        cursor.execute("CREATE ROLE \"a 'clerk'\" SUPERUSER")
    options(assume_role="a 'clerk'")
    try:
        with closing(current().connections.open()) as own:
            assert rows(own, "SELECT current_user") == [("a 'clerk'",)]
        job = greet.enqueue("ada")
        Worker().run(until_empty=True)
    finally:
        current().close()
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")
            cursor.execute("DROP ROLE \"a 'clerk'\"")

    assert job.refresh().state is State.SUCCEEDED


@SERVER
def test_an_option_that_secures_the_connection_counts_for_workers(options):
    options(require_auth="scram-sha-256")

    # The tests' server asks for no password.
    with pytest.raises(StoreUnavailable, match="scram-sha-256"):
        current().connections.open()


@SQLITE
def test_a_worker_s_connection_begins_with_django_s_commands(options):
    options(init_command="PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=77;")

    with closing(current().connections.open()) as own:
        found = [rows(own, f"PRAGMA {name}") for name in ("synchronous", "cache_size", "busy_timeout")]

    assert found == [[(1,)], [(77,)], [(3,)]]


@pytest.mark.parametrize(
    ("name", "pinned"),
    [
        ("a b.db", "/srv/a b.db"),
        ("file:a%20b.db?mode=rw&cache=private", "file:/srv/a%20b.db?mode=rw&cache=private"),
        ("file:a.db", "file:/srv/a.db"),
        ("file:/var/a.db?mode=ro", "file:/var/a.db?mode=ro"),
        ("file:x?mode=memory&cache=shared", "file:x?mode=memory&cache=shared"),
    ],
)
def test_a_file_keeps_its_place_and_what_its_uri_says(name, pinned, database, monkeypatch):
    monkeypatch.setattr("belayed.config.Path.cwd", lambda: Path("/srv"))
    made = database(ENGINE="django.db.backends.sqlite3", NAME=name)

    conf.pin(made)

    assert conf.parameters_of(made).given["database"] == pinned


@contextmanager
def worker_with(token, value, **variables):
    """A worker whose engine asks for *value* in the file *token*."""
    token.write_text(value)
    with working("--threads", "1", env=environment(SITE_TOKEN=str(token), **variables)) as process:
        eventually(lambda: current().workers())
        yield process


def sessions(cursor):
    """The names and processes of the sessions of the database."""
    cursor.execute(
        "SELECT application_name, pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
        "pg_backend_pid() AND application_name LIKE 'token%'"
    )
    return cursor.fetchall()


@SERVER
@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_engine_is_asked_for_each_connection_of_a_worker(processes, tmp_path):
    token = tmp_path / "token"
    with worker_with(token, "token 1", BELAYED_PROCESSES=processes), connection.cursor() as cursor:
        eventually(lambda: {name for name, _ in sessions(cursor)} == {"token 1"})
        token.write_text("token 2")
        for _, pid in sessions(cursor):
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        job = greet.enqueue("ada")
        eventually(lambda: job.refresh().state is State.SUCCEEDED)

        found = {name for name, _ in sessions(cursor)}

    assert found == {"token 2"}


@SERVER
def test_what_was_said_last_is_tried_where_an_engine_cannot_say_more(tmp_path):
    token = tmp_path / "token"
    with worker_with(token, "token 1") as process, connection.cursor() as cursor:
        eventually(lambda: sessions(cursor))
        token.unlink()
        before = {pid for _, pid in sessions(cursor)}
        for pid in before:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        eventually(lambda: {pid for _, pid in sessions(cursor)} - before)
        token.write_text("token 1")
        job = greet.enqueue("ada")
        eventually(lambda: job.refresh().state is State.SUCCEEDED)
        process.terminate()
        text, _ = process.communicate(timeout=patient(30))

    assert "cannot say how to connect to the database, the last that was said is tried: the engine of" in text


def test_an_engine_of_others_runs_jobs(tmp_path):
    token = tmp_path / "token"
    with worker_with(token, "77"):
        job = greet.enqueue("ada")
        eventually(lambda: job.refresh().state is State.SUCCEEDED)


def test_a_worker_whose_engine_cannot_say_how_to_connect_says_so(manage):
    ended = manage("belayed", "workoff", SITE_TOKEN="/nowhere")

    assert ended.returncode == 2
    assert "No such file or directory: '/nowhere'" in ended.stderr
    assert "Traceback" not in ended.stderr


# What the system checks say of it.


def found():
    """What the checks say of Belayed, by their ids."""
    return {one.id: one.msg for one in checks.run_checks(databases=["default"]) if one.id.startswith("belayed.")}


@SERVER
def test_the_checks_connect_as_a_worker_does(options):
    connection.ensure_connection()
    options(ssl_min_protocol_version="TLSv9")

    said = found()

    assert "workers cannot use the database 'default', though Django can" in said["belayed.E006"]
    assert "TLSv9" in said["belayed.E006"]


@SQLITE
def test_the_checks_find_a_command_that_no_worker_could_begin_with(options):
    connection.ensure_connection()
    options(init_command="PRAGMA journal_mode=WAL; PRAGMA key='my' secret")

    said = found()["belayed.E006"]

    assert "SQLite refused command 2" in said
    assert "secret" not in said


@SERVER
def test_the_checks_find_that_a_worker_does_not_see_the_tables():
    current.jobs = None
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA aside")
        cursor.execute("ALTER TABLE belayed_jobs SET SCHEMA aside")
        # As a receiver of connection_created does that knows of it.
        cursor.execute("SET search_path TO aside, public")
        try:
            said = found()["belayed.E006"]
        finally:
            cursor.execute("ALTER TABLE belayed_jobs SET SCHEMA public")
            cursor.execute("DROP SCHEMA aside")
            cursor.execute("RESET search_path")

    assert "it does not see the tables of jobs, which Django's own sees" in said


def test_an_engine_whose_connections_belayed_does_not_know_is_named(monkeypatch):
    connection.ensure_connection()
    monkeypatch.setattr(connections["default"], "connection", SimpleNamespace())

    said = found()["belayed.E009"]

    assert f"the engine {connection.settings_dict['ENGINE']} of the database 'default' opens connections that" in said
    assert "types.SimpleNamespace: it takes those of sqlite3 and psycopg" in said


@pytest.mark.parametrize("name", ["__wrapped__", "dbapi_connection"])
def test_a_connection_in_a_tracer_s_proxy_or_a_pool_s_is_used(name, monkeypatch):
    connection.ensure_connection()
    monkeypatch.setattr(connections["default"], "connection", SimpleNamespace(**{name: connection.connection}))

    DjangoJobs().check_schema()

    assert found() == {}


def test_the_checks_name_what_is_not_called_for_a_worker_s_connection(monkeypatch):
    def sets_time_zone(connection, **_more):
        """A receiver of the project's."""

    connection_created.connect(sets_time_zone)
    try:
        said = found()
    finally:
        connection_created.disconnect(sets_time_zone)

    assert said.keys() == {"belayed.I002"}
    assert "test_own_connection.test_the_checks_name" in said["belayed.I002"]
    assert "sets_time_zone" in said["belayed.I002"]


def test_the_checks_name_the_ways_of_an_engine_that_are_not_a_worker_s(monkeypatch):
    def get_new_connection(self, params):
        """As an engine that asks for its password here."""

    connection.ensure_connection()
    monkeypatch.setattr(type(connections["default"]), "get_new_connection", get_new_connection)

    assert "get_new_connection" in found()["belayed.I003"]
