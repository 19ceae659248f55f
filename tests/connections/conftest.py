"""A PostgreSQL on this machine, whose processes may be stopped and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from belayed.job import Draft
from tests import servers
from tests.patience import patient
from tests.proxy import FaultProxy


class Text:
    task = "t"

    def write(self, codec: object) -> str:
        return "{}"


def draft(queue: str = "a") -> Draft:
    return Draft(payload=Text(), task="t", text="{}", queue=queue, priority=0)


@pytest.fixture(scope="session")
def local_postgres() -> Iterator[servers.PostgresServer]:
    """A server of these tests' own, also where another one is named for the rest."""
    with tempfile.TemporaryDirectory(prefix="belayed-") as folder:
        with servers.wanted():
            server = servers.PostgresServer(Path(folder) / "postgres")
            server.start()
        yield server
        server.destroy()


@pytest.fixture
def local_url(local_postgres: servers.PostgresServer) -> Iterator[str]:
    """An empty database on it."""
    url = servers.create_database(local_postgres.url())
    yield url
    servers.drop_database(local_postgres.url(), url)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process *pid* stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: state_of(pid).startswith("T"))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def state_of(pid: int) -> str:
    """The state of a process as `ps` writes it: T is stopped."""
    return subprocess.run(["ps", "-o", "state=", "-p", str(pid)], check=False, capture_output=True, text=True).stdout


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + patient(seconds)
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """What is done in it takes no longer."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < patient(seconds)


@pytest.fixture
def proxy(local_url: str) -> Iterator[FaultProxy]:
    """A proxy before an empty database."""
    with FaultProxy(local_url) as proxy:
        yield proxy


@contextmanager
def locked(url: str, table: str = "belayed_jobs") -> Iterator[None]:
    """Another session holds all that can be locked of a table."""
    with psycopg.connect(url) as raw:
        raw.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


def waiting(url: str) -> list[Any]:
    """How many seconds sessions of ours have been waiting for a lock."""
    with psycopg.connect(url, autocommit=True) as raw:
        rows = raw.execute(
            "SELECT extract(epoch FROM clock_timestamp() - query_start) FROM pg_stat_activity"
            " WHERE application_name = 'belayed' AND datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchall()
    return [row[0] for row in rows]
