"""A proxy before a PostgreSQL server that delays, loses and cuts on command: for tests, and for long runs with faults.

    with FaultProxy(server_url) as proxy:
        jobs = Jobs(proxy.url)
        proxy.drop_reply_after_commit()
        jobs.enqueue(…)         # is saved, and nobody says so

A command counts for all connections, until `forward()`. What it did to which connection is in `faults`.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlencode

from psycopg.conninfo import conninfo_to_dict

from tests.patience import patient

COMMITTING = ("COMMIT", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "SELECT")
"""What CommandComplete says of statements that commit, the others if they are alone. SELECT: it may hold an INSERT."""
ENCRYPTION = (80877103, 80877104)
"""What a client sends first that would rather have TLS or GSSAPI: it is told no."""
FULL = 1 << 20
"""Bytes on their way from which on no more are read."""


@dataclass(frozen=True)
class Fault:
    """What was done to one connection."""

    at: float
    """By `time.monotonic()`."""
    kind: str
    port: int
    """The client's."""
    pid: int | None
    """The server's process, if it has said so."""


class Pipe:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.ended = self.shut = False

    def put(self, due: float, data: bytes) -> None:
        if data and not self.shut:
            self.waiting.append((due, data))

    def flush(self, now: float) -> None:
        """Send on what is due."""
        while self.waiting and self.waiting[0][0] <= now:
            due, data = self.waiting[0]
            try:
                sent = self.sink.send(data)
            except BlockingIOError:
                return
            if sent < len(data):
                self.waiting[0] = (due, data[sent:])
                return
            self.waiting.popleft()

    def full(self) -> bool:
        return sum(len(data) for _, data in self.waiting) >= FULL


