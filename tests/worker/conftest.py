"""Fresh databases for workers, and bodies for their tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from belayed.config import current
from belayed.jobs import Jobs
from tests.worker import tasks


@pytest.fixture
def opened() -> Iterator[Callable[..., Jobs]]:
    """Opens jobs in a database, its tables made; they are the program's until the end of the test."""
    with ExitStack() as stack:

        def opened(url: str, **settings: Any) -> Jobs:
            jobs = Jobs(url, synchronous="normal", **settings)
            stack.callback(jobs.close)
            jobs.migrate()
            current.jobs = jobs
            return jobs

        yield opened
        current.jobs = None


@pytest.fixture
def jobs(url: str, opened: Callable[..., Jobs]) -> Jobs:
    """Jobs in an empty database of each kind."""
    return opened(url)


@pytest.fixture
def lite(sqlite_path: Path, opened: Callable[..., Jobs]) -> Jobs:
    """Jobs in SQLite, where the store makes no difference."""
    return opened(f"sqlite:///{sqlite_path}")


@pytest.fixture
def postgres(postgres_url: str, opened: Callable[..., Jobs]) -> Jobs:
    """Jobs in PostgreSQL alone."""
    return opened(postgres_url)


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    """Where tasks of all processes leave a line each time they run."""
    path = tmp_path / "effects"
    path.touch()
    return path


@pytest.fixture
def body() -> Iterator[Callable[[Callable[..., Any]], str]]:
    """Makes a function of the test what `act` or `aact` runs by the name returned."""

    def body(function: Callable[..., Any]) -> str:
        name = f"{len(tasks.bodies)} {function.__name__}"
        tasks.bodies[name] = function
        return name

    yield body
    tasks.bodies.clear()


@pytest.fixture
def calls() -> Iterator[list[Any]]:
    """What the hooks of custom jobs were called with."""
    tasks.calls.clear()
    yield tasks.calls
    tasks.calls.clear()
