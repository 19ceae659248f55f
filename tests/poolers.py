"""Transaction poolers before a PostgreSQL server: PgBouncer, and one of the tests' own."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.patience import patient

ENCRYPTION = (80877103, 80877104)
CANCEL = 80877102
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """A message of PostgreSQL's protocol: its type, and all of it."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


async def shut(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


class Backend:
    """A session of the server that is lent to clients."""

    def __init__(self, streams: Streams, greeting: bytes) -> None:
        self.reader, self.writer = streams
        self.greeting = greeting
        """What the server has said until it was ready, its process's number among it."""


class TransactionPooler:
    """Lends a session of the server for each transaction, the one that was given back last. On 127.0.0.1.

    It tells each client the number of a server's process, as some poolers do; with *own_keys* it makes up one, as
    PgBouncer does.
    """

    def __init__(self, target: str, *, own_keys: bool = False) -> None:
        self.target = {key: str(value) for key, value in conninfo_to_dict(target).items()}
        self.own_keys = own_keys
        self.free: list[Backend] = []
        self.clients: set[asyncio.StreamWriter] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.strays = 0
        """Messages that a session sent while it was lent to nobody, or that nobody had asked for."""
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = self.done(asyncio.start_server(self.served, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        user, database = self.target.get("user", "postgres"), self.target["dbname"]
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?sslmode=disable&gssencmode=disable"

    def listening(self) -> int:
        """In how many of the sessions a client's LISTEN was left."""

        async def ask() -> int:
            query = b"SELECT 1 FROM pg_listening_channels()\0"
            count = 0
            for backend in self.free:
                backend.writer.write(b"Q" + struct.pack("!i", len(query) + 4) + query)
                kind, found = b"", False
                while kind != b"Z":
                    kind, _ = await message(backend.reader)
                    found = found or kind == b"D"
                count += found
            return count

        return self.done(ask())

    def done(self, coroutine):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(patient(30))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.done(self.closed())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(patient(10))
        self.loop.close()

    # What follows is done by the pooler's thread alone.

    async def closed(self) -> None:
        """Close everything."""
        self.server.close()
        for writer in list(self.clients):
            writer.close()
        if self.tasks:
            await asyncio.wait(self.tasks)
        for backend in self.free:
            await shut(backend.writer)

    async def opened(self) -> Backend:
        """A new session."""
        path = f"{self.target['host']}/.s.PGSQL.{self.target.get('port', '5432')}"
        reader, writer = await asyncio.open_unix_connection(path)
        names = f"user\0{self.target.get('user', 'postgres')}\0database\0{self.target['dbname']}\0\0".encode()
        writer.write(struct.pack("!ii", len(names) + 8, 196608) + names)
        greeting, kind = bytearray(), b""
        while kind != b"Z":
            kind, whole = await message(reader)
            if kind == b"K" and self.own_keys:
                whole = whole[:5] + os.urandom(8)
            greeting += whole
        return Backend((reader, writer), bytes(greeting))

    async def served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A client, until it goes."""
        self.clients.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self.conversation(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            await shut(writer)
            self.clients.discard(writer)
            self.tasks.discard(task)

    async def conversation(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            length, code = struct.unpack("!ii", await reader.readexactly(8))
            await reader.readexactly(length - 8)
            if code not in ENCRYPTION:
                break
            writer.write(b"N")
        if code != CANCEL:
            if not self.free:
                self.free.append(await self.opened())
            writer.write(self.free[-1].greeting)
            while await self.transaction(reader, writer):
                pass

    async def transaction(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One transaction of a client; False if it has gone. COPY is not among what it can."""
        kind, whole = await message(reader)
        if kind == b"X":
            return False
        backend = self.free.pop() if self.free else await self.opened()
        try:
            while True:
                backend.writer.write(whole)
                if kind in (b"Q", b"S"):
                    answer = b""
                    while answer != b"Z":
                        answer, text = await message(backend.reader)
                        self.strays += answer == b"A"
                        writer.write(text)
                    if text[5:6] == b"I":
                        self.free.append(backend)
                        return True
                kind, whole = await message(reader)
        except BaseException:
            await shut(backend.writer)
            raise


@contextmanager
def pgbouncer(target: str, *, pool: int = 20) -> Iterator[tuple[str, Path]]:
    """The URL of the database at *target* behind a PgBouncer in transaction mode, and its log. Skips without one."""
    program = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        pytest.skip("there is no pgbouncer (Debian: apt-get install pgbouncer)")
    options = conninfo_to_dict(target)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="belayed-pooler-") as folder:
        directory = Path(folder)
        # As root, PgBouncer refuses to run; the server's user gets to its socket.
        user = Path(str(options["host"])).owner() if os.geteuid() == 0 else None
        settings, log = directory / "pgbouncer.ini", directory / "log"
        log.touch()
        for path, mode in ((directory, 0o777), (log, 0o666)):
            path.chmod(mode)
        settings.write_text(
            f"[databases]\n* = host={options['host']} port={options.get('port', 5432)} user=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {pool}\nmax_client_conn = 200\n"
            f"logfile = {log}\nlog_connections = 0\n"
        )
        process = subprocess.Popen(
            [program, "-q", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd="/"
        )
        url = f"postgresql://postgres@127.0.0.1:{port}/{quote(str(options['dbname']))}"
        deadline = time.monotonic() + patient(30)
        try:
            while True:
                try:
                    psycopg.connect(url).close()
                    break
                except psycopg.OperationalError:
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.02)
            yield url, log
        finally:
            process.kill()
            process.wait()
