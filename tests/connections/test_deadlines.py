"""No call waits for ever: what a server that does not answer does to connections of ours."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from belayed.config import Address, address
from belayed.connections import Connections, wrap
from belayed.connections.parameters import of_url
from belayed.connections.pool import Pool
from belayed.connections.postgresql import OwnAsyncPsycopg, OwnPsycopg
from belayed.errors import StoreUnavailable
from belayed.steps import Load, Steps
from belayed.store import open_store
from belayed.store.answers import Wanted
from belayed.store.lanes import Serving
from tests.connections.conftest import at_most, draft, frozen, locked, until, waiting
from tests.patience import patient

STORE = open_store("postgresql")
LIMIT = 0.3
SOON = 3.0
"""Seconds in which a call has given up: LIMIT, and some for the cancelling and for busy machines."""


@pytest.fixture
def connections(local_url) -> Iterator[Connections]:
    connections = Connections(address(local_url), timeout=LIMIT)
    connections.perform(STORE.migrate())
    yield connections
    connections.close()


def pooled(connections: Connections) -> Any:
    """The pool's one connection."""
    connections.perform(STORE.paused())
    ((_, own),) = connections.pool.free
    return own


def claim() -> Steps[Any]:
    lanes = STORE.lanes(Serving(("*",)))
    return STORE.turn([], Wanted("w", 1, lanes))


CALLS = {
    "insert": (lambda: STORE.insert(draft()), True),
    "insert_many": (lambda: STORE.insert_many([draft()] * 2, hint="0 a"), True),
    "load": (lambda: STORE.insert_many([draft()] * 100), False),
    "claim": (claim, False),
    "read": (STORE.paused, False),
}
"""Operations, and whether a first request without an answer may have been committed."""


@pytest.mark.parametrize("name", CALLS)
def test_a_frozen_server_is_given_up_and_the_next_call_works(connections, name):
    operation, uncertain = CALLS[name]
    own = pooled(connections)

    with (
        frozen(own.raw.info.backend_pid),
        at_most(SOON),
        pytest.raises(StoreUnavailable, match=r"no answer in 0\.3 s") as caught,
    ):
        connections.perform(operation())

    assert caught.value.uncertain is uncertain
    assert own.raw.closed
    connections.perform(operation())


@pytest.mark.parametrize("name", CALLS)
async def test_so_it_is_when_awaited(connections, name):
    operation, uncertain = CALLS[name]
    own = await OwnAsyncPsycopg.open(of_url(connections.address.target), timeout=LIMIT)

    with (
        frozen(own.raw.info.backend_pid),
        at_most(SOON),
        pytest.raises(StoreUnavailable, match=r"no answer in 0\.3 s") as caught,
    ):
        await own.perform(operation())

    # Awaited, several statements travel one by one: their COMMIT has not been sent.
    assert caught.value.uncertain is (uncertain and name != "insert_many")
    assert own.raw.closed
    await connections.aperform(operation())
    await connections.aclose()


def test_a_server_that_takes_no_connections_is_given_up(local_postgres, connections):
    postmaster = int((local_postgres.directory / "postmaster.pid").read_text().split()[0])

    with frozen(postmaster), at_most(5), pytest.raises(StoreUnavailable, match="cannot connect") as caught:
        connections.open(timeout=LIMIT)

    assert not caught.value.uncertain
    connections.open(timeout=LIMIT).close()


def test_a_listener_waits_no_longer_for_its_echo(local_url):
    listener = Connections(address(local_url)).listener("c", timeout=LIMIT)

    with frozen(listener.own.raw.info.backend_pid), at_most(SOON):
        nothing = listener.hints()
        with pytest.raises(StoreUnavailable, match=r"no answer in 0\.3 s"):
            listener.echo("x")

    assert nothing == []
    with pytest.raises(StoreUnavailable):
        listener.hints()


@pytest.mark.parametrize(("asked", "limit"), [(None, LIMIT), (0.1, 0.1), (60.0, LIMIT)])
def test_a_worker_may_ask_for_a_shorter_limit_only(connections, asked, limit):
    own, listener = connections.open(timeout=asked), connections.listener("c", timeout=asked)

    assert own.timeout == listener.own.timeout == limit
    own.close()
    listener.close()


def test_without_a_limit_a_call_waits(local_url, connections):
    unlimited = Connections(connections.address, timeout=None)

    with ThreadPoolExecutor(1) as threads:
        with locked(local_url):
            call = threads.submit(unlimited.perform, STORE.insert(draft()))
            until(lambda: max(waiting(local_url), default=0) > 2 * LIMIT)
        call.result(patient(10))

    unlimited.close()


