"""The statement of each enqueue, which is sent by libpq itself: what it takes, and what may happen to it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from belayed.config import address
from belayed.connections import Connections
from belayed.errors import AttemptStopped, StoreError, StoreUnavailable
from belayed.job import State
from belayed.store import open_store
from belayed.store.answers import Wanted
from belayed.store.lanes import Serving
from tests.store.factories import draft
from tests.worker.helpers import eventually

STORE = open_store("postgresql")


@pytest.fixture
def connections(postgres_url: str) -> Iterator[Connections]:
    connections = Connections(address(postgres_url))
    connections.perform(STORE.migrate())
    # All are prepared: those for a job that says no more than it must, and the one for any.
    for hint in (None, "0 a"):
        connections.perform(STORE.insert(draft(), hint=hint))
    connections.perform(STORE.insert(draft(max_attempts=3)))
    connections.perform(STORE.delete([3]))
    yield connections
    connections.close()


def own(connections: Connections) -> Any:
    ((_, connection),) = connections.pool.free
    return connection


@pytest.mark.parametrize(
    "given",
    [
        {"queue": "mail 📬", "task": "ü", "text": '"\\\\ \' %s $1"'},
        {"priority": -(2**31), "max_attempts": 2**31 - 1, "keep_failed": False},
        {"priority": 2**31 - 1, "keep_failed": True, "max_run_time": timedelta(microseconds=1)},
        {"run_at": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "meta": {"a": [1, None, "ß"]}},
        {"run_at": datetime(1, 1, 1, tzinfo=UTC), "text": "x" * 3_000_000},
        {"run_at": timedelta(seconds=3600.25)},
    ],
)
def test_a_job_comes_back_as_it_was_given(connections: Connections, given: dict[str, Any]) -> None:
    inserted = connections.perform(STORE.insert(draft(**given)))

    found = connections.perform(STORE.get(inserted.id))
    assert found is not None
    job, expected = found[0], draft(**given)
    assert (job.queue, job.task, job.payload, job.priority) == (
        expected.queue,
        expected.task,
        expected.text,
        expected.priority,
    )
    assert (job.max_attempts, job.max_run_time, job.keep_failed, job.meta) == (
        expected.max_attempts,
        expected.max_run_time,
        expected.keep_failed,
        expected.meta,
    )
    assert (job.state, job.run_at, job.created_at) == (inserted.state, inserted.run_at, inserted.created_at)


@pytest.mark.parametrize("hint", [None, "0 a"])
def test_a_text_that_no_database_takes_is_refused_and_the_next_is_saved(
    connections: Connections, hint: str | None
) -> None:
    for text in ("a\0b", "\ud800"):
        with pytest.raises(StoreError):
            connections.perform(STORE.insert(draft(text=text), hint=hint))
    connections.perform(STORE.insert(draft(), hint=hint))

    assert len(connections.perform(STORE.matching({}))) == 3


@pytest.mark.parametrize("hint", [None, "0 a"])
@pytest.mark.parametrize("forgets", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_a_session_that_has_forgotten_its_statements_is_told_them_again(
    connections: Connections, forgets: str, hint: str | None
) -> None:
    own(connections).raw.execute(forgets)

    for _ in range(3):
        connections.perform(STORE.insert(draft(), hint=hint))

    assert len(connections.perform(STORE.matching({}))) == 5
    assert own(connections).raw.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (1,)


@pytest.mark.parametrize("hint", [None, "0 a"])
def test_a_table_that_has_changed_takes_what_it_took(
    connections: Connections, postgres_url: str, hint: str | None
) -> None:
    for type in ("integer", "bigint"):
        with psycopg.connect(postgres_url, autocommit=True) as raw:
            raw.execute(f"ALTER TABLE belayed_jobs ADD COLUMN more_{type} text, ALTER COLUMN id TYPE {type}".encode())

        made = [connections.perform(STORE.insert(draft(), hint=hint)) for _ in range(2)]

        assert {one.state for one in made} == {State.READY}
    assert len(connections.perform(STORE.matching({}))) == 6


def test_a_session_that_was_ended_meanwhile_costs_one_call_that_says_so(
    connections: Connections, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("""
            CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); RETURN NULL; END';
            CREATE TRIGGER leave AFTER INSERT ON belayed_jobs FOR EACH ROW EXECUTE FUNCTION leave()
        """)
    with pytest.raises(StoreUnavailable) as caught:
        connections.perform(STORE.insert(draft()))
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("DROP TRIGGER leave ON belayed_jobs")
    connections.perform(STORE.insert(draft()))

    assert caught.value.uncertain
    assert len(connections.perform(STORE.matching({}))) == 3


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(private_postgres: Any) -> None:
    connections = Connections(address(private_postgres.url()), timeout=0.5)
    connections.perform(STORE.migrate())
    connections.perform(STORE.insert(draft()))
    private_postgres.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match=r"no answer in 0\.5 s") as caught:
            connections.perform(STORE.insert(draft()))
    finally:
        private_postgres.signal(signal.SIGCONT)

    assert caught.value.uncertain
    assert connections.pool.free == []
    eventually(lambda: connections.perform(STORE.insert(draft())))
    connections.close()


def test_a_claim_brings_all_that_the_row_says(connections: Connections) -> None:
    """By the statement that is kept as by any other, which reads values in another way."""
    lanes, found = STORE.lanes(Serving(("*",), None, None)), []
    for _ in range(2):
        given = draft(max_run_time=timedelta(seconds=0.1), keep_failed=False, max_attempts=3, meta={"a": "ß"})
        connections.perform(STORE.insert_many([given]))
        own(connections).raw.execute("UPDATE belayed_jobs SET unknown_since = now() - interval '1 hour'")
        lanes.hint("default", 0)
        found.append(connections.perform(STORE.turn([], Wanted("w", 10, lanes))).claimed[-1])
        own(connections).prepared = None

    assert [type(value) for value in found[0]] == [type(value) for value in found[1]]
    assert [round(one.unknown_for or 0) for one in found] == [3600, 3600]
    differing = ("id", "run_at", "created_at", "token", "unknown_for")
    first, second = ({**one._asdict(), **dict.fromkeys(differing)} for one in found)
    assert first == second
    assert (first["max_run_time"], first["keep_failed"], first["max_attempts"]) == (0.1, False, 3)


def test_the_plan_of_a_claim_is_made_anew_from_time_to_time(connections: Connections) -> None:
    """It depends on how large the table is; the plan of an insert does not."""
    lanes = STORE.lanes(Serving(("*",), None, None))

    def claimed() -> int:
        connections.perform(STORE.insert(draft()))
        lanes.hint("default", 0)
        return len(connections.perform(STORE.turn([], Wanted("w", 10, lanes))).claimed)

    assert claimed() == 3
    prepared = own(connections).prepared
    before = dict(prepared.names)
    assert claimed() == 1
    assert prepared.names == before
    prepared.until = {name: 0.0 if name == "claim" else until for name, until in prepared.until.items()}
    assert claimed() == 1

    assert {name for name in before if prepared.names[name] != before[name]} == {"claim"}
    known = own(connections).raw.execute("SELECT name FROM pg_prepared_statements").fetchall()
    assert {name.encode() for (name,) in known} == set(prepared.names.values())


def test_ctrl_c_ends_the_wait_and_the_session(private_postgres: Any) -> None:
    connections = Connections(address(private_postgres.url()))
    connections.perform(STORE.migrate())
    connections.perform(STORE.insert(draft()))
    private_postgres.signal(signal.SIGSTOP)
    threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            connections.perform(STORE.insert(draft()))
    finally:
        private_postgres.signal(signal.SIGCONT)

    assert connections.pool.free == []
    connections.perform(STORE.insert(draft()))
    connections.close()


@pytest.mark.parametrize(
    "operation", [lambda: STORE.insert(draft()), lambda: STORE.cancel([1])], ids=["one", "several"]
)
def test_a_stop_while_it_waits_is_a_stop(private_postgres: Any, operation: Any) -> None:
    """Statements that travel together must not make an error of psycopg's of it."""
    connections = Connections(address(private_postgres.url()))
    connections.perform(STORE.migrate())
    connections.perform(STORE.insert(draft()))

    def stop(*_: object) -> None:
        raise AttemptStopped

    before = signal.signal(signal.SIGALRM, stop)
    private_postgres.signal(signal.SIGSTOP)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(AttemptStopped):
            connections.perform(operation())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        private_postgres.signal(signal.SIGCONT)

    assert connections.pool.free == []
    connections.perform(operation())
    connections.close()


def test_an_encoding_that_the_url_asks_for_changes_no_text(postgres_url: str) -> None:
    connections = Connections(address(f"{postgres_url}&client_encoding=LATIN1"))
    connections.perform(STORE.migrate())
    texts = ['"ü"', '"📬"', '"ü"']

    inserted = [connections.perform(STORE.insert(draft(queue="é 📬", text=text))) for text in texts]

    found = [connections.perform(STORE.get(one.id)) for one in inserted]
    assert [(one[0].queue, one[0].payload) for one in found if one] == [("é 📬", text) for text in texts]
    connections.close()
