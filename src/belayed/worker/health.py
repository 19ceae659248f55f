"""Answers over HTTP how a worker is: one thread, a few connections, each for a short time.

Anybody who reaches the port may ask, so nothing that is asked may cost the worker its files, its memory or its time.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from belayed.errors import ConfigError
from belayed.safelog import log
from belayed.worker.copies import keep_from_copies

MOST = 16
"""Connections at once; for a new one the oldest is closed."""
BACKLOG = 128
"""Connections that the system keeps for us."""
WITHIN = 2.0
"""Seconds that a connection may take, from its first byte to its last."""
LARGEST = 8192
"""Bytes of a request, with its headers."""
RESERVE = 32
"""So many of the files that this process may open are left alone, for children and for the database."""
PAUSE = 0.2
"""Seconds without a look at new connections, when none can be taken."""

Answers = Mapping[str, Callable[[], str | None]]
"""What is asked by path: why it is not so, or None."""


class Connection:
    """A connection that has not been answered."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request = b""
        self.until = time.monotonic() + WITHIN


class Server:
    """Listens at an address. `serve` is a thread's work, until `close` is called."""

    def __init__(self, address: tuple[str, int], answers: Answers) -> None:
        """Raises OSError or OverflowError, and leaves nothing open then."""
        self.answers = answers
        self.listening = listening_at(address)
        self.selector = selectors.DefaultSelector()
        self.reading, self.writing = socket.socketpair()
        self.selector.register(self.reading, selectors.EVENT_READ)
        self.selector.register(self.listening, selectors.EVENT_READ)
        self.connections: list[Connection] = []
        """The oldest first."""
        self.paused_until = 0.0
        keep_from_copies(self)

    def leave_copy(self) -> None:
        """Let no process that a job leaves behind keep the port."""
        self.selector.close()
        for sock in (self.listening, self.reading, self.writing, *(one.sock for one in self.connections)):
            sock.close()

    def serve(self) -> None:
        """Answer until closed."""
        try:
            while self.step():
                pass
        finally:
            for connection in self.connections[:]:
                self.drop(connection)
            self.selector.close()
            for sock in (self.listening, self.reading, self.writing):
                sock.close()

    def close(self) -> None:
        """End the thread, from another one."""
        self.writing.send(b"!")

    def step(self) -> bool:
        """Wait for something to do, and do it; False: it is to end. Requests come before new connections."""
        now = time.monotonic()
        due = [connection.until for connection in self.connections]
        if self.paused_until:
            due.append(self.paused_until)
        events = self.selector.select(max(0.0, min(due) - now) if due else None)
        is_called = False
        for key, _ in events:
            if key.fileobj is self.reading:
                return False
            if key.data is None:
                is_called = True
            elif self.read(key.data):
                self.drop(key.data)
        now = time.monotonic()
        for connection in [connection for connection in self.connections if now >= connection.until]:
            self.drop(connection)
        if is_called:
            self.accept(now)
        elif self.paused_until and now >= self.paused_until:
            self.paused_until = 0.0
            self.selector.register(self.listening, selectors.EVENT_READ)
        return True

    def accept(self, now: float) -> None:
        """Take a new connection; where there is no file for it, in the place of the oldest, or a little later."""
        try:
            sock, _ = self.listening.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:
            # No more files, most likely. The connection waits: without a pause this thread would not rest.
            self.make_room(now)
            return
        sock.setblocking(False)
        connection = Connection(sock)
        # Most ask at once, and need not wait.
        if self.read(connection):
            sock.close()
            return
        if len(self.connections) >= MOST or (self.connections and sock.fileno() >= highest_file()):
            self.drop(self.connections[0])
        try:
            self.selector.register(sock, selectors.EVENT_READ, connection)
        except OSError:
            sock.close()
            return
        self.connections.append(connection)

    def make_room(self, now: float) -> None:
        if self.connections:
            self.drop(self.connections[0])
        else:
            self.selector.unregister(self.listening)
            self.paused_until = now + PAUSE

    def read(self, connection: Connection) -> bool:
        """Read what has come of a request, and answer it once it is whole; whether the connection is to be closed."""
        try:
            data = connection.sock.recv(LARGEST)
        except BlockingIOError:
            return False
        except OSError:
            return True
        connection.request += data
        whole = b"\r\n\r\n" in connection.request or b"\n\n" in connection.request
        if not whole and len(connection.request) <= LARGEST:
            return not data
        try:
            connection.sock.send(self.answer(connection.request))
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            # They have hung up.
            pass
        return True

    def drop(self, connection: Connection) -> None:
        self.connections.remove(connection)
        self.selector.unregister(connection.sock)
        connection.sock.close()

    def answer(self, request: bytes) -> bytes:
        """The answer to a request: 200 while what is asked is so; else 503, with the reason."""
        line = request.partition(b"\n")[0].decode("latin-1").split()
        if len(request) > LARGEST:
            return written(431, "the request is too large")
        if len(line) != 3 or not line[2].startswith("HTTP/1."):
            return written(400, "this is not an HTTP request")
        method, target, _ = line
        if method not in ("GET", "HEAD"):
            return written(501, "ask by GET or HEAD")
        path = target.partition("?")[0]
        log.debug("health: %s %r", method, path)
        if path not in self.answers:
            return written(404, f"there are {' and '.join(self.answers)}", head=method == "HEAD")
        try:
            reason = self.answers[path]()
        except Exception:
            log.exception("the health of this worker could not be found out")
            return written(500, "the log says what went wrong", head=method == "HEAD")
        return written(200 if reason is None else 503, reason or "ok", head=method == "HEAD")


def listening_at(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def written(code: int, text: str, *, head: bool = False) -> bytes:
    """An answer as it is sent; *head*: without its text."""
    body = f"{text}\n".encode()
    lines = [
        f"HTTP/1.1 {code} {HTTPStatus(code).phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else body)


def highest_file() -> float:
    """The first number of a file that a connection may not have."""
    try:
        import resource
    except ImportError:
        # Windows.
        return float("inf")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return float("inf") if limit == resource.RLIM_INFINITY else max(limit - RESERVE, limit // 2)


def served(health: str, answers: Answers) -> Server:
    """A server at `port` (of the loopback address) or `host:port`. Raises ConfigError."""
    with refused(health):
        return Server(address_of(health), answers)


def check_address(health: str) -> None:
    """Raise ConfigError for an address that nobody can listen at; its port may be taken at the moment."""
    with refused(health):
        host, port = address_of(health)
        if port not in range(1 << 16):
            raise ValueError("not a port")
        listening_at((host, 0)).close()


def address_of(health: str) -> tuple[str, int]:
    host, _, port = health.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)


@contextmanager
def refused(health: str) -> Iterator[None]:
    """Raise ConfigError for what is wrong with an address."""
    try:
        yield
    except (OSError, OverflowError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "write a port (8080), or host:port (0.0.0.0:8080)"
        raise ConfigError(f"health (or BELAYED_HEALTH) is {health!r}: {why}") from error
