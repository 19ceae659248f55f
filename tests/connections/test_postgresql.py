"""What a PostgreSQL server that goes away does to connections of ours."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg
import pytest

from belayed.config import address
from belayed.connections import Connections, postgresql
from belayed.connections.listening import Listener
from belayed.connections.parameters import of_url
from belayed.connections.postgresql import OwnAsyncPsycopg, OwnPsycopg
from belayed.errors import StoreError, StoreUnavailable
from belayed.job import Draft
from belayed.steps import Ask, Steps
from belayed.store import open_store

STORE = open_store("postgresql")

# A session that is ended within its own COMMIT, and one that is ended by its statement.
AT_COMMIT = """
CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER leave AFTER INSERT ON belayed_jobs
    DEFERRABLE INITIALLY {when} FOR EACH ROW EXECUTE FUNCTION leave();
"""


class Text:
    task = "t"

    def write(self, codec: Any) -> str:
        return "{}"


def draft() -> Draft:
    return Draft(payload=Text(), task="t", text="{}", queue="a", priority=0)


@pytest.fixture
def connections(postgres_url) -> Iterator[Connections]:
    connections = Connections(address(postgres_url))
    connections.perform(STORE.migrate())
    yield connections
    connections.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_after_a_restart_the_next_call_works(private_postgres, mode):
    connections = Connections(address(private_postgres.url()))
    connections.perform(STORE.migrate())

    private_postgres.stop(mode)
    with pytest.raises(StoreUnavailable, match="cannot connect") as caught:
        connections.perform(STORE.insert(draft()))
    private_postgres.start()
    connections.perform(STORE.insert(draft()))

    assert not caught.value.uncertain
    assert connections.perform(STORE.matching({})) == [1]
    connections.close()


def test_a_restart_between_two_calls_is_not_noticed(private_postgres):
    connections = Connections(address(private_postgres.url()))
    connections.perform(STORE.migrate())

    async def main() -> None:
        await connections.aperform(STORE.insert(draft()))
        private_postgres.stop("immediate")
        private_postgres.start()
        await connections.aperform(STORE.insert(draft()))
        await connections.aclose()

    asyncio.run(main())
    connections.perform(STORE.insert(draft()))

    assert len(connections.perform(STORE.matching({}))) == 3
    connections.close()


def test_a_session_ended_within_its_commit_leaves_it_uncertain(connections, postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(AT_COMMIT.format(when="DEFERRED").encode())

    with pytest.raises(StoreUnavailable) as caught:
        connections.perform(STORE.insert(draft()))

    assert caught.value.uncertain
    assert connections.perform(STORE.matching({})) == []


async def test_so_it_is_when_awaited(connections, postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(AT_COMMIT.format(when="DEFERRED").encode())

    with pytest.raises(StoreUnavailable) as caught:
        await connections.aperform(STORE.insert_many([draft()], hint="0 a"))

    assert caught.value.uncertain
    await connections.aclose()


async def test_a_session_ended_before_its_commit_was_sent_leaves_nothing_uncertain(connections, postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(AT_COMMIT.format(when="IMMEDIATE").encode())

    with pytest.raises(StoreUnavailable) as caught:
        await connections.aperform(STORE.insert_many([draft()], hint="0 a"))

    assert not caught.value.uncertain
    await connections.aclose()


def test_a_lost_session_within_an_operation_is_unavailable_and_the_next_works(connections):
    def ended() -> Steps[None]:
        yield from STORE.pause("a")
        with psycopg.connect(connections.address.target, autocommit=True) as raw:
            raw.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE application_name = 'belayed' AND datname = current_database()"
            )
        yield from STORE.pause("b")

    with pytest.raises(StoreUnavailable):
        connections.perform(ended())

    connections.perform(STORE.pause("c"))
    assert connections.perform(STORE.paused()) == ["a", "c"]


def test_a_connection_with_a_high_descriptor_can_be_asked_whether_it_lives(postgres_url):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("this system allows too few files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1030)]
    try:
        own = OwnPsycopg(of_url(postgres_url))
        usable, high = own.usable(), own.raw.fileno() > 1023
        own.close()
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert high
    assert usable


def prepared(connections):
    """The statements that the pool's one connection has prepared, after enqueueing and looking."""
    for _ in range(10):
        connections.perform(STORE.insert(draft()))
        connections.perform(STORE.paused())
        connections.perform(STORE.counts())
    ((_, own),) = connections.pool.free
    return [row[0] for row in own.raw.execute("SELECT statement FROM pg_prepared_statements").fetchall()]


def test_only_the_insert_is_prepared_where_the_session_is_its_own(connections):
    (statement,) = prepared(connections)

    assert statement.startswith("INSERT INTO")


def test_behind_a_pooler_it_leaves_no_trace_in_the_session(connections, monkeypatch):
    monkeypatch.setattr("belayed.connections.postgresql.WHO", "SELECT 0")
    connections.close()

    assert prepared(connections) == []


def test_a_malformed_url_is_refused_without_its_password():
    connections = Connections(address("postgresql://u:secret@host:port/db"))

    with pytest.raises(StoreError, match="port") as caught:
        connections.perform(STORE.paused())

    assert "secret" not in str(caught.value)


def test_a_listener_whose_session_is_ended_says_so(postgres_url):
    listener = Listener(partial(of_url, postgres_url), "c")
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("SELECT pg_terminate_backend(%s, 10000)", (listener.own.raw.info.backend_pid,))

    # The first look may find no more than the server's last words.
    with suppress(StoreUnavailable):
        assert listener.hints() == []
    with pytest.raises(StoreUnavailable):
        listener.hints()
    listener.close()


def test_a_listener_hears_only_its_channel(postgres_url):
    listener, other = (
        Listener(partial(of_url, postgres_url), ".a_jobs"),
        Listener(partial(of_url, postgres_url), ".b_jobs"),
    )

    other.echo("b")
    listener.echo("a")

    assert (listener.hints(), other.hints()) == (["a"], ["b"])
    listener.close()
    other.close()


def test_an_error_on_this_side_of_a_transaction_commits_none_of_it(connections):
    first = connections.perform(STORE.insert(draft()))

    def steps():
        paused = STORE.calls("pause", queue="a", now=None)
        unsendable = STORE.calls("pause", queue="\ud800", now=None)
        yield Ask([*paused, *unsendable], last=True)

    with pytest.raises(StoreError):
        connections.perform(steps())

    assert connections.perform(STORE.paused()) == []
    assert connections.perform(STORE.get(first.id)) is not None


async def test_a_connection_is_closed_whose_first_question_fails_or_is_given_up(postgres_url, monkeypatch):
    parameters = of_url(address(postgres_url).target)

    # The errors are kept: their tracebacks would keep what is open.
    monkeypatch.setattr(postgresql, "WHO", "SELECT 1 / 0")
    with pytest.raises(StoreError) as refused:
        OwnPsycopg(parameters)
    with pytest.raises(StoreError) as arefused:
        await OwnAsyncPsycopg.open(parameters)
    monkeypatch.setattr(postgresql, "WHO", "SELECT pg_sleep(60)")
    with pytest.raises(TimeoutError) as given_up:
        await asyncio.wait_for(OwnAsyncPsycopg.open(parameters), 1)

    errors = refused, arefused, given_up
    with psycopg.connect(address(postgres_url).target, autocommit=True) as raw:
        mine = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'belayed' AND datname = current_database()"
        )
        for _ in range(100):
            if raw.execute(mine).fetchone() == (0,):
                break
            await asyncio.sleep(0.05)
        assert raw.execute(mine).fetchone() == (0,)
    assert len(errors) == 3
