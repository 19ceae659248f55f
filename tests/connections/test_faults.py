"""What a network that loses, cuts and swallows does to operations: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from belayed.claim import Finished
from belayed.config import address
from belayed.connections import Connections
from belayed.errors import StoreUnavailable
from belayed.job import State
from belayed.steps import Steps
from belayed.store import open_store
from belayed.store.answers import Wanted
from belayed.store.lanes import Serving
from tests.connections.conftest import at_most, draft, locked, until, waiting
from tests.store.factories import succeeded

STORE = open_store("postgresql")
LIMIT = 0.3
SOON = 3.0
WRITES = ("UPDATE", "COMMIT")

ENQUEUES: dict[str, tuple[Callable[[], Steps[Any]], int]] = {
    "one": (lambda: STORE.insert(draft()), 1),
    "one with a hint": (lambda: STORE.insert(draft(), hint="0 a"), 1),
    "some": (lambda: STORE.insert_many([draft()] * 3), 3),
    "some with a hint": (lambda: STORE.insert_many([draft()] * 3, hint="0 a"), 3),
    "many": (lambda: STORE.insert_many([draft()] * 100), 100),
    "many with a hint": (lambda: STORE.insert_many([draft()] * 100, hint="0 a"), 100),
}


@pytest.fixture
def connections(proxy) -> Iterator[Connections]:
    """Connections through the proxy, one of them open."""
    connections = Connections(address(proxy.url))
    connections.perform(STORE.migrate())
    yield connections
    connections.close()


@pytest.fixture
def direct(local_url) -> Iterator[Connections]:
    """Connections past the proxy, to see what is there."""
    connections = Connections(address(local_url))
    yield connections
    connections.close()


def claiming(worker: str = "w", count: int = 10, finished: Sequence[Finished] = ()) -> Steps[Any]:
    return STORE.turn(finished, Wanted(worker, count, STORE.lanes(Serving(("*",)))))


@pytest.mark.parametrize("name", ENQUEUES)
def test_an_enqueue_whose_commit_got_no_answer_is_uncertain_and_not_repeated(connections, direct, proxy, name):
    operation, count = ENQUEUES[name]
    proxy.drop_reply_after_commit(times=1)

    with pytest.raises(StoreUnavailable) as caught:
        connections.perform(operation())

    assert caught.value.uncertain
    assert len(direct.perform(STORE.matching({}))) == count
    assert [fault.kind for fault in proxy.faults] == ["reply dropped after commit"]
    connections.perform(operation())
    assert len(direct.perform(STORE.matching({}))) == 2 * count


@pytest.mark.parametrize("name", ENQUEUES)
async def test_so_it_is_when_awaited(connections, direct, proxy, name):
    operation, count = ENQUEUES[name]
    await connections.aperform(STORE.paused())
    proxy.drop_reply_after_commit(times=1)

    with pytest.raises(StoreUnavailable) as caught:
        await connections.aperform(operation())

    assert caught.value.uncertain
    assert len(direct.perform(STORE.matching({}))) == count
    await connections.aperform(operation())
    assert len(direct.perform(STORE.matching({}))) == 2 * count
    await connections.aclose()


def test_what_a_worker_claimed_and_was_not_told_is_given_back_as_strays(connections, direct, proxy):
    ids = [job.id for job in direct.perform(STORE.insert_many([draft()] * 3))]
    proxy.drop_reply_after_commit(tags=WRITES)
    with pytest.raises(StoreUnavailable) as caught:
        connections.perform(claiming())

    given_back = connections.perform(STORE.strays("w", []))

    assert caught.value.uncertain
    assert sorted(given_back) == ids
    assert sorted(job.id for job in connections.perform(claiming("other")).claimed) == ids
    assert {job.attempt for job in direct.perform(STORE.find({}))} == {0}


@pytest.mark.dj(151)
def test_an_outcome_whose_answer_was_lost_is_written_once(connections, direct, proxy):
    direct.perform(STORE.insert(draft()))
    (job,) = connections.perform(claiming()).claimed
    proxy.drop_reply_after_commit()
    with pytest.raises(StoreUnavailable):
        connections.perform(STORE.turn([succeeded(job)]))
    before = direct.perform(STORE.get(job.id))

    held = connections.perform(STORE.turn([succeeded(job, result='{"v":1,"value":2}')])).held

    assert held == set()
    assert before is not None
    assert before[0].state is State.SUCCEEDED
    assert direct.perform(STORE.get(job.id)) == before


def test_of_a_turn_whose_answer_was_lost_the_outcome_stays_and_the_claim_is_given_back(connections, direct, proxy):
    first, second = direct.perform(STORE.insert(draft())), direct.perform(STORE.insert(draft()))
    (job,) = connections.perform(claiming(count=1)).claimed
    proxy.drop_reply_after_commit(tags=("COMMIT",))
    with pytest.raises(StoreUnavailable) as caught:
        connections.perform(claiming(finished=[succeeded(job)]))

    held = connections.perform(STORE.turn([succeeded(job)])).held
    given_back = connections.perform(STORE.strays("w", []))

    assert caught.value.uncertain
    assert (held, given_back) == (set(), [second.id])
    assert [direct.perform(STORE.get(one.id))[0].state for one in (first, second)] == [State.SUCCEEDED, State.READY]


def test_a_connection_cut_between_two_calls_is_not_noticed(connections, proxy):
    connections.perform(STORE.pause("a"))
    proxy.cut()

    connections.perform(STORE.pause("b"))

    assert connections.perform(STORE.paused()) == ["a", "b"]


@pytest.mark.parametrize("towards", ["client", "server"])
def test_nor_is_one_of_which_one_direction_has_ended(connections, proxy, towards):
    connections.perform(STORE.pause("a"))
    ((_, own),) = connections.pool.free
    proxy.half_close(towards)
    until(lambda: not own.usable())

    connections.perform(STORE.pause("b"))

    assert own.raw.closed
    assert connections.perform(STORE.paused()) == ["a", "b"]


def ended(proxy: Any) -> None:
    """End the server's sessions that go through the proxy."""
    with psycopg.connect(proxy.url, autocommit=True) as raw:
        raw.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE application_name = 'belayed' AND datname = current_database()"
        )


