"""A way to a PostgreSQL server on which the answer to COMMIT gets lost."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict


@contextlib.contextmanager
def cut_at_commit(url: str) -> Iterator[str]:
    """The URL of the same database, by a way on which each connection is cut once the server has answered COMMIT."""
    given = conninfo_to_dict(url)
    with socket.create_server(("127.0.0.1", 0)) as gate:
        threading.Thread(target=let_in, args=(gate, given), daemon=True).start()
        user, name = quote(str(given.get("user"))), quote(str(given["dbname"]))
        yield f"postgresql://{user}@127.0.0.1:{gate.getsockname()[1]}/{name}?sslmode=disable"
        # close() alone would leave the thread waiting in accept().
        with contextlib.suppress(OSError):
            gate.shutdown(socket.SHUT_RDWR)


def let_in(gate: socket.socket, given: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = gate.accept()
            server = reached(given)
            committing = threading.Event()
            threading.Thread(target=forward, args=(client, server, committing, True), daemon=True).start()
            threading.Thread(target=forward, args=(server, client, committing, False), daemon=True).start()


def reached(given: dict[str, Any]) -> socket.socket:
    """A connection to the server."""
    host, port = str(given.get("host", "localhost")), int(given.get("port") or 5432)
    if not host.startswith("/"):
        return socket.create_connection((host, port))
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"{host}/.s.PGSQL.{port}")
    return server


def forward(source: socket.socket, target: socket.socket, committing: threading.Event, asks: bool) -> None:
    """Hand on what comes, until the answer to COMMIT: it goes no further, and the connection ends."""
    with source, contextlib.suppress(OSError):
        while data := source.recv(65536):
            if asks and b"COMMIT" in data:
                committing.set()
            elif not asks and committing.is_set():
                break
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
