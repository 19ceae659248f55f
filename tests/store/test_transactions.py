"""A job that is enqueued on the application's connection is part of its transaction."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiosqlite
import asyncpg
import psycopg
import pytest
from psycopg.rows import dict_row

from belayed.config import address
from belayed.connections import Connections, wrap
from belayed.errors import ConfigError, SchemaMissing, StoreError
from belayed.job import Draft
from belayed.store import Store, open_store

SQLITE, POSTGRES = open_store("sqlite"), open_store("postgresql")
MANY = 60
"""So many are loaded by COPY."""


class Text:
    """A payload whose text is written."""

    task = "t"

    def write(self, codec: Any) -> str:
        return '{"v":1,"ü":"😀"}'


def draft() -> Draft:
    return Draft(payload=Text(), task="t", text=Text().write(None), queue="ü", priority=0)


class Seen:
    """What others see of a database."""

    def __init__(self, url: str, store: Store) -> None:
        self.url, self.store = url, store
        self.connections = Connections(address(url))
        self.connections.perform(store.migrate())

    @property
    def jobs(self) -> int:
        return len(self.connections.perform(self.store.matching({})))


@pytest.fixture
def sqlite_db(tmp_path) -> Iterator[Seen]:
    seen = Seen(f"sqlite:///{tmp_path}/app.db", SQLITE)
    yield seen
    seen.connections.close()


@pytest.fixture
def postgres_db(postgres_url) -> Iterator[Seen]:
    seen = Seen(postgres_url, POSTGRES)
    yield seen
    seen.connections.close()


def as_row(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


SQLITE3: dict[str, dict[str, Any]] = {
    "default": {},
    "immediate": {"isolation_level": "IMMEDIATE"},
    "dictionaries": {"row_factory": as_row},
    "rows": {"row_factory": sqlite3.Row},
    "bytes": {"text_factory": bytes},
    "no isolation": {"isolation_level": None},
}
if sys.version_info >= (3, 12):
    SQLITE3["autocommit"] = {"autocommit": True}
    SQLITE3["no autocommit"] = {"autocommit": False}


@pytest.fixture(params=SQLITE3, ids=str)
def sqlite_raw(request, sqlite_db) -> Iterator[sqlite3.Connection]:
    raw = sqlite3.connect(sqlite_db.url.removeprefix("sqlite:///"))
    given = SQLITE3[request.param]
    for name, value in given.items():
        setattr(raw, name, value)
    if given.get("isolation_level", "") is None or given.get("autocommit") is True:
        raw.execute("BEGIN")
    yield raw
    raw.close()


class TestSqlite3:
    def test_rolled_back_the_job_never_existed(self, sqlite_db, sqlite_raw):
        wrap(sqlite_raw).perform(SQLITE.insert(draft()))
        before = sqlite_db.jobs
        sqlite_raw.execute("ROLLBACK")

        assert (before, sqlite_db.jobs) == (0, 0)

    def test_committed_it_exists(self, sqlite_db, sqlite_raw):
        inserted = wrap(sqlite_raw).perform(SQLITE.insert(draft()))
        sqlite_raw.execute("COMMIT")

        found = sqlite_db.connections.perform(SQLITE.get(inserted.id))
        assert found is not None
        assert (found[0].queue, found[0].payload) == ("ü", draft().text)

    def test_many_join_it_too(self, sqlite_db, sqlite_raw):
        wrap(sqlite_raw).perform(SQLITE.insert_many([draft() for _ in range(MANY)]))
        before = sqlite_db.jobs
        sqlite_raw.execute("COMMIT")

        assert (before, sqlite_db.jobs) == (0, MANY)

    def test_a_savepoint_takes_the_job_with_it(self, sqlite_db, sqlite_raw):
        connection = wrap(sqlite_raw)
        connection.perform(SQLITE.insert(draft()))
        sqlite_raw.execute("SAVEPOINT s")
        connection.perform(SQLITE.insert(draft()))
        sqlite_raw.execute("ROLLBACK TO s")
        sqlite_raw.execute("COMMIT")

        assert sqlite_db.jobs == 1

    def test_the_jobs_are_read_as_they_were_written(self, sqlite_db, sqlite_raw):
        connection = wrap(sqlite_raw)
        inserted = connection.perform(SQLITE.insert(draft()))

        found = connection.perform(SQLITE.get(inserted.id))

        assert found is not None
        assert (found[0].queue, found[0].payload) == ("ü", draft().text)

    def test_the_connection_stays_as_it_was(self, sqlite_db, sqlite_raw):
        before = sqlite_raw.row_factory, sqlite_raw.text_factory, sqlite_raw.isolation_level

        wrap(sqlite_raw).perform(SQLITE.insert(draft()))

        assert (sqlite_raw.row_factory, sqlite_raw.text_factory, sqlite_raw.isolation_level) == before
        assert sqlite_raw.in_transaction

    def test_in_autocommit_the_job_is_there_at_once(self, sqlite_db):
        raw = sqlite3.connect(sqlite_db.url.removeprefix("sqlite:///"), isolation_level=None)
        wrap(raw).perform(SQLITE.insert(draft()))
        raw.close()

        assert sqlite_db.jobs == 1

    def test_without_tables_it_says_how_to_make_them(self, tmp_path):
        raw = sqlite3.connect(tmp_path / "empty.db")

        with pytest.raises(SchemaMissing, match="belayed migrate"):
            wrap(raw).perform(SQLITE.insert(draft()))
        raw.close()


class TestAiosqlite:
    @pytest.fixture(params=[None, sqlite3.Row, as_row], ids=["tuples", "rows", "dictionaries"])
    async def raw(self, request, sqlite_db) -> AsyncIterator[aiosqlite.Connection]:
        async with aiosqlite.connect(sqlite_db.url.removeprefix("sqlite:///")) as raw:
            raw.row_factory = request.param
            yield raw

    async def test_rolled_back_the_job_never_existed(self, sqlite_db, raw):
        await wrap(raw).perform(SQLITE.insert(draft()))
        await raw.rollback()

        assert sqlite_db.jobs == 0

    async def test_committed_it_exists(self, sqlite_db, raw):
        await wrap(raw).perform(SQLITE.insert(draft()))
        before = sqlite_db.jobs
        await raw.commit()

        assert (before, sqlite_db.jobs) == (0, 1)

    async def test_text_read_as_bytes_is_no_obstacle(self, sqlite_db, raw):
        raw.text_factory = bytes
        inserted = await wrap(raw).perform(SQLITE.insert(draft()))

        found = await wrap(raw).perform(SQLITE.get(inserted.id))

        assert found is not None
        assert found[0].payload == draft().text

    async def test_what_several_tasks_do_with_it_leaves_it_as_it_was(self, sqlite_db, raw):
        raw.text_factory = bytes

        await asyncio.gather(*(wrap(raw).perform(SQLITE.insert(draft())) for _ in range(5)))

        assert raw.text_factory is bytes

    async def test_without_tables_it_says_how_to_make_them(self):
        async with aiosqlite.connect(":memory:") as raw:
            with pytest.raises(SchemaMissing, match="belayed migrate"):
                await wrap(raw).perform(SQLITE.insert(draft()))


PSYCOPG: dict[str, dict[str, Any]] = {
    "default": {},
    "dictionaries": {"row_factory": dict_row},
    "client-side binds": {"cursor_factory": psycopg.ClientCursor},
    "always prepared": {"prepare_threshold": 0},
}


class TestPsycopg:
    @pytest.fixture(params=PSYCOPG, ids=str)
    def raw(self, request, postgres_db) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(postgres_db.url, **PSYCOPG[request.param]) as raw:
            yield raw

    def test_rolled_back_the_job_never_existed(self, postgres_db, raw):
        wrap(raw).perform(POSTGRES.insert(draft()))
        wrap(raw).perform(POSTGRES.insert_many([draft() for _ in range(MANY)]))
        raw.rollback()

        assert postgres_db.jobs == 0

    def test_committed_it_exists(self, postgres_db, raw):
        wrap(raw).perform(POSTGRES.insert(draft()))
        wrap(raw).perform(POSTGRES.insert_many([draft() for _ in range(MANY)]))
        before = postgres_db.jobs
        raw.commit()

        assert (before, postgres_db.jobs) == (0, 1 + MANY)

    def test_a_block_takes_the_job_with_it(self, postgres_db, raw):
        with raw.transaction():
            wrap(raw).perform(POSTGRES.insert(draft()))
            with raw.transaction() as inner:
                wrap(raw).perform(POSTGRES.insert(draft()))
                raise psycopg.Rollback(inner)
            before = postgres_db.jobs

        assert (before, postgres_db.jobs) == (0, 1)

    def test_in_autocommit_a_block_is_joined(self, postgres_db, raw):
        raw.autocommit = True
        with raw.transaction() as outer:
            wrap(raw).perform(POSTGRES.insert(draft()))
            raise psycopg.Rollback(outer)

        assert postgres_db.jobs == 0

    def test_in_autocommit_the_job_is_there_at_once(self, postgres_db, raw):
        raw.autocommit = True

        wrap(raw).perform(POSTGRES.insert(draft()))

        assert postgres_db.jobs == 1

    def test_a_pipeline_is_joined(self, postgres_db):
        with psycopg.connect(postgres_db.url) as raw, raw.pipeline():
            raw.execute("CREATE TABLE orders (id bigint)")
            inserted = wrap(raw).perform(POSTGRES.insert(draft()))
            deleted = wrap(raw).perform(POSTGRES.delete([inserted.id]))
            kept = wrap(raw).perform(POSTGRES.insert_many([draft(), draft()]))
            before = postgres_db.jobs
            raw.commit()

        assert (deleted, len(kept), before, postgres_db.jobs) == ([inserted.id], 2, 0, 2)

    def test_many_in_a_pipeline_are_refused_with_a_reason(self, postgres_db):
        with psycopg.connect(postgres_db.url) as raw, raw.pipeline():
            with pytest.raises(StoreError, match="pipeline"):
                wrap(raw).perform(POSTGRES.insert_many([draft() for _ in range(MANY)]))
            raw.rollback()

        assert postgres_db.jobs == 0

    def test_without_tables_it_says_how_to_make_them(self, postgres_url):
        with psycopg.connect(postgres_url) as raw, pytest.raises(SchemaMissing, match="belayed migrate"):
            wrap(raw).perform(POSTGRES.insert(draft()))


class TestAsyncPsycopg:
    @pytest.fixture(params=PSYCOPG, ids=str)
    async def raw(self, request, postgres_db) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        given = {**PSYCOPG[request.param]}
        if "cursor_factory" in given:
            given["cursor_factory"] = psycopg.AsyncClientCursor
        async with await psycopg.AsyncConnection.connect(postgres_db.url, **given) as raw:
            yield raw

    async def test_rolled_back_the_job_never_existed(self, postgres_db, raw):
        await wrap(raw).perform(POSTGRES.insert(draft()))
        await wrap(raw).perform(POSTGRES.insert_many([draft() for _ in range(MANY)]))
        await raw.rollback()

        assert postgres_db.jobs == 0

    async def test_committed_it_exists(self, postgres_db, raw):
        async with raw.transaction():
            await wrap(raw).perform(POSTGRES.insert(draft()))
            async with raw.transaction() as inner:
                await wrap(raw).perform(POSTGRES.insert(draft()))
                raise psycopg.Rollback(inner)
            before = postgres_db.jobs

        assert (before, postgres_db.jobs) == (0, 1)

    async def test_a_pipeline_is_joined(self, postgres_db, raw):
        if raw.cursor_factory is psycopg.AsyncClientCursor:
            pytest.skip("psycopg has no pipeline for client-side binds")
        async with raw.pipeline():
            await wrap(raw).perform(POSTGRES.insert(draft()))
            await raw.rollback()
            await wrap(raw).perform(POSTGRES.insert(draft()))
            await raw.commit()

        assert postgres_db.jobs == 1

    async def test_without_tables_it_says_how_to_make_them(self, postgres_url):
        async with await psycopg.AsyncConnection.connect(postgres_url) as raw:
            with pytest.raises(SchemaMissing, match="belayed migrate"):
                await wrap(raw).perform(POSTGRES.insert(draft()))


class TestAsyncpg:
    @pytest.fixture(params=["connection", "of a pool"])
    async def raw(self, request, postgres_db) -> AsyncIterator[Any]:
        if request.param == "connection":
            raw = await asyncpg.connect(postgres_db.url)
            yield raw
            await raw.close()
        else:
            async with asyncpg.create_pool(postgres_db.url, min_size=1) as pool, pool.acquire() as raw:
                yield raw

    async def test_rolled_back_the_job_never_existed(self, postgres_db, raw):
        transaction = raw.transaction()
        await transaction.start()
        await wrap(raw).perform(POSTGRES.insert(draft()))
        await wrap(raw).perform(POSTGRES.insert_many([draft() for _ in range(MANY)]))
        await transaction.rollback()

        assert postgres_db.jobs == 0

    async def test_committed_it_exists(self, postgres_db, raw):
        async with raw.transaction():
            await wrap(raw).perform(POSTGRES.insert(draft()))
            savepoint = raw.transaction()
            await savepoint.start()
            await wrap(raw).perform(POSTGRES.insert(draft()))
            await savepoint.rollback()
            before = postgres_db.jobs

        assert (before, postgres_db.jobs) == (0, 1)

    async def test_without_a_transaction_the_job_is_there_at_once(self, postgres_db, raw):
        await wrap(raw).perform(POSTGRES.insert(draft()))

        assert postgres_db.jobs == 1

    async def test_a_connection_given_back_to_its_pool_is_refused(self, postgres_db):
        async with asyncpg.create_pool(postgres_db.url, min_size=1) as pool:
            async with pool.acquire() as raw:
                pass
            with pytest.raises(StoreError, match="released back to the pool"):
                await wrap(raw).perform(POSTGRES.insert(draft()))

    async def test_without_tables_it_says_how_to_make_them(self, postgres_url):
        raw = await asyncpg.connect(postgres_url)
        with pytest.raises(SchemaMissing, match="belayed migrate"):
            await wrap(raw).perform(POSTGRES.insert(draft()))
        await raw.close()


@pytest.mark.parametrize("wrong", [object(), "postgresql://u:secret@host/db", sqlite3.Cursor, None, 1])
def test_what_is_no_connection_is_refused(wrong):
    with pytest.raises(ConfigError, match="it takes a connection of sqlite3, aiosqlite, psycopg or asyncpg") as caught:
        wrap(wrong)

    assert "secret" not in str(caught.value)
