"""What sqlite3 can do with a table of jobs that has nothing but what a claim needs, as durable as Belayed's default."""

from __future__ import annotations

import sqlite3
import time

from benchmarks.peers.peer import Peer, mark

TABLE = """
CREATE TABLE bare (
    id integer PRIMARY KEY AUTOINCREMENT,
    priority integer NOT NULL DEFAULT 0,
    run_at integer NOT NULL DEFAULT 0,
    locked_at integer,
    payload text NOT NULL
) STRICT;
CREATE INDEX bare_ready ON bare (priority, run_at, id) WHERE locked_at IS NULL;
"""
CLAIM = """
UPDATE bare SET locked_at = 1
WHERE id IN (SELECT id FROM bare WHERE locked_at IS NULL ORDER BY priority, run_at, id LIMIT ?)
RETURNING id, payload
"""
INSERT = "INSERT INTO bare (payload) VALUES (?)"


def connect(url: str) -> sqlite3.Connection:
    """In autocommit mode, with the pragmas that Belayed sets by default."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


class Measured(Peer):
    async def setup(self) -> None:
        connection = connect(self.url)
        connection.executescript(TABLE)
        connection.close()

    async def open(self) -> None:
        self.connection = connect(self.url)

    async def close(self) -> None:
        self.connection.close()

    async def enqueue(self, number: int) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute(INSERT, (str(number),))
        self.connection.execute("COMMIT")

    async def enqueue_many(self, numbers: range) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.executemany(INSERT, ((str(number),) for number in numbers))
        self.connection.execute("COMMIT")

    def work(self) -> None:
        """Claim a batch and commit, run it, delete it and commit."""
        stopped = self.stopped()
        connection = connect(self.url)
        batch = self.options.get("batch", 100)
        while not stopped.is_set():
            connection.execute("BEGIN IMMEDIATE")
            claimed = connection.execute(CLAIM, (batch,)).fetchall()
            connection.execute("COMMIT")
            for _, payload in claimed:
                mark(int(payload))
            if claimed:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("DELETE FROM bare WHERE id = ?", ((id,) for id, _ in claimed))
                connection.execute("COMMIT")
            else:
                time.sleep(0.005)
        connection.close()
