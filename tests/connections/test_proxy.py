"""The proxy that the tests of faults go through does what it is told."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.connections.conftest import at_most, until
from tests.patience import patient


def connect(proxy, **options) -> psycopg.Connection:
    return psycopg.connect(proxy.url, autocommit=True, **options)


def kinds(proxy) -> list[str]:
    return [fault.kind for fault in proxy.faults]


def test_what_is_large_passes_whole(proxy):
    text = "x" * 5_000_000

    with connect(proxy) as raw:
        (found,) = raw.execute("SELECT %s || %s", (text, "y")).fetchone()

    assert found == text + "y"


def test_a_client_that_would_rather_encrypt_is_told_no(proxy):
    with psycopg.connect(proxy.url.partition("?")[0], user="postgres", gssencmode="disable") as raw:
        assert raw.execute("SELECT 1").fetchone() == (1,)


def test_many_connections_pass_at_once(proxy):
    def sum_of(nth: int) -> int:
        with connect(proxy) as raw:
            return sum(raw.execute("SELECT %s", (nth,)).fetchone()[0] for _ in range(10))

    with ThreadPoolExecutor(30) as threads:
        found = list(threads.map(sum_of, range(60)))

    assert found == [10 * nth for nth in range(60)]
    until(lambda: not proxy.links)


def test_a_delay_is_in_both_directions(proxy):
    with connect(proxy) as raw:
        proxy.delay(0.1)
        begun = time.monotonic()
        raw.execute("SELECT 1")
        took = time.monotonic() - begun
        proxy.forward()

        with at_most(0.2):
            raw.execute("SELECT 1")

    assert took >= 0.2


def test_what_a_black_hole_swallows_comes_out_afterwards(proxy):
    with connect(proxy) as raw:
        proxy.black_hole()
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(raw.execute, "SELECT 1")
            with pytest.raises(psycopg.errors.ConnectionTimeout):
                connect(proxy, connect_timeout=2)
            waited = not call.done()
            proxy.forward()
            call.result(patient(10))

    assert waited


def test_after_a_failover_what_there_is_is_dead_and_what_is_new_goes_elsewhere(proxy, postgres_server):
    with ThreadPoolExecutor(1) as threads, connect(proxy) as raw:
        before = raw.execute("SELECT current_database()").fetchone()
        proxy.fail_over(postgres_server)
        call = threads.submit(raw.execute, "SELECT 1")

        with connect(proxy) as new:
            after = new.execute("SELECT current_database()").fetchone()

        proxy.forward()
        assert after != before
        assert not call.done()
        proxy.cut()
        assert isinstance(call.exception(10), psycopg.OperationalError)


def test_it_says_what_it_did_to_whom(proxy):
    begun = time.monotonic()

    with connect(proxy) as one, connect(proxy) as two:
        pids = {one.info.backend_pid, two.info.backend_pid}
        proxy.cut()
        for raw in (one, two):
            with pytest.raises(psycopg.OperationalError):
                raw.execute("SELECT 1")

    assert kinds(proxy) == ["cut", "cut"]
    assert {fault.pid for fault in proxy.faults} == pids
    assert all(begun <= fault.at <= time.monotonic() and fault.port for fault in proxy.faults)


def test_it_refuses_and_takes_again_at_the_same_port(proxy):
    with connect(proxy) as raw:
        proxy.refuse()

        with pytest.raises(psycopg.OperationalError, match="refused"):
            connect(proxy)
        assert raw.execute("SELECT 1").fetchone() == (1,)
        proxy.forward()
        connect(proxy).close()


def test_only_answers_that_commit_are_dropped(proxy):
    with connect(proxy) as raw:
        raw.execute("CREATE TABLE t (a int)")
        proxy.drop_reply_after_commit(tags=("COMMIT", "INSERT"), skip=1)
        raw.execute("SELECT 1")
        raw.execute("INSERT INTO t VALUES (1)")
        raw.execute("BEGIN")
        raw.execute("INSERT INTO t VALUES (2)")

        with pytest.raises(psycopg.OperationalError):
            raw.execute("COMMIT")

    with connect(proxy) as raw:
        raw.execute("INSERT INTO t VALUES (3)")
        assert raw.execute("SELECT sum(a) FROM t").fetchone() == (6,)
    assert kinds(proxy) == ["reply dropped after commit"]


@pytest.mark.parametrize("towards", ["client", "server"])
def test_one_direction_may_end_alone(proxy, towards):
    with connect(proxy) as raw:
        proxy.half_close(towards)

        with pytest.raises(psycopg.OperationalError):
            raw.execute("SELECT 1")

    until(lambda: not proxy.links)