def test_a_statement_that_waits_for_a_lock_is_cancelled_on_the_server(local_url, connections):
    with locked(local_url):
        for _ in range(3):
            with at_most(SOON), pytest.raises(StoreUnavailable, match="no answer"):
                connections.perform(STORE.insert(draft()))

        until(lambda: waiting(local_url) == [])

    assert connections.perform(STORE.matching({})) == []


async def test_so_is_one_that_is_awaited(local_url, connections):
    with locked(local_url):
        for _ in range(3):
            with at_most(SOON), pytest.raises(StoreUnavailable, match="no answer"):
                await connections.aperform(STORE.insert(draft()))

        until(lambda: waiting(local_url) == [])

    assert await connections.aperform(STORE.matching({})) == []
    await connections.aclose()


def test_a_libpq_that_cannot_cancel_in_time_does_it_beside(local_url, connections, monkeypatch):
    monkeypatch.setattr(psycopg.capabilities, "has_cancel_safe", lambda: False)

    with locked(local_url):
        with at_most(SOON), pytest.raises(StoreUnavailable, match="no answer"):
            connections.perform(STORE.insert(draft()))

        until(lambda: waiting(local_url) == [])

    assert connections.perform(STORE.matching({})) == []


def test_migrating_takes_as_long_as_it_takes(local_url):
    connections = Connections(address(local_url), timeout=LIMIT)

    with ThreadPoolExecutor(1) as threads:
        with psycopg.connect(local_url) as raw:
            wrapped: Any = wrap(raw)
            wrapped.perform(STORE.migrate())
            migrating = threads.submit(connections.perform, STORE.migrate())
            until(lambda: max(waiting(local_url), default=0) > 2 * LIMIT)
        applied = migrating.result(patient(10))

    assert applied == []
    connections.close()


def test_a_server_frozen_within_a_copy_is_given_up(connections):
    own = pooled(connections)
    (load,) = STORE.statements["load"]
    rows = [("x" * 100_000,)] * 200

    def steps() -> Steps[None]:
        yield Load(load, ("payload",), rows, (None, "belayed_jobs"), last=True)

    with frozen(own.raw.info.backend_pid), at_most(SOON), pytest.raises(StoreUnavailable, match="no answer") as caught:
        connections.perform(steps())

    assert caught.value.uncertain
    assert own.raw.closed


def test_a_call_does_not_wait_for_ever_for_one_of_few_connections(sqlite_path):
    connections = Connections(Address("sqlite", str(sqlite_path)))
    pool = Pool(connections.open, most=1, timeout=0.05)
    held, done = threading.Event(), threading.Event()

    def slow() -> Steps[None]:
        held.set()
        done.wait(patient(10))
        yield from STORE.paused()

    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(pool.perform, slow())
        assert held.wait(patient(10))
        with pytest.raises(StoreUnavailable, match="none of the 1 connections") as caught:
            pool.perform(STORE.paused())
        done.set()
        call.exception(10)

    assert not caught.value.uncertain
    pool.close()


async def test_nor_does_one_that_is_awaited(local_url, connections):
    with locked(local_url):
        calls = [connections.aperform(STORE.insert(draft())) for _ in range(9)]
        with at_most(3 * SOON):
            found = await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(error, StoreUnavailable) for error in found)
    assert any("none of the 4 connections" in str(error) for error in found)
    await connections.aclose()


LINUX = pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="other systems name the options otherwise")
OPTIONS = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")


def options_of(own: Any) -> list[int]:
    """How the system looks whether the other machine is there."""
    with socket.fromfd(own.raw.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy:
        return [copy.getsockopt(socket.IPPROTO_TCP, getattr(socket, option)) for option in OPTIONS]


@LINUX
@pytest.mark.parametrize("named", ["", "&keepalives_idle=60", "&keepalives=0", "&tcp_user_timeout=5000"])
async def test_a_machine_that_vanishes_is_noticed_unless_the_url_says_otherwise(proxy, named):
    with psycopg.connect(proxy.url + named) as raw:
        given = options_of(SimpleNamespace(raw=raw))

    own = OwnPsycopg(of_url(proxy.url + named))
    found = [options_of(own)]
    own.close()
    awaited = await OwnAsyncPsycopg.open(of_url(proxy.url + named))
    found.append(options_of(awaited))
    await awaited.close()

    assert found == [given if named else [10, 5, 3, 25_000]] * 2


@LINUX
def test_a_service_says_it_itself(proxy, monkeypatch, tmp_path):
    services = tmp_path / "services"
    services.write_text("[one]\nkeepalives_idle=77\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGSERVICE", "one")

    own = OwnPsycopg(of_url(proxy.url))

    assert options_of(own)[0] == 77
    own.close()
