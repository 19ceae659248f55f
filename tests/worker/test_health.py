"""Whatever is sent to the port of the health service, it answers others, and takes nothing that the worker needs."""

from __future__ import annotations

import http.client
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from belayed.jobs import Jobs
from belayed.worker import health
from belayed.worker.health import LARGEST, MOST, WITHIN, Server, served
from tests.patience import patient
from tests.worker import wild
from tests.worker.helpers import eventually
from tests.worker.tree import over, since, tree


@pytest.fixture
def server() -> Iterator[Server]:
    one = served("0", {"/healthz": lambda: None, "/readyz": lambda: "it is starting", "/broken": lambda: str(1 // 0)})
    thread = threading.Thread(target=one.serve)
    thread.start()
    yield one
    one.close()
    thread.join(patient(10))
    assert not thread.is_alive()
    assert one.listening.fileno() == -1


def port_of(server: Server) -> int:
    return int(server.listening.getsockname()[1])


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=patient(10))


def answered(port: int, request: bytes) -> bytes:
    """All that comes back for a request."""
    with connected(port) as sock:
        sock.sendall(request)
        found = b""
        while data := read(sock):
            found += data
        return found


def read(sock: socket.socket) -> bytes:
    """What comes next; nothing, once it is closed."""
    try:
        return sock.recv(65536)
    except ConnectionError:
        return b""


def asked(port: int, path: str = "/healthz") -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=patient(10))) as connection:
        connection.request("GET", path)
        return connection.getresponse().status


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"200 OK"),
        (b"GET /healthz?a=b HTTP/1.0\n\n", b"200 OK"),
        (b"HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n", b"503 Service Unavailable"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found"),
        (b"POST /healthz HTTP/1.1\r\n\r\n", b"501 Not Implemented"),
        (b"GET /healthz\r\n\r\n", b"400 Bad Request"),
        (b"\r\n\r\n", b"400 Bad Request"),
        (b"\xff\0\x80 \xff\n\n", b"400 Bad Request"),
        (b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * LARGEST, b"431 "),
        (b"G" * (LARGEST + 1), b"431 "),
        (b"GET /broken HTTP/1.1\r\n\r\n", b"500 "),
    ],
)
def test_each_request_is_answered_once_and_the_connection_closed(
    request_text: bytes, status: bytes, server: Server
) -> None:
    found = answered(port_of(server), request_text)

    assert found.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in found
    assert found.count(b"HTTP/1.1") == 1


def test_a_second_request_on_the_same_connection_is_not_answered(server: Server) -> None:
    found = answered(port_of(server), b"GET /healthz HTTP/1.1\r\n\r\n" * 2)

    assert found.count(b"200 OK") == 1


def test_a_request_that_comes_byte_by_byte_has_no_more_time_than_another(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "WITHIN", 0.3)
    begun = time.monotonic()
    with connected(port_of(server)) as sock:
        sock.settimeout(0.02)
        closed = False
        while not closed and since(begun) < 20:
            try:
                sock.send(b"a")
                closed = sock.recv(10) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                closed = True

    assert closed
    assert since(begun) < 10


def test_it_answers_while_others_hold_more_connections_than_it_takes(server: Server) -> None:
    port = port_of(server)
    with ExitStack() as stack:
        held = [stack.enter_context(connected(port)) for _ in range(5 * MOST)]
        for sock in held:
            sock.sendall(b"GET /healthz HTTP/1.1\r\n")
        begun = time.monotonic()

        statuses = [asked(port) for _ in range(20)]

        assert statuses == [200] * 20
        assert since(begun) < WITHIN * 5
        assert len(server.connections) <= MOST
        # The oldest were closed first.
        assert read(held[0]) == b""


def test_it_rests_while_there_is_no_file_for_a_connection_and_goes_on_later(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = port_of(server)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    steps = []
    step = server.step
    monkeypatch.setattr(server, "step", lambda: steps.append(1) or step())
    asked(port)
    with connected(port) as sock, connected(port) as other:
        sock.sendall(b"GET /healthz")
        other.sendall(b"GET /healthz")
        eventually(lambda: len(server.connections) == 2)
        with connected(port) as third:
            eventually(lambda: len(server.connections) == 3)
            files = sorted(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
            with socket.socket() as late:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files[-1] + 1, before[1]))
                holes = []
                try:
                    try:
                        while True:
                            holes.append(os.open("/dev/null", os.O_RDONLY))
                    except OSError:
                        pass
                    late.settimeout(10)
                    late.connect(("127.0.0.1", port))
                    late.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
                    # The oldest connections made room for it.
                    found = late.recv(100)
                finally:
                    for hole in holes:
                        os.close(hole)
                    resource.setrlimit(resource.RLIMIT_NOFILE, before)
            third.close()

    assert found.startswith(b"HTTP/1.1 200")
    assert asked(port) == 200
    assert len(steps) < 500


def test_slow_connections_keep_no_child_from_being_started(lite: Jobs, tmp_path: Path, effects: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    with tree(lite, tmp_path / "log", health=port) as worker, ExitStack() as stack:
        eventually(lambda: asked(port) == 200)
        used = len(os.listdir(f"/proc/{worker.pid}/fd"))  # noqa: PTH208
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (used + 40, 4096))
        held = [stack.enter_context(connected(port)) for _ in range(250)]
        for sock in held:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        (child,) = worker.children()
        os.kill(child, signal.SIGKILL)

        over(wild.ends.enqueue(str(effects)))

        assert asked(port) == 200
        assert not worker.logged("cannot start")
        assert len(os.listdir(f"/proc/{worker.pid}/fd")) <= used + MOST + 10  # noqa: PTH208
