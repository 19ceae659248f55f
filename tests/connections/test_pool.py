"""Connections of ours are few, are closed when idle, and belong to one process and one event loop each."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from belayed.config import Address, address
from belayed.connections import Connections
from belayed.connections.parameters import of_url
from belayed.connections.pool import AsyncPool, Pool
from belayed.connections.postgresql import OwnAsyncPsycopg, OwnPsycopg
from belayed.connections.sqlite import OwnSqlite
from belayed.errors import AttemptStopped, StoreUnavailable
from belayed.steps import Ask, Steps
from belayed.store import open_store
from belayed.store.statements import statement
from tests.patience import patient
from tests.worker.helpers import eventually

ONE = statement("one", "SELECT 1")
BACKEND = statement("backend", "SELECT pg_backend_pid()")
SLOW = statement("slow", "SELECT pg_sleep(60)")
SESSIONS = statement("sessions", "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")


def asked(what: Any) -> Steps[Any]:
    """The first value that the statement answers."""
    answers = yield Ask([(what, {})], last=True, read=True)
    return answers[0][0][0]


class Watched:
    """Opens connections, and knows them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.opened: list[OwnSqlite] = []
        self.lock = threading.Lock()
        self.closed = threading.Event()

    def __call__(self) -> OwnSqlite:
        watched = self

        class Own(OwnSqlite):
            def close(self) -> None:
                super().close()
                watched.closed.set()

        with self.lock:
            self.opened.append(Own(self.path))
            return self.opened[-1]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request) -> Address:
    """An empty database."""
    if request.param == "sqlite":
        return Address("sqlite", str(request.getfixturevalue("sqlite_path")))
    return address(request.getfixturevalue("postgres_url"))


def test_sixteen_threads_share_at_most_four_connections(database):
    connections = Connections(database)
    opened = []
    open_one = connections.pool.open
    connections.pool.open = lambda: opened.append(open_one()) or opened[-1]

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda _: connections.perform(asked(ONE)), range(500)))

    connections.close()
    assert found == [1] * 500
    assert 1 <= len(opened) <= 4


def test_one_thread_uses_one_connection(database):
    connections = Connections(database)
    opened = []
    open_one = connections.pool.open
    connections.pool.open = lambda: opened.append(open_one()) or opened[-1]

    for _ in range(10):
        connections.perform(asked(ONE))

    connections.close()
    assert len(opened) == 1


def test_an_idle_connection_is_closed(sqlite_path):
    watched = Watched(str(sqlite_path))
    pool: Pool[OwnSqlite] = Pool(watched, idle=0.01)

    pool.perform(asked(ONE))

    assert watched.closed.wait(patient(10))
    assert pool.perform(asked(ONE)) == 1
    assert len(watched.opened) == 2
    pool.close()


def test_a_closed_pool_can_be_used_again(database):
    connections = Connections(database)
    connections.perform(asked(ONE))
    connections.close()

    found = connections.perform(asked(ONE))

    connections.close()
    assert found == 1


def test_an_operation_that_fails_gives_its_connection_back(database):
    connections = Connections(database)

    def fails() -> Steps[None]:
        yield Ask([(ONE, {})])
        raise LookupError

    for _ in range(10):
        with pytest.raises(LookupError):
            connections.perform(fails())

    assert connections.perform(asked(ONE)) == 1
    connections.close()


def test_a_thread_that_is_stopped_while_it_waits_for_a_connection_costs_no_place(sqlite_path):
    pool: Pool[OwnSqlite] = Pool(lambda: OwnSqlite(str(sqlite_path)), most=1, timeout=patient(20))
    holds, free = threading.Event(), threading.Event()
    stopped = []

    def hold() -> None:
        pool.use(lambda _connection, _given: (holds.set(), free.wait(patient(30))), None)

    def wait() -> None:
        try:
            pool.perform(asked(ONE))
        except AttemptStopped as stop:
            stopped.append(stop)

    holding, waiting = threading.Thread(target=hold), threading.Thread(target=wait)
    holding.start()
    assert holds.wait(patient(10))
    waiting.start()
    eventually(lambda: (frame := sys._current_frames().get(waiting.ident)) and frame.f_code.co_name == "wait_for_place")
    stop = ctypes.py_object(AttemptStopped)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(waiting.ident), stop)
    free.set()
    holding.join(patient(10))
    waiting.join(patient(10))

    assert stopped
    assert pool.perform(asked(ONE)) == 1
    assert (pool.places.qsize(), pool.users) == (1, [])
    pool.close()


def test_a_database_in_memory_is_one_for_all_threads():
    connections, store = Connections(Address("sqlite", ":memory:")), open_store("sqlite")
    connections.perform(store.migrate())

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: connections.perform(store.pause("a")), range(50)))

    assert connections.perform(store.paused()) == ["a"]
    assert asyncio.run(connections.aperform(store.paused())) == ["a"]
    connections.close()


