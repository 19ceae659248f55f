"""Where a chaos run takes place: a database of its own, and what can be done to it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.servers import PostgresServer

EFFECTS = "CREATE TABLE chaos_effects (key text NOT NULL)"


class Sqlite:
    """A file."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.file = folder / "chaos.db"
        self.url = f"sqlite:///{self.file}"

    def open(self) -> Any:
        return sqlite3.connect(self.file, timeout=20, isolation_level=None)

    def rolled_back(self, enqueue: Any) -> None:
        """Call *enqueue* in a transaction that comes to nothing."""
        with contextlib.closing(self.open()) as raw:
            raw.execute("BEGIN IMMEDIATE")
            enqueue(raw)
            raw.execute("ROLLBACK")

    def faults(self) -> dict[str, float]:
        """What can happen to it, and how often."""
        return {"lock": 1.0}

    def lock(self, rng: random.Random) -> set[int]:
        """Keep everybody from writing for a while."""
        with contextlib.closing(self.open()) as raw:
            raw.execute("BEGIN IMMEDIATE")
            time.sleep(rng.uniform(0.2, 3))
            raw.execute("ROLLBACK")
        return ALL

    def far(self) -> list[int]:
        """The jobs that are put off for long."""
        query = "SELECT id FROM belayed_jobs WHERE run_at > ? AND state <> 'running'"
        with contextlib.closing(self.open()) as raw:
            return [row[0] for row in raw.execute(query, (round((time.time() + 600) * 1e6),))]

    def close(self) -> None:
        """The folder goes with the run."""


ALL: set[int] = set()
"""Of a fault that concerns everybody."""
NOBODY = {-1}
"""Of a fault that must not make anything run twice."""


class Postgres:
    """A server."""

    name = "postgresql"

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.server = PostgresServer(folder / "postgres")
        self.server.start()
        self.url = self.server.url()
        self.restarted = time.monotonic()

    def open(self) -> Any:
        return psycopg.connect(self.url, autocommit=True)

    def rolled_back(self, enqueue: Any) -> None:
        """Call *enqueue* in a transaction that comes to nothing."""
        with self.open() as raw, contextlib.suppress(psycopg.Rollback), raw.transaction(force_rollback=True):
            enqueue(raw)

    def faults(self) -> dict[str, float]:
        """What can happen to it, and how often."""
        due = time.monotonic() - self.restarted > 30
        return {"cut": 3.0, "freeze": 1.0, "restart": 20.0 if due else 0.0}

    def backends(self) -> list[int]:
        with self.open() as raw:
            query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            return [row[0] for row in raw.execute(query)]

    def cut(self, rng: random.Random) -> set[int]:
        """End some connections. What was said is said again: nothing may run twice for it."""
        for pid in rng.sample(found := self.backends(), min(len(found), rng.randint(1, 3))):
            with self.open() as raw:
                raw.execute("SELECT pg_terminate_backend(%s)", (pid,))
        return NOBODY

    def freeze(self, rng: random.Random) -> set[int]:
        """Stop a backend: its client hears nothing."""
        if not (found := self.backends()):
            return NOBODY
        pid = rng.choice(found)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(rng.uniform(0.2, 3))
            os.kill(pid, signal.SIGCONT)
        return ALL

    def restart(self, rng: random.Random) -> set[int]:
        self.server.stop(rng.choice(("immediate", "fast")))
        time.sleep(rng.uniform(0, 1))
        self.server.start()
        self.restarted = time.monotonic()
        return ALL

    def far(self) -> list[int]:
        """The jobs that are put off for long."""
        query = "SELECT id FROM belayed_jobs WHERE run_at > now() + interval '10 minutes' AND state <> 'running'"
        with self.open() as raw:
            return [row[0] for row in raw.execute(query)]

    def close(self) -> None:
        self.server.destroy()
