"""A hint to listening workers is part of the transaction that it is sent in."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from select import select
from typing import Any

import psycopg
import pytest

from belayed.config import address
from belayed.connections import Connections, wrap
from belayed.connections.listening import Listener
from belayed.connections.parameters import of_url
from belayed.job import Draft
from belayed.store.postgresql import PostgresStore
from tests.patience import patient

STORE = PostgresStore()
MANY = 60
"""So many are loaded by COPY."""


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


@pytest.fixture
def listener(postgres_url) -> Iterator[Listener]:
    listener = Listener(partial(of_url, postgres_url), STORE.channel)
    yield listener
    listener.close()


def heard(listener: Listener) -> list[str]:
    """All hints up to one of our own: what was sent earlier is heard earlier."""
    listener.echo("end")
    found = listener.hints()
    while "end" not in found:
        assert select([listener], [], [], patient(10))[0], f"heard only {found}"
        found += listener.hints()
    return found[:-1]


def test_that_of_a_rolled_back_transaction_is_not_heard(connections, postgres_url, listener):
    with psycopg.connect(postgres_url) as raw:
        wrap(raw).perform(STORE.insert(draft(), hint="0 a"))
        raw.rollback()

    assert heard(listener) == []


def test_that_of_a_committed_one_is_heard_once(connections, postgres_url, listener):
    with psycopg.connect(postgres_url) as raw:
        wrap(raw).perform(STORE.insert(draft(), hint="0 a"))
        wrap(raw).perform(STORE.insert(draft(), hint="0 a"))
        wrap(raw).perform(STORE.insert_many([draft() for _ in range(MANY)], hint="0 a"))
        before = heard(listener)
        raw.commit()

    assert (before, heard(listener)) == ([], ["0 a"])


def test_that_of_ours_is_heard(connections, listener):
    connections.perform(STORE.insert(draft(), hint="0 a"))
    connections.perform(STORE.insert_many([draft()] * MANY, hint="0 b"))

    assert heard(listener) == ["0 a", "0 b"]


def test_a_job_without_one_is_silent(connections, listener):
    connections.perform(STORE.insert(draft()))
    connections.perform(STORE.insert_many([draft()] * MANY))

    assert heard(listener) == []
