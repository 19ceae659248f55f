"""What a PostgreSQL server that is there, but will not, does to operations: unavailable, certain, and soon over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest

from belayed.config import address
from belayed.connections import Connections
from belayed.errors import StoreUnavailable
from belayed.store import open_store
from tests.connections.conftest import draft, locked, until

STORE = open_store("postgresql")

FAILING = """
CREATE SEQUENCE tries;
CREATE FUNCTION give_way() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('tries') < {until} THEN
        RAISE 'give way' USING ERRCODE = '{sqlstate}';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER give_way BEFORE INSERT ON belayed_jobs FOR EACH ROW EXECUTE FUNCTION give_way();
"""


@pytest.fixture
def connections(local_url) -> Iterator[Connections]:
    connections = Connections(address(local_url))
    connections.perform(STORE.migrate())
    yield connections
    connections.close()


def done(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("SET default_transaction_read_only = off")
        raw.execute(statement.encode())


@contextmanager
def setting(connections: Connections, name: str, value: str) -> Iterator[None]:
    """The database's new sessions have a setting, and there are no old ones."""
    url = connections.address.target
    database = url.partition("?")[0].rpartition("/")[2]
    done(url, f"ALTER DATABASE {database} SET {name} = '{value}'")
    connections.close()
    yield
    done(url, f"ALTER DATABASE {database} RESET {name}")


def test_a_server_that_is_read_only_is_unavailable_until_it_is_written_again(connections):
    with setting(connections, "default_transaction_read_only", "on"):
        readable = connections.perform(STORE.paused())
        with pytest.raises(StoreUnavailable, match="read-only") as caught:
            connections.perform(STORE.insert(draft()))
        with pytest.raises(StoreUnavailable, match="read-only"):
            connections.perform(STORE.pause("a"))

    connections.perform(STORE.insert(draft()))
    assert not caught.value.uncertain
    assert readable == []
    assert len(connections.perform(STORE.matching({}))) == 1


def test_a_session_that_stays_read_only_after_a_failover_is_left(connections):
    with setting(connections, "default_transaction_read_only", "on"):
        connections.perform(STORE.paused())
    ((_, old),) = connections.pool.free

    with pytest.raises(StoreUnavailable, match="read-only"):
        connections.perform(STORE.insert(draft()))
    connections.perform(STORE.insert(draft()))

    assert old.raw.closed


async def test_so_is_one_that_is_awaited(connections):
    with setting(connections, "default_transaction_read_only", "on"):
        await connections.aperform(STORE.paused())

    with pytest.raises(StoreUnavailable, match="read-only"):
        await connections.aperform(STORE.insert(draft()))
    await connections.aperform(STORE.insert(draft()))

    await connections.aclose()


@pytest.mark.parametrize(
    ("name", "text"), [("lock_timeout", "lock timeout"), ("statement_timeout", "statement timeout")]
)
def test_a_time_limit_of_the_server_itself_is_unavailable_and_certain(connections, name, text):
    url = connections.address.target
    with setting(connections, name, "50ms"), locked(url), pytest.raises(StoreUnavailable, match=text) as caught:
        connections.perform(STORE.insert(draft()))

    assert not caught.value.uncertain
    connections.perform(STORE.insert(draft()))
    assert len(connections.perform(STORE.matching({}))) == 1


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_who_had_to_give_way_is_asked_again_and_does_it_once(connections, sqlstate):
    done(connections.address.target, FAILING.format(until=3, sqlstate=sqlstate))

    connections.perform(STORE.insert(draft()))

    assert len(connections.perform(STORE.matching({}))) == 1


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_who_always_has_to_give_way_is_unavailable_and_certain(connections, sqlstate):
    done(connections.address.target, FAILING.format(until=1000, sqlstate=sqlstate))

    with pytest.raises(StoreUnavailable, match="give way") as caught:
        connections.perform(STORE.insert_many([draft()] * 2, hint="0 a"))

    assert not caught.value.uncertain
    assert connections.perform(STORE.matching({})) == []


@pytest.fixture
def of_one(local_postgres, local_url) -> Iterator[str]:
    """The database's URL for a role that may have one session."""
    role = f"belayed_test_{uuid4().hex}"
    done(local_url, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
    yield local_url.replace("postgres@", f"{role}@")
    until(lambda: dropped(local_url, role))


def dropped(url: str, role: str) -> bool:
    try:
        done(url, f"DROP ROLE {role}")
    except psycopg.errors.ObjectInUse:
        return False
    return True


def test_a_server_with_no_place_left_is_unavailable_until_there_is_one(of_one):
    connections = Connections(address(of_one))

    with psycopg.connect(of_one), pytest.raises(StoreUnavailable, match="too many connections") as caught:
        connections.perform(STORE.now())

    assert not caught.value.uncertain
    until(lambda: answered(connections))
    connections.close()


def answered(connections: Connections) -> bool:
    """Whether there is a place: a session that was closed may take a moment to go."""
    try:
        return bool(connections.perform(STORE.now()))
    except StoreUnavailable:
        return False


def test_a_session_ended_between_two_calls_is_not_noticed(connections):
    ((_, own),) = connections.pool.free
    done(connections.address.target, f"SELECT pg_terminate_backend({own.raw.info.backend_pid}, 10000)")

    connections.perform(STORE.insert(draft()))

    assert own.raw.closed
    assert len(connections.perform(STORE.matching({}))) == 1
