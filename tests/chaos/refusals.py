"""What the database refuses during a chaos run: outcomes, records, duties; and rows that somebody keeps locked."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.chaos.places import NOBODY, Postgres, Sqlite

CASES = {
    "claims": ("jobs", "UPDATE", "NEW.id", "OLD.state = 'ready' AND NEW.state = 'running'"),
    "ends": ("history", "INSERT", "NEW.id", "true"),
    "deletes": ("jobs", "DELETE", "OLD.id", "true"),
    "records": ("attempts", "INSERT", "NEW.job_id", "true"),
    # Only what makes jobs ready when they are due: the load writes such rows by hand, and changes their time.
    "promotions": (
        "jobs",
        "UPDATE",
        "NEW.id",
        "OLD.state = 'scheduled' AND NEW.state = 'ready' AND NEW.run_at = OLD.run_at",
    ),
    "returns": ("jobs", "UPDATE", "NEW.id", "OLD.state = 'running' AND NEW.state <> 'running'"),
}
"""What may be refused: the table, the event, whose job it is, and when."""
SHARES = 7
"""One in so many jobs is concerned at a time."""
TABLE = "CREATE TABLE chaos_refusals (what text NOT NULL, part integer NOT NULL)"
SQLITE = """
    CREATE TRIGGER chaos_{what} BEFORE {event} ON belayed_{table}
    WHEN {when} AND EXISTS (SELECT 1 FROM chaos_refusals WHERE what = '{what}' AND part = {id} % {shares})
    BEGIN SELECT RAISE(ABORT, 'chaos refuses {what}'); END
"""
POSTGRESQL = """
    CREATE FUNCTION chaos_{what}() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM chaos_refusals WHERE what = '{what}' AND part = {id} % {shares}) THEN
            RAISE EXCEPTION 'chaos refuses {what}';
        END IF;
        RETURN COALESCE(NEW, OLD);
    END $$;
    CREATE TRIGGER chaos_{what} BEFORE {event} ON belayed_{table} FOR EACH ROW WHEN ({when})
    EXECUTE FUNCTION chaos_{what}()
"""
HINTS = """
    CREATE SCHEMA chaos;
    CREATE FUNCTION chaos.pg_notify(channel text, hint text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM public.chaos_refusals WHERE what = 'hints') THEN
            RAISE 'chaos: too many notifications in the NOTIFY queue' USING ERRCODE = '54000';
        END IF;
        PERFORM pg_catalog.pg_notify(channel, hint);
    END $$;
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = chaos, pg_catalog, public', current_database());
    END $$
"""
"""In the place of the server's own function, for all connections that are opened from then on."""
UNRECORDED = re.compile(r"the outcome of \S+ #(\d+) was written without [^,]*the record of its attempts")


class Refusals:
    """The refusals of one run."""

    def __init__(self, place: Sqlite | Postgres) -> None:
        self.place = place

    def install(self) -> None:
        """Make the triggers. They refuse nothing yet."""
        text = SQLITE if self.place.name == "sqlite" else POSTGRESQL
        with contextlib.closing(self.place.open()) as raw:
            raw.execute(TABLE)
            for what, (table, event, id, when) in CASES.items():
                raw.execute(text.format(what=what, table=table, event=event, id=id, when=when, shares=SHARES))
            if self.place.name == "postgresql":
                raw.execute(HINTS)

    def faults(self) -> dict[str, float]:
        """What can happen, and how often."""
        of_server = {"lock_rows": 1.5, "set_back": 1.0, "refuse_hints": 1.0}
        return {"refuse": 3.0, **(of_server if self.place.name == "postgresql" else {})}

    def refuse(self, rng: random.Random) -> set[int]:
        """Refuse something of some jobs for a while. Nothing may run twice for it."""
        return self.refused(rng.choice(list(CASES)), rng)

    def refuse_hints(self, rng: random.Random) -> set[int]:
        """Refuse each NOTIFY for a while, as a server does whose queue is full."""
        return self.refused("hints", rng)

    def refused(self, what: str, rng: random.Random) -> set[int]:
        part = rng.randrange(SHARES)
        with contextlib.closing(self.place.open()) as raw:
            raw.execute(f"INSERT INTO chaos_refusals VALUES ('{what}', {part})")
        time.sleep(rng.uniform(0.3, 4))
        self.lift(f"WHERE what = '{what}' AND part = {part}")
        return NOBODY

    def lock_rows(self, rng: random.Random) -> set[int]:
        """Keep some running jobs locked in a transaction that stays open."""
        with contextlib.closing(self.place.open()) as raw, raw.transaction(force_rollback=True):
            raw.execute(
                "SELECT FROM belayed_jobs WHERE id IN (SELECT id FROM belayed_jobs WHERE state = 'running'"
                f" ORDER BY random() LIMIT {rng.randint(1, 5)}) FOR UPDATE SKIP LOCKED"
            )
            time.sleep(rng.uniform(0.3, 5))
        return NOBODY

    def set_back(self, rng: random.Random) -> set[int]:
        """Set the sequence of the attempts back behind its rows, as a restore does."""
        with contextlib.closing(self.place.open()) as raw:
            raw.execute(
                "SELECT setval(pg_get_serial_sequence('belayed_attempts', 'id'),"
                f" greatest(1, (SELECT max(id) FROM belayed_attempts) - {rng.randint(1, 40)}))"
            )
        return NOBODY

    def lift(self, which: str = "", within: float = 30.0) -> None:
        """Refuse no more of *which*, as soon as the database is there."""
        deadline = time.monotonic() + within
        while True:
            try:
                with contextlib.closing(self.place.open()) as raw:
                    raw.execute(f"DELETE FROM chaos_refusals {which}")
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return


def unrecorded(logs: Iterable[Path]) -> set[int]:
    """The jobs of which workers have logged that the record of an attempt was refused."""
    found: set[Any] = set()
    for log in logs:
        found.update(UNRECORDED.findall(log.read_text("utf-8", "replace")))
    return {int(id) for id in found}