FAULTS: dict[str, Callable[[Any], None]] = {
    "cut": lambda proxy: proxy.cut(),
    "half closed": lambda proxy: proxy.half_close(),
    "ended": ended,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_connection_lost_within_a_call_is_unavailable_at_once(connections, proxy, local_url, fault):
    with ThreadPoolExecutor(1) as threads, locked(local_url):
        call = threads.submit(connections.perform, STORE.insert(draft()))
        until(lambda: waiting(local_url))
        with at_most(SOON):
            FAULTS[fault](proxy)
            error = call.exception(10)
        if fault != "ended":
            # The server does not look at its client while it waits for a lock.
            ended(proxy)

    assert isinstance(error, StoreUnavailable)
    assert error.uncertain
    assert connections.perform(STORE.matching({})) == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_so_it_is_when_the_call_is_awaited(connections, proxy, local_url, fault):
    with locked(local_url):
        call = asyncio.create_task(connections.aperform(STORE.insert(draft())))
        while not await asyncio.to_thread(waiting, local_url):
            assert not call.done()
        with at_most(SOON):
            await asyncio.to_thread(FAULTS[fault], proxy)
            (error,) = await asyncio.gather(call, return_exceptions=True)
        if fault != "ended":
            await asyncio.to_thread(ended, proxy)

    assert isinstance(error, StoreUnavailable)
    assert error.uncertain
    assert await connections.aperform(STORE.matching({})) == []
    await connections.aclose()


def test_a_black_hole_is_given_up_and_the_other_connections_with_it(proxy):
    connections = Connections(address(proxy.url), timeout=LIMIT)
    connections.perform(STORE.migrate())
    connections.perform(STORE.paused())
    proxy.black_hole()

    with at_most(SOON), pytest.raises(StoreUnavailable, match=r"no answer in 0\.3 s") as caught:
        connections.perform(STORE.insert(draft()))

    assert caught.value.uncertain
    assert connections.pool.free == []
    proxy.forward()
    connections.perform(STORE.insert(draft()))
    # What was swallowed came out, with the wish to cancel it: that is what uncertain means.
    assert len(connections.perform(STORE.matching({}))) in (1, 2)
    connections.close()


def test_a_server_that_refuses_is_unavailable_and_then_there_again(connections, proxy):
    proxy.refuse()
    proxy.cut()

    with at_most(SOON), pytest.raises(StoreUnavailable, match="cannot connect") as caught:
        connections.perform(STORE.insert(draft()))

    assert not caught.value.uncertain
    proxy.forward()
    connections.perform(STORE.insert(draft()))
    assert len(connections.perform(STORE.matching({}))) == 1


def test_a_slow_network_is_no_outage(proxy):
    connections = Connections(address(proxy.url), timeout=1.0)
    connections.perform(STORE.migrate())
    proxy.delay(0.05)

    connections.perform(STORE.insert_many([draft()] * 100, hint="0 a"))

    proxy.forward()
    assert len(connections.perform(STORE.matching({}))) == 100
    connections.close()


def test_a_listener_whose_connection_is_cut_says_so(connections, proxy):
    listener = connections.listener("c")
    proxy.cut()

    with pytest.raises(StoreUnavailable):
        listener.echo("x")

    listener.close()


def test_an_answer_of_which_the_end_is_missing_is_given_up_too(proxy):
    connections = Connections(address(proxy.url), timeout=LIMIT)
    connections.perform(STORE.migrate())
    for _ in range(2):
        connections.perform(STORE.insert(draft()))
    whole, ready = proxy._answer, b"Z\0\0\0\5I"
    proxy._answer = lambda link, data: whole(link, data).removesuffix(ready)

    # Without a look whether more has come, libpq would wait for it for ever, and keep all threads waiting.
    with at_most(SOON), pytest.raises(StoreUnavailable, match="no answer") as caught:
        connections.perform(STORE.insert(draft()))

    assert caught.value.uncertain
    connections.close()
