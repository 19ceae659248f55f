"""Runs the steps, on the servers that they need, and keeps what comes of them."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import environments, processes, servers, workloads
from benchmarks.contestants import Contestant
from benchmarks.peers.peer import URL
from benchmarks.plan import Step
from benchmarks.programs import Run
from benchmarks.results import Line, Result
from benchmarks.stores import Stores


class Session:
    """Contestants that are installed, servers that run, and the result so far."""

    def __init__(self, stores: Stores, result: Result, pythons: dict[str, Path]) -> None:
        self.stores = stores
        self.result = result
        self.pythons = pythons

    def measure(self, step: Step, work: Callable[[Run, int], dict[str, float]]) -> Line:
        """Run one step; what goes wrong is in its line, and ends nothing else."""
        who = step.contestant
        line = Line(
            name=who.name,
            title=who.title,
            store=who.store,
            variant=step.variant.name,
            workload=step.workload,
            run=step.run,
            jobs=step.jobs,
            cal=processes.calibration(),
            options=step.variant.options,
            source=step.variant.source,
            bare=who.bare,
        )
        try:
            with (
                self.stores.new(who.store) as store,
                Run.on(who, step.variant, self.pythons[who.program], store) as run,
            ):
                line.figures = work(run, step.jobs)
        except Exception as error:
            line.error = f"{type(error).__name__}: {error}"
        self.result.lines.append(line)
        return line


@contextmanager
def session(
    contestants: Sequence[Contestant], told: Callable[[str], None]
) -> Iterator[tuple[Session, list[Contestant]]]:
    """A session, and those of the contestants that can be measured here; *told* hears why others cannot."""
    with ExitStack() as around:
        postgres = around.enter_context(servers.postgres())
        missing: dict[str, str] = {}
        redis = None
        if any(one.store == "redis" for one in contestants):
            try:
                redis = around.enter_context(servers.redis())
            except servers.Unavailable as error:
                missing |= {one.name: str(error) for one in contestants if one.store == "redis"}
        pythons: dict[str, Path] = {}
        found: dict[str, dict[str, str]] = {}
        for one in contestants:
            if one.name not in missing:
                try:
                    pythons[one.program] = installed(one, told)
                    found[one.program] = versions(one, pythons[one.program])
                except environments.NotInstalled as error:
                    missing[one.name] = str(error)
        for name, reason in missing.items():
            told(f"[bold red]{name} is NOT measured:[/] {reason}")
        able = [one for one in contestants if one.name not in missing]
        result = Result(about(postgres, found), missing=missing)
        yield Session(Stores(postgres, redis), result, pythons), able


def installed(contestant: Contestant, told: Callable[[str], None]) -> Path:
    """The interpreter that runs this contestant."""
    if contestant.requirements is None:
        return Path(sys.executable)
    if not environments.made(contestant.program, contestant.requirements):
        told(f"installing {contestant.title}")
    return environments.interpreter(contestant.program, contestant.requirements, list(contestant.pythons))


def about(postgres: servers.Postgres, versions: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Everything that one must know to make sense of the figures."""
    ((version,),) = postgres.execute("SHOW server_version")
    shown = ("fsync", "synchronous_commit", "shared_buffers", "wal_sync_method", "max_connections")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "versions": versions,
        "servers": {
            "PostgreSQL": version,
            "Redis": servers.version_of("redis-server"),
            "PgBouncer": servers.version_of("pgbouncer"),
            "SQLite": sqlite3.sqlite_version,
        },
        "settings": {
            "PostgreSQL": {name: postgres.execute(f"SHOW {name}")[0][0] for name in shown},
            "Redis": "as installed: snapshots, no append-only file",
            "SQLite": "WAL, synchronous = FULL",
        },
    }


def versions(contestant: Contestant, python: Path) -> dict[str, str]:
    """What a contestant consists of, said by itself. Raises NotInstalled if it cannot even be imported."""
    command = [str(python), "-m", "benchmarks.peers", contestant.program, "versions", "{}"]
    # Some want to know where their store is as soon as they are imported; nothing is connected to.
    nowhere = {"postgresql": "postgresql://nobody@/none?host=/none", "redis": "redis://127.0.0.1:1/0"}
    given = {**os.environ, URL: nowhere.get(contestant.store, "")}
    try:
        output = subprocess.run(command, cwd=environments.ROOT, check=True, capture_output=True, text=True, env=given)
    except subprocess.CalledProcessError as error:
        raise environments.NotInstalled(f"it cannot be imported: {error.stderr.strip()[-500:]}") from error
    found: dict[str, str] = json.loads(output.stdout)
    return found


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "memory GiB": round(memory / 2**30, 1),
        "calibration ms": round(min(processes.calibration() for _ in range(5)), 2),
    }


def work_of(step: Step) -> Callable[[Run, int], dict[str, float]]:
    return workloads.ALL[step.workload]
