"""Private servers with durable defaults: PostgreSQL from the wheel of the tests, Redis and PgBouncer from the PATH."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.servers import NoServer, PostgresServer

SETTINGS = {"fsync": "on", "synchronous_commit": "on", "shared_buffers": "512MB"}
"""Of PostgreSQL; all else is as installed."""


class Unavailable(Exception):
    """A server that is wanted is not to be had; says why."""


class Postgres:
    """A PostgreSQL that syncs."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.log = server.directory / "log"

    @property
    def pid(self) -> int:
        return int((self.server.directory / "postmaster.pid").read_text().split()[0])

    def url(self, database: str = "postgres") -> str:
        return self.server.url(database)

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run each by itself; the rows of the last."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def set(self, **settings: str) -> Iterator[None]:
        """Other settings for a while, for new and for old sessions."""
        try:
            for name, value in settings.items():
                self.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            self.reload()
            yield
        finally:
            for name in settings:
                self.execute(f"ALTER SYSTEM RESET {name}")
            self.reload()

    def reload(self) -> None:
        self.execute("SELECT pg_reload_conf()")
        # Sessions read it when they are idle next.
        time.sleep(0.2)

    def logged(self, pattern: str, since: int) -> int:
        """How many lines of the log, from byte *since* on, match."""
        with self.log.open("rb") as log:
            log.seek(since)
            return sum(1 for line in log if re.search(pattern.encode(), line))


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A new server with the settings above."""
    folder = Path(tempfile.mkdtemp(prefix="belayed-bench-"))
    # The server runs as a user of its own if this one is root.
    folder.chmod(0o755)
    try:
        server = PostgresServer(folder / "data")
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
        server.start()
    except NoServer as error:
        raise Unavailable(str(error)) from error
    try:
        yield Postgres(server)
    finally:
        server.destroy()
        shutil.rmtree(folder, ignore_errors=True)


class Redis:
    """A Redis on a port of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.pid = process.pid
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"

    def ask(self, *words: str) -> str:
        """The answer to one command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            with connection.makefile("rb") as answer:
                line = answer.readline().decode()
                return answer.read(int(line[1:])).decode() if line.startswith("$") else line

    def info(self, name: str) -> str:
        found = re.search(rf"^{name}:(.*?)\r?$", self.ask("INFO"), re.MULTILINE)
        return found[1] if found else ""


@contextmanager
def redis() -> Iterator[Redis]:
    """A new server with its default persistence: snapshots, which lose what came after the last one."""
    program = shutil.which("redis-server")
    if program is None:
        raise Unavailable("there is no redis-server on the PATH (Debian: apt-get install redis-server)")
    with tempfile.TemporaryDirectory(prefix="belayed-bench-") as folder:
        port = free_port()
        process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            server = Redis(process, port)
            patiently(lambda: server.ask("PING"), process)
            yield server
        finally:
            process.kill()
            process.wait()


@contextmanager
def pgbouncer(server: Postgres, database: str) -> Iterator[str]:
    """The URL of *database* behind a PgBouncer in transaction mode."""
    program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        raise Unavailable("there is no pgbouncer on the PATH (Debian: apt-get install pgbouncer)")
    owner = server.server.owner.system_user
    with tempfile.TemporaryDirectory(prefix="belayed-bench-") as folder:
        Path(folder).chmod(0o755)
        port = free_port()
        settings = Path(folder) / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n{database} = host={server.server.directory} dbname={database} user=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            "auth_type = any\npool_mode = transaction\nmax_client_conn = 200\n"
        )
        process = subprocess.Popen(
            [program, "-q", str(settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=owner,
            cwd="/",
        )
        url = f"postgresql://postgres@127.0.0.1:{port}/{database}"
        try:
            patiently(lambda: psycopg.connect(url).close(), process)
            yield url
        finally:
            process.kill()
            process.wait()


def patiently(try_it: Any, process: subprocess.Popen[bytes]) -> None:
    """Try until it works, for ten seconds at most."""
    deadline = time.monotonic() + 10
    while True:
        try:
            try_it()
            return
        except (OSError, psycopg.OperationalError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"{process.args!r} does not answer: {error}") from error
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def version_of(program: str) -> str:
    """What a program of the PATH says of its version, for people."""
    with suppress(OSError, subprocess.SubprocessError):
        output = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
        if found := re.search(r"\d+\.\d+(\.\d+)?", output):
            return found[0]
    return "missing"
