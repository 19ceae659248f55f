"""Only a session that is the connection's own is listened on: behind a pooler nothing is left in any."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest

from belayed.config import address
from belayed.connections import Connections
from belayed.connections.base import SharedSession
from belayed.connections.listening import Listener
from belayed.connections.parameters import of_url
from belayed.connections.postgresql import OwnPsycopg
from belayed.errors import StoreUnavailable
from tests.connections.conftest import at_most, until, waiting
from tests.poolers import TransactionPooler, pgbouncer
from tests.proxy import FaultProxy


@pytest.mark.parametrize("own_keys", [True, False])
@pytest.mark.parametrize("idle", [0, 1, 3])
def test_behind_a_pooler_nobody_listens_however_quiet_it_is(postgres_url: str, own_keys: bool, idle: int) -> None:
    with TransactionPooler(postgres_url, own_keys=own_keys) as pooler:
        raws = [psycopg.connect(pooler.url) for _ in range(idle)]
        for raw in raws:
            raw.execute("SELECT 1")
        for raw in raws:
            raw.close()

        with pytest.raises(SharedSession):
            Listener(partial(of_url, pooler.url), "c")

        assert pooler.listening() == 0


@pytest.mark.parametrize("own_keys", [True, False])
def test_nor_beside_a_connection_of_the_worker(postgres_url: str, own_keys: bool) -> None:
    with TransactionPooler(postgres_url, own_keys=own_keys) as pooler:
        beside = OwnPsycopg(of_url(pooler.url))

        with pytest.raises(SharedSession):
            Listener(partial(of_url, pooler.url), "c", beside=beside)

        assert pooler.listening() == 0
        assert beside.usable()
        beside.close()


@pytest.mark.parametrize("pool", [1, 5])
def test_nor_behind_pgbouncer(postgres_url: str, pool: int) -> None:
    with pgbouncer(postgres_url, pool=pool) as (url, log):
        connections = Connections(address(url))

        with pytest.raises(SharedSession):
            connections.listener("c")

        connections.close()
        with psycopg.connect(postgres_url, autocommit=True) as raw:
            raw.execute("SELECT pg_notify('c', '')")
        with psycopg.connect(url, autocommit=True) as raw:
            for _ in range(10):
                assert raw.execute("SELECT count(*) FROM pg_listening_channels()").fetchone() == (0,)
        assert "got packet" not in log.read_text()


@pytest.mark.parametrize("address_of", ["socket", "port that is forwarded"])
def test_a_session_of_its_own_is_listened_on(postgres_url: str, address_of: str) -> None:
    with FaultProxy(postgres_url) as proxy:
        listener = Listener(partial(of_url, postgres_url if address_of == "socket" else proxy.url), "c")
        listener.echo("x")

        assert listener.hints() == ["x"]
        listener.close()


def test_a_proof_that_gets_no_answer_is_none(proxy: FaultProxy) -> None:
    beside = OwnPsycopg(of_url(proxy.url))
    proxy.fail_over()

    with at_most(20), pytest.raises(StoreUnavailable):
        Listener(partial(of_url, proxy.url), "c", timeout=0.3, beside=beside)

    beside.close()


def test_many_listeners_are_proved_at_once(postgres_url: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        listeners = list(threads.map(lambda _: Listener(partial(of_url, postgres_url), "c"), range(16)))

    listeners[0].echo("x")
    for listener in listeners:
        until(lambda: "x" in listener.hints())  # noqa: B023 (asked within the call)
        listener.close()
    assert waiting(postgres_url) == []