class Link:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        for side in (client, server):
            side.setblocking(False)
        self.client, self.server = client, server
        self.port: int = client.getpeername()[1]
        self.pid: int | None = None
        self.up, self.down = Pipe(client, server), Pipe(server, client)
        self.started = self.dead = False
        self.unread = bytearray()
        self.held = bytearray()
        """Messages of an answer that may be dropped, until it is known whether it commits."""
        self.tags: list[str] = []

    def from_client(self, data: bytes) -> bytes:
        """What of *data* goes on to the server."""
        if not self.started and len(data) >= 8 and struct.unpack_from("!ii", data)[1] in ENCRYPTION:
            self.client.send(b"N")
            return self.from_client(data[8:])
        self.started = self.started or bool(data)
        return data

    def messages(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The server's whole messages, each with its type."""
        self.unread += data
        start = 0
        while len(self.unread) >= start + 5:
            (length,) = struct.unpack_from("!i", self.unread, start + 1)
            end = start + 1 + length
            if len(self.unread) < end:
                break
            yield bytes(self.unread[start : start + 1]), bytes(self.unread[start:end])
            start = end
        del self.unread[:start]

    def close(self, *, reset: bool = False) -> None:
        for side in (self.client, self.server):
            if reset:
                with suppress(OSError):
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            side.close()


class FaultProxy:
    """Listens on 127.0.0.1 for a server at *target*, on a socket of either kind. One thread does all of it."""

    def __init__(self, target: str) -> None:
        self.target = conninfo_to_dict(target)
        self.faults: list[Fault] = []
        self.links: set[Link] = set()
        self._selector = selectors.DefaultSelector()
        self._orders: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._alarm, self._bell = socket.socketpair()
        self._selector.register(self._alarm, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        self._masks: dict[socket.socket, int] = {}
        self._delay = 0.0
        self._passing, self._closing = True, False
        self._drops = self._skips = 0
        self._tags: tuple[str, ...] = ()
        self.port = 0
        self._listen()
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL of the target's database through this proxy."""
        options = {key: str(value) for key, value in self.target.items() if key in ("user", "password")}
        options |= {"sslmode": "disable", "gssencmode": "disable"}
        return f"postgresql://127.0.0.1:{self.port}/{self.target.get('dbname', '')}?{urlencode(options)}"

    def forward(self) -> None:
        """Everything passes, as at the start. What a black hole has swallowed comes out."""

        def order() -> None:
            self._passing, self._delay, self._drops = True, 0.0, 0
            self._listen()

        self._order(order)

    def delay(self, seconds: float) -> None:
        """Everything passes, in both directions so much later."""

        def order() -> None:
            self._passing, self._delay = True, seconds
            self._note("delay", self.links)

        self._order(order)

    def black_hole(self) -> None:
        """Nothing passes, connections stay open, new ones are taken."""

        def order() -> None:
            self._passing = False
            self._note("black hole", self.links)

        self._order(order)

    def fail_over(self, target: str | None = None) -> None:
        """Nothing passes any more on the connections there are, which stay open; new ones go to *target*.

        As if the server's address had moved: to another server, or to the same one if there is no *target*. The old
        connections are dead for good, whatever is commanded later.
        """

        def order() -> None:
            self._note("failover", [link for link in self.links if not link.dead])
            for link in self.links:
                link.dead = True
            if target is not None:
                self.target = conninfo_to_dict(target)

        self._order(order)

    def bury(self) -> None:
        """Reset the connections that a failover has left dead, as keepalives do in the end."""

        def order() -> None:
            for link in [link for link in self.links if link.dead]:
                self._end(link, reset=True)

        self._order(order)

    def refuse(self) -> None:
        """No new connections; those there are stay."""

        def order() -> None:
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None

        self._order(order)

    def cut(self) -> None:
        """Reset all connections, on both sides. New ones are taken."""

        def order() -> None:
            self._note("cut", self.links)
            for link in list(self.links):
                self._end(link, reset=True)

        self._order(order)

    def half_close(self, towards: Literal["client", "server"] = "client") -> None:
        """End one direction of all connections: what flows *towards* the client, or the server. The other one stays."""

        def order() -> None:
            self._note(f"half close towards {towards}", self.links)
            for link in self.links:
                pipe = link.down if towards == "client" else link.up
                pipe.shut = True
                pipe.waiting.clear()
                with suppress(OSError):
                    pipe.sink.shutdown(socket.SHUT_WR)

        self._order(order)

    def drop_reply_after_commit(self, *, times: int = 1, skip: int = 0, tags: tuple[str, ...] = COMMITTING) -> None:
        """Instead of the next *times* answers that say that something was committed, reset their connection.

        That is an answer with one of *tags* after which no transaction is open. *skip* such answers pass before.
        """

        def order() -> None:
            self._drops, self._skips, self._tags = times, skip, tags

        self._order(order)

    def close(self) -> None:
        """Close everything. It cannot be used again."""
        if self._thread.is_alive():

            def order() -> None:
                self._closing = True

            self._order(order)
            self._thread.join(patient(10))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What follows is done by the proxy's thread alone.

    def _order(self, order: Callable[[], None]) -> None:
        """Have *order* done by the proxy's thread, and wait until it is."""
        done = threading.Event()
        self._orders.append((order, done))
        with suppress(OSError):  # already done, and it was the last order
            self._bell.send(b"!")
        if not done.wait(patient(10)):
            raise RuntimeError("the proxy's thread does not do what it is told")

    def _run(self) -> None:
        while not self._closing:
            now = time.monotonic()
            for link in self.links:
                self._watch(link, now)
            for key, mask in self._selector.select(self._pause(now)):
                self._serve(key.fileobj, key.data, mask)
            while self._orders:
                order, done = self._orders.popleft()
                order()
                done.set()
            self._flush()
        for link in list(self.links):
            self._end(link)
        for one in (self._listener, self._alarm, self._bell):
            if one is not None:
                one.close()
        self._selector.close()

    def _pause(self, now: float) -> float | None:
        """Seconds until something is due, None if nothing is."""
        pipes = [pipe for link in self.links if not link.dead for pipe in (link.up, link.down)]
        due = [pipe.waiting[0][0] for pipe in pipes if pipe.waiting]
        # What is overdue waits for a socket that takes no more.
        later = [at - now for at in due if at > now]
        return min(later) if self._passing and later else None

    def _watch(self, link: Link, now: float) -> None:
        """Say which of the link's sockets are of interest."""
        for back, pipe in ((link.down, link.up), (link.up, link.down)):
            mask = 0
            if self._passing and not link.dead:
                mask |= selectors.EVENT_READ if not pipe.ended and not pipe.full() else 0
                mask |= selectors.EVENT_WRITE if back.waiting and back.waiting[0][0] <= now else 0
            self._interest(pipe.source, mask, link)

    def _interest(self, one: socket.socket, mask: int, link: Link) -> None:
        have = self._masks.get(one, 0)
        if mask == have:
            return
        if not mask:
            self._selector.unregister(one)
        elif not have:
            self._selector.register(one, mask, link)
        else:
            self._selector.modify(one, mask, link)
        self._masks[one] = mask

    def _serve(self, one: object, link: Link | None, mask: int) -> None:
        """What a socket's being ready asks for."""
        if one is self._alarm:
            self._alarm.recv(4096)
        elif one is self._listener:
            self._accept()
        elif link in self.links and link is not None and mask & selectors.EVENT_READ:
            self._read(link, link.up if one is link.client else link.down)

    def _accept(self) -> None:
        assert self._listener is not None
        client, _ = self._listener.accept()
        try:
            self.links.add(Link(client, self._connected()))
        except OSError:
            client.close()

    def _connected(self) -> socket.socket:
        """A new connection to the server."""
        host, port = str(self.target.get("host", "127.0.0.1")), str(self.target.get("port", 5432))
        if not host.startswith("/"):
            return socket.create_connection((host, int(port)), timeout=patient(5))
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.settimeout(5)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _read(self, link: Link, pipe: Pipe) -> None:
        try:
            data = pipe.source.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        due = time.monotonic() + self._delay
        if not data:
            pipe.ended = True
        elif pipe is link.up:
            pipe.put(due, link.from_client(data))
        elif (answer := self._answer(link, data)) is not None:
            pipe.put(due, answer)

    def _answer(self, link: Link, data: bytes) -> bytes | None:
        """What goes on to the client; None when its connection was cut instead."""
        out = bytearray()
        for kind, message in link.messages(data):
            if kind == b"K":
                (link.pid,) = struct.unpack_from("!i", message, 5)
            if kind == b"C" and self._drops:
                link.tags.append(message[5:-1].decode().partition(" ")[0])
            if not link.tags:
                out += message
                continue
            link.held += message
            if kind != b"Z":
                continue
            if message[5:6] == b"I" and self._drops and set(self._tags).intersection(link.tags):
                if not self._skips:
                    self._drops -= 1
                    self._note("reply dropped after commit", [link])
                    self._end(link, reset=True)
                    return None
                self._skips -= 1
            out += link.held
            link.held.clear()
            link.tags.clear()
        return bytes(out)

    def _flush(self) -> None:
        """Send on what is due, and end the connections that one side has closed."""
        now = time.monotonic()
        for link in [link for link in self.links if not link.dead] if self._passing else []:
            for pipe in (link.up, link.down):
                try:
                    pipe.flush(now)
                except OSError:
                    pipe.waiting.clear()
                    pipe.ended = True
                if pipe.ended and not pipe.waiting and link in self.links:
                    self._end(link)

    def _end(self, link: Link, *, reset: bool = False) -> None:
        for side in (link.client, link.server):
            self._interest(side, 0, link)
            self._masks.pop(side, None)
        link.close(reset=reset)
        self.links.discard(link)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._listener.setblocking(False)
            self.port = self._listener.getsockname()[1]
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _note(self, kind: str, links: set[Link] | list[Link]) -> None:
        at = time.monotonic()
        self.faults += [Fault(at, kind, link.port, link.pid) for link in links]
