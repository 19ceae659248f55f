"""What goes to the databases: every statement, trip and transaction of the connections that are opened meanwhile."""

from __future__ import annotations

import os
import re
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.pq import Trace

MESSAGE = re.compile(r"^([FB])\t\d+\t(\w+)(?:\t ?(.*))?$", re.MULTILINE)
"""A message in libpq's trace, from the front end or the back end; a text of several lines goes on in the next ones."""
NAMES = re.compile(r'"([^"]*)" "([^"]*)"')
WRITES = ("INSERT", "UPDATE", "DELETE")
WATCHING = "PRAGMA data_version"
"""What an idle worker asks SQLite all the time: a look into shared memory."""


@dataclass
class Traffic:
    """What was sent."""

    statements: list[str] = field(default_factory=list)
    """Their first lines, BEGIN and COMMIT too."""
    trips: int = 0
    """How often a client of PostgreSQL has waited for it."""
    transactions: int = 0
    """On PostgreSQL also those of single statements, which read or write; on SQLite those that write."""

    @property
    def cost(self) -> tuple[int, int, int]:
        return len(self.statements), self.trips, self.transactions


class Lite(sqlite3.Connection):
    """A connection that says how many rows it has changed, once it is closed."""

    wire: Wire

    def close(self) -> None:
        if self in self.wire.lites:
            self.wire.lites.remove(self)
            self.wire.changed += self.total_changes
        super().close()


class Wire:
    """Watches the drivers. Connections that are open already are not watched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.traces: list[Traced] = []
        self.lites: list[Lite] = []
        self.asked: list[tuple[str, bool]] = []
        """What SQLite was asked, and whether that was a transaction by itself, or began one."""
        self.changed = 0

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        connect, aconnect = driver_connect(psycopg.Connection), driver_connect(psycopg.AsyncConnection)
        lite_connect = sqlite3.connect

        def watched(cls: Any, *args: Any, **options: Any) -> Any:
            return self.traced(connect(cls, *args, **options))

        async def awatched(cls: Any, *args: Any, **options: Any) -> Any:
            return self.traced(await aconnect(cls, *args, **options))

        def lite_watched(*args: Any, **options: Any) -> Any:
            raw = lite_connect(*args, factory=Lite, **options)
            raw.wire = self
            raw.set_trace_callback(lambda text: self.asked.append((text, not raw.in_transaction)))
            self.lites.append(raw)
            return raw

        monkeypatch.setattr(psycopg.Connection, "connect", classmethod(watched))
        monkeypatch.setattr(psycopg.AsyncConnection, "connect", classmethod(awatched))
        monkeypatch.setattr(sqlite3, "connect", lite_watched)

    def traced(self, raw: Any) -> Any:
        self.traces.append(Traced(raw, self.folder / f"trace-{len(self.traces)}"))
        return raw

    def take(self) -> Traffic:
        """What was sent since the last time."""
        traffic = Traffic()
        for trace in self.traces:
            trace.read_into(traffic)
        asked, self.asked[:] = list(self.asked), []
        for text, alone in asked:
            if not text.startswith(WATCHING):
                traffic.statements.append(text.partition("\n")[0])
                traffic.transactions += text == "COMMIT" or (alone and text.startswith(WRITES))
        return traffic

    def changes(self) -> int:
        """How many rows of SQLite's tables were inserted, updated or deleted in all."""
        return self.changed + sum(lite.total_changes for lite in self.lites)

    def close(self) -> None:
        for trace in self.traces:
            trace.close()


def driver_connect(driver: Any) -> Any:
    """What connects, to be given the class."""
    return driver.connect.__func__


class Traced:
    """libpq's own account of what a connection sends and is sent (psycopg has it on Linux)."""

    def __init__(self, raw: Any, path: Path) -> None:
        self.raw, self.prepared, self.asked, self.rest = raw, {"": ""}, "", ""
        self.writing = os.open(path, os.O_CREAT | os.O_WRONLY)
        self.reading = path.open(encoding="utf-8", errors="replace")
        raw.pgconn.trace(self.writing)
        raw.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)

    def read_into(self, traffic: Traffic) -> None:
        """Add what was traced since the last time."""
        # Another thread may be writing the last line.
        traced, end, self.rest = (self.rest + self.reading.read()).rpartition("\n")
        for side, kind, text in MESSAGE.findall(traced + end):
            if (side, kind) == ("F", "Parse"):
                name, text = text.split('" "', 1)
                self.prepared[name.strip('"')] = text
            elif (side, kind) == ("F", "Bind"):
                if names := NAMES.match(text):
                    self.asked = self.prepared[names[2]]
            elif (side, kind) == ("F", "Execute"):
                traffic.statements.append(self.asked)
            elif (side, kind) == ("F", "Query"):
                traffic.statements.append(text.strip('"'))
            elif (side, kind) == ("B", "ReadyForQuery"):
                traffic.trips += 1
                traffic.transactions += text == "I"
            elif (side, kind) == ("B", "CopyInResponse"):
                traffic.trips += 1

    def close(self) -> None:
        if not self.raw.closed:
            self.raw.pgconn.untrace()
        os.close(self.writing)
        self.reading.close()
