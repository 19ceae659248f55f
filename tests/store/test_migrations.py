"""The tables are brought to this version from nothing or from any earlier one; those of a newer are left alone."""

from __future__ import annotations

import multiprocessing
import sqlite3
from threading import Barrier, Thread

import psycopg
import pytest

from belayed.config import address
from belayed.connections import Connections
from belayed.errors import SchemaMissing, SchemaNewer
from belayed.store import open_store, schema
from belayed.store.statements import Tables, statement
from tests import servers
from tests.patience import patient
from tests.store.factories import draft, of_threads

COLUMNS = """
    SELECT table_schema, table_name, column_name, ordinal_position, data_type, collation_name, column_default,
           is_nullable, is_identity
    FROM information_schema.columns
    WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
    ORDER BY table_schema, table_name, ordinal_position
"""
INDEXES = "SELECT schemaname, tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexdef"
SETTINGS = """
    SELECT relname, reloptions
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    ORDER BY relname
"""


def dumped(url):
    """All that makes the tables what they are."""
    at = address(url)
    if at.dialect == "sqlite":
        connection = sqlite3.connect(at.target)
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name").fetchall()
        connection.close()
        return rows
    with psycopg.connect(at.target) as connection:
        return [connection.execute(query).fetchall() for query in (COLUMNS, INDEXES, SETTINGS)]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_urls(request, tmp_path):
    """Makes empty databases."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    made = []

    def another():
        if request.param == "sqlite":
            made.append(f"sqlite:///{tmp_path / f'{len(made)}.db'}")
        else:
            made.append(servers.create_database(server))
        return made[-1]

    yield another
    for url in made if server else []:
        servers.drop_database(server, url)


@pytest.fixture
def empty_url(empty_urls):
    return empty_urls()


@pytest.fixture
def opened():
    """Opens stores, and closes them after the test."""
    connections = []

    def another(url, **options):
        store, its_connections = of_threads(url, **options)
        connections.append(its_connections)
        return store

    yield another
    for one in connections:
        one.close()


def migrated_in_a_process(url, results):
    store, connections = of_threads(url)
    results.put(store.migrate())
    connections.close()


@pytest.mark.dj(96)
def test_an_empty_database_gets_the_tables(empty_url, opened):
    store = opened(empty_url)

    applied = store.migrate()

    assert applied == [*range(1, schema.latest(store.dialect) + 1)]
    assert store.version() == schema.latest(store.dialect)
    assert store.insert(draft()).id == 1


def test_a_migrated_database_is_left_alone(empty_url, opened):
    store = opened(empty_url)
    store.migrate()
    before = dumped(empty_url)

    applied = store.migrate()

    assert applied == []
    assert dumped(empty_url) == before


def test_all_at_once_makes_the_same_tables_as_one_by_one(empty_urls, opened, monkeypatch):
    at_once, one_by_one = empty_urls(), empty_urls()
    opened(at_once).migrate()
    store = opened(one_by_one)
    every = schema.migrations(store.dialect, store.store.tables)

    for last in every:
        upto = {number: statements for number, statements in every.items() if number <= last}
        with monkeypatch.context() as patched:
            patched.setattr(schema, "migrations", lambda dialect, tables, upto=upto: upto)
            assert store.migrate() == [last]

    assert dumped(one_by_one) == dumped(at_once)


def test_jobs_live_through_a_migration(empty_url, opened):
    store = opened(empty_url)
    store.migrate()
    store.added(3)

    store.migrate()

    assert len(store.find({})) == 3


def test_migrations_are_numbered_without_gaps_in_both_dialects():
    numbers = [[*schema.migrations(dialect, Tables())] for dialect in ("sqlite", "postgresql")]

    assert numbers[0] == numbers[1] == [*range(1, len(numbers[0]) + 1)]


def test_of_many_migrators_at_once_one_does_the_work(empty_url, opened):
    number = 4
    stores = [opened(empty_url) for _ in range(number)]
    barrier, applied = Barrier(number), []

    def migrate(store):
        barrier.wait()
        applied.append(store.migrate())

    threads = [Thread(target=migrate, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(applied) == [[], [], [], [*range(1, schema.latest(stores[0].dialect) + 1)]]


def test_of_two_processes_at_once_one_does_the_work(empty_url):
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    processes = [spawn.Process(target=migrated_in_a_process, args=(empty_url, results)) for _ in range(2)]
    for process in processes:
        process.start()
    applied = [results.get(timeout=patient(60)) for _ in processes]
    for process in processes:
        process.join()

    assert [] in applied
    assert sum(map(len, applied)) == schema.latest(address(empty_url).dialect)


def test_tables_of_a_newer_version_are_refused_and_left_alone(empty_url, opened):
    store = opened(empty_url)
    store.migrate()
    newer = schema.latest(store.dialect) + 1
    store.rows(f"INSERT INTO {{versions}} (version) VALUES ({newer})")
    before = dumped(empty_url)

    with pytest.raises(SchemaNewer, match=f"version {newer}.*pip install -U belayed"):
        store.version()
    with pytest.raises(SchemaNewer, match=f"version {newer}"):
        store.migrate()

    assert dumped(empty_url) == before


@pytest.mark.parametrize("act", [lambda store: store.version(), lambda store: store.insert(draft())])
def test_without_tables_the_error_says_how_to_make_them(empty_url, opened, act):
    store = opened(empty_url)

    with pytest.raises(SchemaMissing, match="run `belayed migrate`"):
        act(store)


def test_with_older_tables_the_error_says_how_to_bring_them_on(empty_url, opened, monkeypatch):
    store = opened(empty_url)
    store.migrate()
    monkeypatch.setattr(schema, "latest", lambda dialect: 99)

    with pytest.raises(SchemaMissing, match=r"this Belayed needs 99.*run `belayed migrate`"):
        store.version()


def test_a_migration_that_fails_leaves_nothing_behind(empty_url, opened, monkeypatch):
    store = opened(empty_url)
    every = schema.migrations(store.dialect, store.store.tables)
    broken = {**every, len(every) + 1: [statement("broken", "CREATE TABLE x (y integer)"), statement("broken", "NO")]}
    monkeypatch.setattr(schema, "migrations", lambda dialect, tables: broken)

    with pytest.raises(Exception, match="syntax error"):
        store.migrate()

    with pytest.raises(SchemaMissing):
        store.version()
    assert not any(dumped(empty_url))


@pytest.mark.dj(95)
def test_two_prefixes_are_two_stores(empty_url, opened):
    first, second = opened(empty_url, prefix="one_"), opened(empty_url, prefix="two_")
    first.migrate()
    second.migrate()

    first.added(2)
    second.added(60)

    assert (len(first.find({})), len(second.find({}))) == (2, 60)
    assert second.pause("default") is None
    assert len(first.claimed(10)) == 2


def test_the_tables_can_live_in_a_schema_of_their_own(postgres_url, opened):
    store = opened(postgres_url, schema="Work")
    other = opened(postgres_url)

    store.migrate()

    with pytest.raises(SchemaMissing):
        other.version()
    assert store.version() == schema.latest("postgresql")
    assert len([*store.added(2), *store.added(60)]) == 62
    assert len(store.claimed(100)) == 62
    assert {row[0] for row in dumped(postgres_url)[0]} == {"Work"}


def test_a_schema_that_is_missing_is_told_as_missing_tables(postgres_url, opened):
    store = opened(postgres_url, schema="nowhere")

    with pytest.raises(SchemaMissing, match="run `belayed migrate`"):
        store.added()


def test_the_search_path_of_the_connection_counts(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA app")
    joined = "&" if "?" in postgres_url else "?"
    connections = Connections(address(f"{postgres_url}{joined}options=-csearch_path%3Dapp"))

    connections.perform(open_store("postgresql").migrate())
    connections.close()

    assert {row[0] for row in dumped(postgres_url)[0]} == {"app"}
