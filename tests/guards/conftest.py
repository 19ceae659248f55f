"""Databases to count on, and the watch over what is sent to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from belayed.config import current
from belayed.jobs import Jobs
from tests.guards.wire import Wire
from tests.store.factories import Driven


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """What is sent on the connections that this test opens."""
    wire = Wire(tmp_path)
    wire.watch(monkeypatch)
    yield wire
    wire.close()


@pytest.fixture
def jobs(url: str, wire: Wire) -> Iterator[Jobs]:
    """Jobs in it, the program's until the end of the test. What has ended is not pruned: nobody knows when it would."""
    yield from opened(url)


@pytest.fixture
def postgres_jobs(postgres_url: str, wire: Wire) -> Iterator[Jobs]:
    """The same where there are hints."""
    yield from opened(postgres_url)


def opened(url: str) -> Iterator[Jobs]:
    jobs = Jobs(url, synchronous="normal", keep_succeeded=True, keep_failed=True, keep_cancelled=True)
    jobs.migrate()
    current.jobs = jobs
    yield jobs
    current.jobs = None
    jobs.close()


@pytest.fixture
def store(jobs: Jobs) -> Driven:
    """The store of these jobs, driven by threads."""
    return Driven(jobs.store, jobs.connections.perform)


@pytest.fixture
def expected(url: str) -> Any:
    """Chooses what is expected of the database of this test."""
    return lambda **by_dialect: by_dialect[url.partition(":")[0]]
