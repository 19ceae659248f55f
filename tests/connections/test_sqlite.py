"""What SQLite files do that are busy, closed to us, or none."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from belayed.config import Address
from belayed.connections import Connections
from belayed.connections.sqlite import OwnSqlite
from belayed.errors import StoreUnavailable
from belayed.store import open_store
from tests.patience import patient
from tests.store.factories import draft

STORE = open_store("sqlite")

LOCKING = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1], isolation_level=None)
raw.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
raw.execute("COMMIT")
raw.close()
"""


@pytest.fixture
def connections(sqlite_path) -> Iterator[Connections]:
    connections = Connections(Address("sqlite", str(sqlite_path)))
    connections.perform(STORE.migrate())
    yield connections
    connections.close()


@pytest.fixture
def locked(connections) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a write transaction until it is let go."""
    with subprocess.Popen(
        [sys.executable, "-c", LOCKING, connections.address.target],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        released(process)


def released(process: subprocess.Popen[str]) -> None:
    """Let the process end, and wait until it has."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait(patient(30))


@pytest.mark.dj(106)
def test_two_writers_wait_for_a_long_transaction_of_another_process(connections, locked):
    tried = threading.Semaphore(0)
    open_one = connections.pool.open

    def watched() -> OwnSqlite:
        own = open_one()
        own.raw.set_trace_callback(lambda text: tried.release() if text.startswith("BEGIN") else None)
        return own

    connections.close()
    connections.pool.open = watched
    with ThreadPoolExecutor(2) as threads:
        writers = [threads.submit(connections.perform, STORE.pause(queue)) for queue in ("a", "b")]
        for _ in range(20):
            assert tried.acquire(timeout=patient(10))
        still_waiting = not any(writer.done() for writer in writers)
        released(locked)
        for writer in writers:
            writer.result(timeout=patient(20))

    assert still_waiting
    assert connections.perform(STORE.paused()) == ["a", "b"]


def test_reading_does_not_wait_for_a_writer(connections, locked):
    assert connections.perform(STORE.paused()) == []


def test_a_file_that_stays_locked_is_unavailable(connections, locked):
    connections = Connections(connections.address, timeout=0.02)

    with pytest.raises(StoreUnavailable, match="database is locked") as caught:
        connections.perform(STORE.pause("a"))

    assert connections.address.target in str(caught.value)
    assert not caught.value.uncertain


def test_a_full_disk_is_unavailable_and_what_was_begun_is_rolled_back(connections):
    own = connections.open()
    pages = own.raw.execute("PRAGMA page_count").fetchone()[0]
    own.raw.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreUnavailable, match="full"):
        own.perform(STORE.insert(draft(text="a" * 100_000)))

    assert own.perform(STORE.find({})) == []
    own.perform(STORE.pause("b"))
    own.close()
    assert connections.perform(STORE.paused()) == ["b"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    connections = Connections(Address("sqlite", str(tmp_path / "nowhere" / "x.db")))

    with pytest.raises(StoreUnavailable, match=f"there is no folder {tmp_path}/nowhere"):
        connections.perform(STORE.paused())


def test_a_folder_is_no_database(tmp_path):
    connections = Connections(Address("sqlite", str(tmp_path)))

    with pytest.raises(StoreUnavailable, match=f"cannot open {tmp_path} as a SQLite database: unable to open"):
        connections.perform(STORE.paused())


def test_another_kind_of_file_is_no_database(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database" * 100)
    connections = Connections(Address("sqlite", str(path)))

    with pytest.raises(StoreUnavailable, match=f"cannot open {path} as a SQLite database: file is not a database"):
        connections.perform(STORE.paused())

    assert path.read_text() == "not a database" * 100


@pytest.fixture
def other_user() -> Iterator[Path]:
    """A folder that the current user may read but not write: root becomes another for a while."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        raw = sqlite3.connect(folder / "x.db")
        raw.execute("CREATE TABLE t (a)")
        raw.close()
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        else:
            (folder / "x.db").chmod(0o444)
            folder.chmod(0o555)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            else:
                folder.chmod(0o755)


@pytest.mark.parametrize("name", ["x.db", "new.db"])
def test_a_file_or_folder_that_may_not_be_written_is_unavailable(other_user, name):
    connections = Connections(Address("sqlite", str(other_user / name)))

    with pytest.raises(StoreUnavailable, match=f"cannot open {other_user / name}"):
        connections.perform(STORE.pause("a"))


def test_what_another_process_has_written_shows_in_the_data_version(connections, locked):
    own = connections.open()
    before = own.data_version()

    released(locked)
    unchanged = own.data_version()
    connections.perform(STORE.pause("a"))

    assert before == unchanged
    assert own.data_version() != before
    own.close()


def test_a_file_that_is_made_is_not_for_everybody_to_read(tmp_path):
    path = tmp_path / "jobs.db"
    before = os.umask(0)
    try:
        connections = Connections(Address("sqlite", str(path)))
        connections.perform(STORE.migrate())
    finally:
        os.umask(before)

    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}

    connections.close()
    assert modes["jobs.db"] == 0o660
    assert set(modes.values()) == {0o660}
