"""The public API on each store, called from threads and from an event loop, with a worker to run what it saves."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import belayed
from belayed import Jobs, Worker
from belayed.config import current
from tests import servers
from tests.patience import patient

TABLES = ("jobs", "history", "attempts", "workers", "queues")
TWINS = {"wait": "await_"}
"""Async twins that are not called as the others are."""


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with empty tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "belayed.db"
    jobs = Jobs(f"sqlite:///{path}")
    jobs.migrate()
    jobs.close()
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite database for this test alone."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'belayed.db')}"


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: str) -> Iterator[str]:
    """A migrated database for all tests of this process."""
    url = servers.create_database(postgres_server)
    jobs = Jobs(url)
    jobs.migrate()
    jobs.close()
    yield url
    servers.drop_database(postgres_server, url)


@pytest.fixture
def postgresql_url(shared_postgres_url: str) -> str:
    """A migrated PostgreSQL database, emptied for this test."""
    tables = ", ".join(f"belayed_{name}" for name in TABLES)
    with psycopg.connect(
        shared_postgres_url, autocommit=True, options=f"-c lock_timeout={patient(5):g}s"
    ) as connection:
        connection.execute(f"TRUNCATE {tables} RESTART IDENTITY".encode())
    return shared_postgres_url


@pytest.fixture
def make_jobs() -> Iterator[Callable[..., Jobs]]:
    """Configures the program's `Jobs`; they are closed after the test."""
    made: list[Jobs] = []
    before = current.jobs

    def make(url: str | None = None, **settings: Any) -> Jobs:
        jobs = belayed.configure(url, **settings)
        made.append(jobs)
        return jobs

    yield make
    for jobs in made:
        jobs.close()
    current.jobs = before


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """A migrated database with empty tables, of each store."""
    return request.getfixturevalue(f"{request.param}_url")  # type: ignore[no-any-return]


@pytest.fixture
def jobs(sqlite_url: str, make_jobs: Callable[..., Jobs]) -> Jobs:
    """The program's `Jobs`, where the store makes no difference."""
    return make_jobs(sqlite_url)


@pytest.fixture
def each_jobs(url: str, make_jobs: Callable[..., Jobs]) -> Jobs:
    """The program's `Jobs`, on each store."""
    return make_jobs(url)


Do = Callable[..., Any]


@pytest.fixture(params=["sync", "async"])
def do(request: pytest.FixtureRequest) -> Iterator[Do]:
    """Calls a method of an object, or its async twin: `do(job, "cancel")`."""
    if request.param == "sync":
        yield lambda whose, name, /, *args, **options: getattr(whose, name)(*args, **options)
        return
    # With a factory: without one a runner changes the thread's current loop.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:

        async def twin(whose: Any, name: str, args: Any, options: Any) -> Any:
            return await getattr(whose, TWINS.get(name, f"a{name}"))(*args, **options)

        yield lambda whose, name, /, *args, **options: runner.run(twin(whose, name, args, options))
        if current.jobs is not None:
            runner.run(current.jobs.aclose())


@pytest.fixture
def work_off() -> Callable[..., Any]:
    """Runs the ready jobs of a `Jobs` in this process; what came of them."""
    return lambda jobs, **settings: Worker(jobs=jobs, **settings).run(until_empty=True)
