"""What is measured: a PostgreSQL that syncs, workers as the command starts them, and their CPU time."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psycopg

ROOT = Path(__file__).parent.parent
TICK = os.sysconf("SC_CLK_TCK")
DURABLE = "\nfsync = on\nshared_buffers = 512MB\n"


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a private PostgreSQL with durable defaults, or of the one that BELAYED_BENCH_POSTGRES names."""
    if given := os.environ.get("BELAYED_BENCH_POSTGRES"):
        yield given
        return
    sys.path.insert(0, str(ROOT))
    from tests.servers import PostgresServer

    folder = Path(tempfile.mkdtemp(prefix="belayed-bench-"))
    folder.chmod(0o755)
    server = PostgresServer(folder / "data")
    with (folder / "data" / "postgresql.conf").open("a") as settings:
        settings.write(DURABLE)
    server.start()
    try:
        yield server.url()
    finally:
        server.destroy()
        folder.rmdir()


@contextmanager
def sqlite() -> Iterator[str]:
    """The URL of a fresh SQLite file."""
    with tempfile.TemporaryDirectory(prefix="belayed-bench-") as folder:
        yield f"sqlite:///{folder}/jobs.db"


@contextmanager
def worker(url: str, *options: str, count: int = 1) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes of `belayed work` at its defaults, serving *url*."""
    command = [sys.executable, "-m", "belayed", "work", "--app", "benchmarks.tasks", "--url", url, *options]
    with tempfile.TemporaryFile() as log:
        processes = [subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) for _ in range(count)]
        try:
            yield processes
        finally:
            for process in processes:
                process.terminate()
            failed = [process.returncode for process in processes if process.wait(30) != 0]
            if failed:
                log.seek(0)
                raise SystemExit(f"a worker ended with {failed[0]}: {log.read()[-2000:].decode()}")


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def database_cpu(url: str) -> float:
    """Seconds of CPU that the processes of a local PostgreSQL have used, ended sessions included; 0 for SQLite."""
    if not url.startswith("postgres"):
        return 0.0
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_postmaster_start_time(), pg_backend_pid()").fetchone()
        assert row is not None
        backend = row[1]
    parent = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1]) if alive(backend) else 0
    return tree_cpu(parent) if parent else 0.0


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def tree_cpu(pid: int) -> float:
    """CPU of a process, its children that live and those that have ended."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.name) == pid:
            total += sum(int(field) for field in fields[11:15]) / TICK
        elif int(fields[1]) == pid:
            total += (int(fields[11]) + int(fields[12])) / TICK
    return total


def commits(url: str) -> int:
    """Transactions that a PostgreSQL database has committed."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()") if connection.info.server_version >= 150000 else None
        time.sleep(1.1)
        row = connection.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
        assert row is not None
        return int(row[0])


def describe(postgres: str) -> str:
    """The versions and the machine, for the head of a report."""
    with psycopg.connect(postgres) as connection:
        row = connection.execute("SELECT version(), current_setting('fsync'), current_setting('synchronous_commit')")
        server, fsync, synchronous = row.fetchone() or ("", "", "")
    versions = f"belayed {version('belayed')}, Python {platform.python_version()}, psycopg {version('psycopg')}"
    return "\n".join(
        [
            f"{versions}, {os.cpu_count()} CPUs, {platform.machine()}",
            f"{server.split(' on ')[0]}, fsync={fsync}, synchronous_commit={synchronous}, else as installed",
            f"SQLite {sqlite3.sqlite_version}, WAL, synchronous=FULL",
        ]
    )