def test_sixteen_coroutines_share_at_most_four_connections(postgres_url):
    opened = []

    async def open_one() -> OwnAsyncPsycopg:
        opened.append(await OwnAsyncPsycopg.open(of_url(postgres_url)))
        return opened[-1]

    async def main() -> list[int]:
        pool = AsyncPool(open_one)
        found = await asyncio.gather(*(pool.perform(asked(ONE)) for _ in range(16)))
        await pool.close()
        return found

    assert asyncio.run(main()) == [1] * 16
    assert 1 <= len(opened) <= 4
    assert all(one.raw.closed for one in opened)


def test_each_event_loop_has_its_own_connections(postgres_url):
    connections = Connections(address(postgres_url))
    both = threading.Barrier(2)

    async def main() -> int:
        first = await connections.aperform(asked(BACKEND))
        both.wait(patient(10))
        assert await connections.aperform(asked(BACKEND)) == first
        await connections.aclose()
        return first

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda _: asyncio.run(main()), range(2)))

    assert len(set(found)) == 2


async def test_a_cancelled_operation_costs_no_place(postgres_url):
    connections = Connections(address(postgres_url))
    for _ in range(6):
        waiting = asyncio.create_task(connections.aperform(asked(SLOW)))
        while not await busy(postgres_url):
            assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert await connections.aperform(asked(ONE)) == 1
    await connections.aclose()


async def test_a_coroutine_that_is_cancelled_while_it_waits_for_a_connection_costs_no_place(postgres_url):
    connections = Connections(address(postgres_url))
    assert connections.apool is not None
    connections.apool.most = 1
    first = asyncio.create_task(connections.aperform(asked(SLOW)))
    while not await busy(postgres_url):
        assert not first.done()
    others = [asyncio.create_task(connections.aperform(asked(ONE))) for _ in range(3)]
    await asyncio.sleep(0)

    others[0].cancel()
    first.cancel()
    found = await asyncio.gather(first, *others, return_exceptions=True)

    assert [type(one) for one in found] == [asyncio.CancelledError, asyncio.CancelledError, int, int]
    assert await connections.aperform(asked(ONE)) == 1
    await connections.aclose()


async def test_a_coroutine_waits_for_a_connection_for_the_time_limit_only(postgres_url):
    connections = Connections(address(postgres_url))
    assert connections.apool is not None
    connections.apool.most, connections.apool.timeout = 1, 0.2
    free, given = asyncio.Event(), connections.apool.open

    async def open_late() -> OwnAsyncPsycopg:
        await free.wait()
        return await given()

    connections.apool.open = open_late
    first = asyncio.create_task(connections.aperform(asked(ONE)))
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable, match=r"none of the 1 connections .* has become free in 0\.2 s"):
        await connections.aperform(asked(ONE))

    free.set()
    assert await first == 1
    assert await connections.aperform(asked(ONE)) == 1
    await connections.aclose()


async def test_idle_connections_of_an_event_loop_are_closed(postgres_url):
    opened: list[OwnAsyncPsycopg] = []

    async def open_one() -> OwnAsyncPsycopg:
        opened.append(await OwnAsyncPsycopg.open(of_url(postgres_url)))
        return opened[-1]

    pool = AsyncPool(open_one, idle=0.01)

    await asyncio.gather(*(pool.perform(asked(ONE)) for _ in range(4)))
    loop = asyncio.get_running_loop()
    until = loop.time() + 20
    while not all(one.raw.closed for one in opened):
        assert loop.time() < until
        await asyncio.sleep(0.001)

    assert len(opened) == 4
    assert await pool.perform(asked(ONE)) == 1
    await pool.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_event_loop_in_which_many_have_waited_for_a_connection_leaves_none_behind(postgres_url):
    connections = Connections(address(postgres_url))

    async def main() -> None:
        await asyncio.gather(*(connections.aperform(asked(ONE)) for _ in range(16)))

    for _ in range(3):
        asyncio.run(main())
    gc.collect()

    assert connections.apool is not None
    assert len(connections.apool.loops) == 0
    assert eventually(lambda: connections.perform(asked(SESSIONS)) == 1)
    connections.close()


