"""How a worker says that it is ready and alive: over HTTP, and to systemd."""

from __future__ import annotations

import http.client
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from belayed import Jobs
from belayed.config import WorkerConfig
from belayed.errors import ConfigError
from belayed.worker.vigil import Vigil
from tests import servers
from tests.patience import patient
from tests.worker import wild
from tests.worker.helpers import eventually
from tests.worker.tree import over, runs, tree


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def asked(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """The status and the text of an answer; 0 if there is none."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=patient(5))) as connection:
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()
        except OSError:
            return 0, ""


@pytest.mark.parametrize("processes", [0, 1])
def test_a_worker_answers_that_it_is_alive_and_ready(lite: Jobs, log: Path, port: int, processes: int) -> None:
    with tree(lite, log, processes=processes, health=port):
        eventually(lambda: asked(port, "/readyz") == (200, "ok"))

        assert asked(port, "/healthz?verbose") == (200, "ok")
        assert asked(port, "/healthz", "HEAD") == (200, "")
        assert asked(port, "/metrics") == (404, "there are /healthz and /readyz")
        assert asked(port, "/healthz", "POST")[0] == 501


def test_a_worker_whose_database_is_cut_is_alive_but_not_ready(
    private_postgres: servers.PostgresServer, log: Path, port: int
) -> None:
    jobs = Jobs(servers.create_database(private_postgres.url()))
    jobs.migrate()
    with tree(jobs, log, health=port):
        eventually(lambda: asked(port, "/readyz")[0] == 200)

        private_postgres.stop()
        eventually(lambda: asked(port, "/readyz") == (503, "the database is not available"))
        alive = asked(port, "/healthz")
        private_postgres.start()

        assert alive == (200, "ok")
        eventually(lambda: asked(port, "/readyz")[0] == 200, within=20)
    jobs.close()


def test_a_worker_whose_loop_is_stuck_is_neither_alive_nor_ready(
    lite: Jobs, log: Path, port: int, tmp_path: Path
) -> None:
    stuck = tmp_path / "stuck"
    with tree(lite, log, processes=0, health=port, variables={"STUCK_WHILE": str(stuck)}):
        eventually(lambda: asked(port, "/readyz")[0] == 200)

        stuck.touch()
        eventually(lambda: asked(port, "/healthz")[0] == 503)
        told = [asked(port, path)[1] for path in ("/healthz", "/readyz")]
        stuck.unlink()

        assert all(text.startswith("the loop has been stuck for") for text in told)
        eventually(lambda: asked(port, "/healthz")[0] == 200)


def test_a_worker_without_a_child_that_runs_is_not_ready(lite: Jobs, log: Path, port: int, tmp_path: Path) -> None:
    works = tmp_path / "works"
    works.touch()
    with tree(lite, log, health=port, variables={"BROKEN_UNLESS": str(works)}) as worker:
        eventually(lambda: asked(port, "/readyz")[0] == 200)

        works.unlink()
        wild.exits.enqueue()
        eventually(lambda: asked(port, "/readyz") == (503, "no child process is ready"))
        worker.says("a child cannot start, trying again")
        works.touch()

        assert asked(port, "/healthz")[0] == 200
        eventually(lambda: asked(port, "/readyz")[0] == 200, within=20)


def test_a_worker_that_stops_is_not_ready_any_more(lite: Jobs, log: Path, port: int, effects: Path) -> None:
    wild.ends.enqueue(str(effects), 1.5)
    with tree(lite, log, health=port, grace="5s") as worker:
        eventually(lambda: runs(effects))

        worker.signal(signal.SIGTERM)

        eventually(lambda: asked(port, "/readyz") == (503, "it is stopping"))
        assert asked(port, "/healthz") == (200, "ok")
        assert worker.ended() == 0
    assert asked(port, "/healthz") == (0, "")


@pytest.mark.parametrize(
    ("health", "why"),
    [("http", "write a port"), ("99999", "write a port"), ("no.such.host.invalid:80", "health"), ("", "write a port")],
)
def test_an_address_that_cannot_be_had_is_refused(health: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"health \(or BELAYED_HEALTH\) is {health!r}: .*"):
        Vigil(WorkerConfig(health=health), [])


def test_a_port_that_is_taken_is_refused(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ConfigError, match="already in use"):
        Vigil(WorkerConfig(health=str(port)), [])


@pytest.fixture
def listener() -> Iterator[Any]:
    """A socket as systemd has it, with its address."""
    # Not under tmp_path: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{folder}/notify")
        sock.settimeout(10)
        yield sock


def heard(listener: socket.socket) -> str:
    return listener.recv(4096).decode()


@pytest.mark.dj(336)
@pytest.mark.parametrize("processes", [0, 2])
def test_systemd_hears_that_a_worker_is_ready_alive_and_stopping(
    lite: Jobs, log: Path, listener: socket.socket, processes: int
) -> None:
    variables = {"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "100000"}
    with tree(lite, log, processes=processes, variables=variables) as worker:
        first = heard(listener)
        alive = [heard(listener) for _ in range(3)]
        worker.signal(signal.SIGTERM)
        eventually(lambda: heard(listener) == "STOPPING=1")
        code = worker.ended()

    assert (first, alive, code) == ("READY=1\nSTATUS=working", ["WATCHDOG=1"] * 3, 0)


def test_a_stuck_worker_does_not_say_that_it_is_alive(
    lite: Jobs, log: Path, listener: socket.socket, tmp_path: Path
) -> None:
    stuck = tmp_path / "stuck"
    variables = {"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "100000", "STUCK_WHILE": str(stuck)}
    with tree(lite, log, processes=0, variables=variables):
        assert heard(listener).startswith("READY=1")
        stuck.touch()
        eventually(lambda: heard(listener).startswith("STATUS=the loop has been stuck"))

        assert heard(listener).startswith("STATUS=the loop has been stuck")


def test_jobs_do_not_speak_for_their_worker(lite: Jobs, log: Path, listener: socket.socket, effects: Path) -> None:
    job = wild.variables.enqueue(str(effects))
    with tree(lite, log, variables={"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "100000"}):
        over(job)

    assert effects.read_text().split() == ["none"]
