"""psycopg connections that wait for an answer only so long: a frozen server, or a dead network, keeps nobody."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from math import ceil
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict

from belayed.connections.parameters import ConnectionParameters

T = TypeVar("T")

CONNECT_TIMEOUT = 10
"""Seconds, where the time for an answer is longer."""
CANCEL_WAIT = 1.0
"""Seconds to ask the server to give up a statement that we have given up: it may wait for a lock, and run later."""

KEEPALIVES: dict[str, Any] = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
"""Seconds, and the last in milliseconds: 25 s without a sign of the other machine. By default Linux takes 2 hours."""


class NoAnswer(psycopg.OperationalError):
    """The server has not answered in time. Its connection is closed."""


class Connection(psycopg.Connection[Any]):
    """A connection that is given up, and closed, when an answer takes longer than `timeout` seconds."""

    timeout: float | None = None

    def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        # psycopg sends all of its waiting through here. Its own `timeout` is younger than the psycopg that we ask for.
        if self.timeout is None:
            return super().wait(gen, *args, **options)
        try:
            return super().wait(within(gen, self.timeout), *args, **options)
        except NoAnswer:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Close it, and ask the server to end what it is at."""
        if cancels_by_itself(self):
            with suppress(Exception):
                self.cancel_safe(timeout=CANCEL_WAIT)
        self.close()


class AsyncConnection(psycopg.AsyncConnection[Any]):
    """As Connection, awaited."""

    timeout: float | None = None

    async def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        if self.timeout is None:
            return await super().wait(gen, *args, **options)
        try:
            return await super().wait(within(gen, self.timeout), *args, **options)
        except NoAnswer:
            try:
                if cancels_by_itself(self):
                    with suppress(Exception):
                        await self.cancel_safe(timeout=CANCEL_WAIT)
            finally:
                await self.close()
            raise


def within(gen: PQGen[T], seconds: float) -> PQGen[T]:
    """*gen* as it is, unless it takes longer than *seconds*: then NoAnswer. psycopg looks in every 0.1 s."""
    try:
        wanted = next(gen)
        until = monotonic() + seconds
        while True:
            ready = yield wanted
            wanted = gen.send(ready)
            if monotonic() >= until:
                raise late(seconds * 1000)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def late(milliseconds: float | None) -> NoAnswer:
    return NoAnswer(f"no answer in {(milliseconds or 0) / 1000:g} s")


def cancels_by_itself(raw: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether *raw* can cancel within a time limit. If not, it is done by a thread that nobody waits for."""
    if psycopg.capabilities.has_cancel_safe():
        return True
    # libpq before 17 waits for as long as the system lets a connection take.
    with suppress(psycopg.Error):
        threading.Thread(target=cancelled, args=[raw.pgconn.get_cancel()], daemon=True).start()
    return False


def cancelled(request: Any) -> None:
    with suppress(psycopg.Error):
        request.cancel()


def opening(parameters: ConnectionParameters, timeout: float | None) -> dict[str, Any]:
    """What psycopg's `connect()` is given for an answer that may take *timeout* seconds.

    Raises psycopg.ProgrammingError for a malformed URL.
    """
    given = conninfo_to_dict(**parameters.given)
    return {
        **keepalives(given),
        "fallback_application_name": "belayed",
        **parameters.given,
        "connect_timeout": connect_timeout(timeout, given.get("connect_timeout")),
        "client_encoding": "utf-8",  # whatever the role, the database or the environment say
        "autocommit": True,
        "prepare_threshold": None,
    }


def keepalives(given: Mapping[str, Any]) -> dict[str, Any]:
    """How the system finds out that the server's machine has vanished: nothing if what is given, or a service, says."""
    if given.keys() & {*KEEPALIVES, "keepalives", "service"} or "PGSERVICE" in os.environ:
        return {}
    return KEEPALIVES


def connect_timeout(timeout: float | None, given: Any = None) -> Any:
    """The time that opening a connection may take, as libpq wants it: whole seconds, at least 2.

    A shorter one that is *given* counts.
    """
    most = CONNECT_TIMEOUT if timeout is None else min(CONNECT_TIMEOUT, max(2, ceil(timeout)))
    try:
        return min(most, int(given)) if given is not None and int(given) > 0 else most
    except ValueError:
        # For libpq to refuse.
        return given
