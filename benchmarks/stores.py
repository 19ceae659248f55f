"""Where the jobs of one run are kept: new and empty each time, with what the database counts."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import psycopg

from benchmarks import processes
from benchmarks.servers import Postgres, Redis

Figures = dict[str, float]


class Store(Protocol):
    """One empty store."""

    kind: str
    url: str

    def cpu(self) -> float:
        """Seconds of CPU that the database has used."""

    def counted(self) -> Figures:
        """What the database counts itself; the difference of two is of the time between."""

    def settle(self) -> None:
        """Let no earlier work be left for the run."""


class PostgresStore:
    kind = "postgresql"

    def __init__(self, server: Postgres, database: str) -> None:
        self.server = server
        self.database = database
        self.url = server.url(database)

    def cpu(self) -> float:
        return processes.cpu(self.server.pid)

    def counted(self) -> Figures:
        # Sessions that have ended have reported; that of this question has not.
        ((commits, wal),) = self.server.execute(
            "SELECT xact_commit + xact_rollback, pg_current_wal_insert_lsn() - '0/0'::pg_lsn "
            f"FROM pg_stat_database WHERE datname = '{self.database}'"
        )
        return {"commits": float(commits), "wal bytes": float(wal)}

    def settle(self) -> None:
        self.server.execute("VACUUM ANALYZE", "CHECKPOINT", database=self.database)


class RedisStore:
    kind = "redis"

    def __init__(self, server: Redis) -> None:
        self.server = server
        self.url = server.url

    def cpu(self) -> float:
        return processes.cpu(self.server.pid)

    def counted(self) -> Figures:
        return {"statements": float(self.server.info("total_commands_processed"))}

    def settle(self) -> None:
        pass


class SqliteStore:
    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def cpu(self) -> float:
        return 0.0

    def counted(self) -> Figures:
        return {}

    def settle(self) -> None:
        connection = sqlite3.connect(self.path)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.close()


class Stores:
    """The servers of a session, and new stores on them."""

    def __init__(self, postgres: Postgres, redis: Redis | None) -> None:
        self.postgres = postgres
        self.redis = redis
        self.made = 0

    @contextmanager
    def new(self, kind: str) -> Iterator[Store]:
        """An empty store of this kind, gone afterwards."""
        if kind == "postgresql":
            self.made += 1
            name = f"bench_{self.made}"
            self.postgres.execute(f"CREATE DATABASE {name}")
            try:
                yield PostgresStore(self.postgres, name)
            finally:
                self.postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
        elif kind == "redis":
            assert self.redis is not None, "contestants without their server are left out"
            self.redis.ask("FLUSHALL")
            yield RedisStore(self.redis)
        else:
            with tempfile.TemporaryDirectory(prefix="belayed-bench-") as folder:
                yield SqliteStore(Path(folder) / "jobs.db")


def rows(store: Store) -> tuple[int, int]:
    """Belayed's live jobs, and its history, of one moment."""
    question = "SELECT (SELECT count(*) FROM belayed_jobs), (SELECT count(*) FROM belayed_history)"
    if isinstance(store, SqliteStore):
        file = sqlite3.connect(store.path)
        found = file.execute(question).fetchone()
        file.close()
    else:
        with psycopg.connect(store.url) as connection:
            found = connection.execute(question.encode()).fetchone()
    assert found is not None, "it counts"
    return int(found[0]), int(found[1])
