"""Every store, driven in every way: one suite of conformance tests runs on each."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import servers
from tests.patience import patient
from tests.store.factories import Driven, of_loop, of_threads

TABLES = ("jobs", "history", "attempts", "workers", "queues")


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """An event loop of the tests' own. With a factory: without one a runner changes the thread's current loop."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with empty tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "belayed.db"
    store, connections = of_threads(f"sqlite:///{path}")
    store.migrate()
    connections.close()
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database for this test alone."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'belayed.db')}"


class SharedPostgres:
    """A migrated database for all tests of this process: emptying it takes a tenth of making one."""

    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self.url = url
        self.of_threads, self.threads = of_threads(url)
        self.of_loop, self.loop = of_loop(url, runner)
        self.of_threads.migrate()
        self.runner = runner
        self.cleaner = psycopg.connect(url, autocommit=True, options=f"-c lock_timeout={patient(5):g}s")

    def empty(self) -> None:
        tables = ", ".join(f"belayed_{name}" for name in TABLES)
        self.cleaner.execute(f"TRUNCATE {tables} RESTART IDENTITY".encode())

    def close(self) -> None:
        self.cleaner.close()
        self.threads.close()
        self.runner.run(self.loop.aclose())


@pytest.fixture(scope="session")
def shared_postgres(postgres_server: str, runner: asyncio.Runner) -> Iterator[SharedPostgres]:
    url = servers.create_database(postgres_server)
    shared = SharedPostgres(url, runner)
    yield shared
    shared.close()
    servers.drop_database(postgres_server, url)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A migrated database with empty tables."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite_url")  # type: ignore[no-any-return]
    shared = request.getfixturevalue("shared_postgres")
    shared.empty()
    return shared.url  # type: ignore[no-any-return]


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest) -> str:
    """How a store is driven: by threads, or from an event loop."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def store(url: str, way: str, request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Driven]:
    """An empty store on a connection of ours."""
    if url.startswith("postgresql"):
        shared = request.getfixturevalue("shared_postgres")
        driven = shared.of_threads if way == "sync" else shared.of_loop
        yield Driven(driven.store, driven.perform)
        return
    driven, connections = of_threads(url) if way == "sync" else of_loop(url, runner)
    yield driven
    connections.close()


@pytest.fixture
def stores(url: str) -> Iterator[Any]:
    """Makes drivers of the same store, each with connections of its own: other processes, as it were."""
    with ExitStack() as stack:

        def another() -> Driven:
            driven, connections = of_threads(url)
            stack.callback(connections.close)
            return driven

        yield another


@pytest.fixture
def synced(stores: Any) -> Driven:
    """An empty store driven by threads: where the way of driving makes no difference."""
    return stores()  # type: ignore[no-any-return]