async def busy(url: str) -> bool:
    """Whether some session sleeps."""
    sleeping = statement("sleeping", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    own = await OwnAsyncPsycopg.open(of_url(url))
    found = await own.perform(asked(sleeping))
    await own.close()
    return bool(found)


def test_a_database_that_cannot_be_reached_is_unavailable_and_nothing_was_committed(tmp_path):
    connections = Connections(address(f"postgresql://u:secret@/x?host={tmp_path}"))

    with pytest.raises(StoreUnavailable, match="cannot connect to PostgreSQL") as caught:
        connections.perform(asked(ONE))
    with pytest.raises(StoreUnavailable, match="cannot connect to PostgreSQL") as awaited:
        asyncio.run(connections.aperform(asked(ONE)))

    assert not caught.value.uncertain
    assert not awaited.value.uncertain
    assert "secret" not in f"{caught.value}{connections!r}"


def test_an_error_in_the_last_request_leaves_a_connection_that_works(postgres_url):
    own = OwnPsycopg(of_url(postgres_url))
    broken = statement("broken", "SELECT 1/0")

    def fails() -> Steps[None]:
        yield Ask([(ONE, {})])
        yield Ask([(broken, {}), (ONE, {})], last=True)

    with pytest.raises(Exception, match="division by zero"):
        own.perform(fails())

    assert own.perform(asked(ONE)) == 1
    assert own.usable()
    own.close()


FORKING = """
import os, sys, warnings
from belayed.config import address
from belayed.connections import Connections
from belayed.store import open_store

at = address(sys.argv[1])
connections, store = Connections(at), open_store(at.dialect)
connections.perform(store.migrate())
connections.perform(store.pause("parent"))
(before,) = [id(one) for _, one in connections.pool.free]
child = os.fork()
if child == 0:
    if sys.argv[2] == "uses":
        connections.perform(store.pause("child"))
        assert before not in [id(one) for _, one in connections.pool.free]
        connections.close()
    sys.exit(7)  # with all that an interpreter does at its end
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
connections.perform(store.pause("later"))
assert [id(one) for _, one in connections.pool.free] == [before]
print(*connections.perform(store.paused()))
connections.close()
"""


@pytest.mark.dj(112, 317, 352)
@pytest.mark.parametrize(("child", "paused"), [("uses", "child later parent"), ("leaves", "later parent")])
def test_a_fork_shares_no_connection(database, child, paused):
    url = f"sqlite:///{database.target}" if database.dialect == "sqlite" else database.target

    done = subprocess.run(
        [sys.executable, "-c", FORKING, url, child], check=False, capture_output=True, text=True, timeout=patient(60)
    )

    assert (done.returncode, done.stdout.strip()) == (0, paused), done.stderr
    assert "Error" not in done.stderr


OUTLIVED = """
import os, signal, sys
from belayed.config import address
from belayed.connections import Connections
from belayed.store import open_store

at = address(sys.argv[1])
connections, store = Connections(at), open_store(at.dialect)
connections.perform(store.migrate())
used, closed = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    connections.perform(store.pause("before"))
    os.write(used[1], b"!")
    os.read(closed[0], 1)
    connections.perform(store.pause("after"))
    os.kill(os.getpid(), signal.SIGKILL)
os.read(used[0], 1)
connections.close()
os.write(closed[1], b"!")
os.waitpid(child, 0)
print(*connections.perform(store.paused()))
connections.close()
"""


def test_what_a_forked_child_writes_outlives_its_parents_connections(database):
    """SQLite's locks do not cross a fork: the parent would remove the log into which the child still writes."""
    url = f"sqlite:///{database.target}" if database.dialect == "sqlite" else database.target

    done = subprocess.run(
        [sys.executable, "-c", OUTLIVED, url], check=False, capture_output=True, text=True, timeout=patient(60)
    )

    assert (done.returncode, done.stdout.strip()) == (0, "after before"), done.stderr


BUSY = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")  # that it forks with threads is the point
from belayed.config import address
from belayed.connections import Connections
from belayed.store import open_store

at = address(sys.argv[1])
connections, store = Connections(at), open_store(at.dialect)
connections.perform(store.migrate())
over = threading.Event()

def writes(number):
    while not over.is_set():
        connections.perform(store.pause(f"thread {number}"))

threads = [threading.Thread(target=writes, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for number in range(20):
    if (child := os.fork()) == 0:
        connections.perform(store.pause(f"child {number}"))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
over.set()
for thread in threads:
    thread.join()
print(len(connections.perform(store.paused())))
connections.close()
"""


def test_a_fork_beside_busy_threads_hinders_neither(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BUSY, f"sqlite:///{tmp_path / 'busy.db'}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=patient(60),
    )

    assert (done.returncode, done.stdout.strip()) == (0, "24"), done.stderr


CLOSING = """
import asyncio, sys
from belayed.config import address
from belayed.connections import Connections
from belayed.store import open_store

at = address(sys.argv[1])
connections, store = Connections(at), open_store(at.dialect)
connections.perform(store.migrate())

async def main():
    await asyncio.gather(*(connections.aperform(store.paused()) for _ in range(8)))
    await connections.aclose()

asyncio.run(main())
connections.perform(store.paused())
connections.close()
"""


def test_a_program_that_closes_its_connections_is_not_warned(database):
    url = f"sqlite:///{database.target}" if database.dialect == "sqlite" else database.target

    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", CLOSING, url],
        check=False,
        capture_output=True,
        text=True,
        timeout=patient(60),
    )

    assert (done.returncode, done.stderr) == (0, "")
