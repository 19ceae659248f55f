"""Whatever encoding a role, a database, the environment or the application's connection has set: texts stay whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psycopg
import pytest

from belayed import Jobs, State
from belayed.errors import ConfigError, StoreError
from tests.worker.tasks import double

EMOJI = "\N{PILE OF POO}"
MANY = 60
"""So many are loaded by COPY."""
ENCODINGS = ["SQL_ASCII", "LATIN1", "WIN1252", "EUC_JP"]


@pytest.fixture
def jobs(postgres_url) -> Iterator[Jobs]:
    jobs = Jobs(postgres_url)
    jobs.migrate()
    yield jobs
    jobs.close()


def enqueued(jobs: Jobs, number: int, text: str, **options: Any) -> list[Any]:
    return jobs.enqueue_many([double.draft(text) for _ in range(number)], **{"queue": text, **options})


def saved(postgres_url: str) -> list[Any]:
    """The queues of all jobs, whose names are also in their arguments, as another program reads them."""
    with closing(Jobs(postgres_url)) as jobs:
        found = jobs.find(limit=1000)
    assert all(job.queue in job.payload for job in found)
    return sorted(job.queue for job in found)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("where", ["database", "environment", "url"])
def test_our_connections_speak_utf_8(postgres_url, encoding, where, monkeypatch):
    name = urlsplit(postgres_url).path[1:]
    if where == "database":
        with psycopg.connect(postgres_url, autocommit=True) as raw:
            raw.execute(f"ALTER DATABASE {name} SET client_encoding TO '{encoding}'".encode())
    elif where == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", encoding)
    url = f"{postgres_url}&client_encoding={encoding}" if where == "url" else postgres_url

    async def twins(jobs: Jobs) -> None:
        await jobs.aenqueue(double.draft(EMOJI), queue=EMOJI)
        await jobs.aenqueue_many([double.draft(EMOJI) for _ in range(MANY)], queue=EMOJI)
        await jobs.aclose()

    with closing(Jobs(url)) as jobs:
        jobs.migrate()
        jobs.enqueue(double.draft(EMOJI), queue=EMOJI)
        for number in (2, MANY):
            enqueued(jobs, number, EMOJI)
        asyncio.run(twins(jobs))
        found = [job.state for job in jobs.find(limit=1000)]

    assert found == [State.READY] * (4 + 2 * MANY)
    monkeypatch.undo()
    assert saved(postgres_url) == [EMOJI] * len(found)


def test_a_callers_connection_that_converts_nothing_saves_every_text(jobs, postgres_url):
    with psycopg.connect(postgres_url, client_encoding="SQL_ASCII") as raw:
        for number in (1, 2, MANY):
            found = enqueued(jobs, number, EMOJI, connection=raw)
            assert {(job.state, job.queue) for job in found} == {(State.READY, EMOJI)}
        raw.commit()

    assert saved(postgres_url) == [EMOJI] * (3 + MANY)


@pytest.mark.parametrize("number", [1, 2, MANY])
def test_a_callers_connection_of_another_encoding_saves_what_it_has(jobs, postgres_url, number):
    with psycopg.connect(postgres_url, client_encoding="LATIN1") as raw:
        enqueued(jobs, number, "é", connection=raw)
        with pytest.raises(StoreError, match=r"client_encoding .* has no .*SET client_encoding TO 'UTF8'"):
            enqueued(jobs, number, EMOJI, connection=raw)
        # The transaction goes on.
        enqueued(jobs, number, "ü", connection=raw)
        raw.commit()

    assert saved(postgres_url) == ["é"] * number + ["ü"] * number


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
@pytest.mark.parametrize("number", [1, 2, MANY])
def test_the_same_holds_for_the_async_connections_of_callers(jobs, postgres_url, number, encoding):
    lacks = encoding == "LATIN1"

    async def run() -> None:
        raw = await psycopg.AsyncConnection.connect(postgres_url, client_encoding=encoding)
        async with raw:
            drafts = [double.draft("é") for _ in range(number)]
            await jobs.aenqueue_many(drafts, queue="é", connection=raw)
            if lacks:
                with pytest.raises(StoreError, match="has no"):
                    await jobs.aenqueue_many([double.draft(EMOJI)] * number, connection=raw)

    asyncio.run(run())

    assert saved(postgres_url) == ["é"] * number


@pytest.mark.parametrize("number", [1, 2])
def test_the_same_holds_for_asyncpg(jobs, postgres_url, number):
    async def run() -> None:
        raw = await asyncpg.connect(postgres_url)
        try:
            await raw.execute("SET client_encoding TO 'LATIN1'")
            async with raw.transaction():
                drafts = [double.draft("é") for _ in range(number)]
                await jobs.aenqueue_many(drafts, queue="é", connection=raw)
                with pytest.raises(StoreError, match="has no"):
                    await jobs.aenqueue_many([double.draft(EMOJI)] * number, connection=raw)
        finally:
            await raw.close()

    asyncio.run(run())

    assert saved(postgres_url) == ["é"] * number


@pytest.fixture
def ascii_url(postgres_server) -> Iterator[str]:
    """A database whose encoding is none."""
    name = "belayed_test_ascii"
    with psycopg.connect(postgres_server, autocommit=True) as raw:
        raw.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0".encode())
    yield urlunsplit(urlsplit(postgres_server)._replace(path=f"/{name}"))
    with psycopg.connect(postgres_server, autocommit=True) as raw:
        raw.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_database_without_an_encoding_is_refused_by_migrate(ascii_url):
    with closing(Jobs(ascii_url)) as jobs, psycopg.connect(ascii_url) as raw:
        with pytest.raises(ConfigError, match=r"its encoding is SQL_ASCII.*CREATE DATABASE .* ENCODING 'UTF8'"):
            jobs.migrate()

        assert raw.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'belayed%'").fetchone() == (0,)
