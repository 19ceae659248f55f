"""Answers over HTTP how a worker is."""

from __future__ import annotations

import logging
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

from belayed.errors import ConfigError

if TYPE_CHECKING:
    from belayed.worker.vigil import Vigil

log = logging.getLogger("belayed")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], vigil: Vigil) -> None:
        self.vigil = vigil
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Answer)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up is of no interest."""


class Answer(BaseHTTPRequestHandler):
    """`/healthz`: 200 unless the worker is stuck. `/readyz`: 200 while it takes jobs. Else 503, with the reason."""

    timeout = 5
    server_version = "belayed"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path not in ("/healthz", "/readyz"):
            self.answer(404, "there are /healthz and /readyz")
            return
        vigil = cast(Server, self.server).vigil
        reason = vigil.stuck() if path == "/healthz" else vigil.waiting()
        self.answer(200 if reason is None else 503, reason or "ok")

    do_HEAD = do_GET  # noqa: N815 (http.server's name)

    def answer(self, code: int, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("health: %s", format % args)


def served(health: str, vigil: Vigil) -> Server:
    """A server at `port` (of the loopback address) or `host:port`. Raises ConfigError."""
    host, _, port = health.rpartition(":")
    try:
        return Server((host.strip("[]") or "127.0.0.1", int(port)), vigil)
    except (OSError, OverflowError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "write a port (8080), or host:port (0.0.0.0:8080)"
        raise ConfigError(f"health (or BELAYED_HEALTH) is {health!r}: {why}") from error
