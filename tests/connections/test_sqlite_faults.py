"""What SQLite does on a full disk, among many writers, under a long reader, and when its file is taken away."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from belayed.config import Address
from belayed.connections import Connections
from belayed.connections.sqlitefile import LOG_LIMIT
from belayed.errors import SchemaMissing, StoreUnavailable
from belayed.job import Draft, State
from belayed.steps import Steps
from belayed.store import open_store
from belayed.store.answers import Wanted
from belayed.store.lanes import Serving
from tests import servers
from tests.connections.conftest import Text, draft
from tests.patience import patient
from tests.store.factories import succeeded

STORE = open_store("sqlite")
PROCESSES, EACH = 6, 30


@pytest.fixture
def connections(sqlite_path) -> Iterator[Connections]:
    connections = Connections(Address("sqlite", str(sqlite_path)))
    connections.perform(STORE.migrate())
    yield connections
    connections.close()


def large(size: int) -> Draft:
    return Draft(payload=Text(), task="t", text="x" * size, queue="a", priority=0)


def claiming(count: int = 1) -> Steps[object]:
    return STORE.turn([], Wanted("w", count, STORE.lanes(Serving(("*",)))))


def ids(connections: Connections) -> list[int]:
    return list(connections.perform(STORE.matching({})))


def log_of(connections: Connections) -> int:
    """The size of the write-ahead log, in bytes."""
    return Path(f"{connections.address.target}-wal").stat().st_size


def is_sound(path: str) -> bool:
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 1 MiB."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        with servers.wanted():
            try:
                subprocess.run(mount, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise servers.NoServer(f"a small disk cannot be mounted ({error}): run as root on Linux") from error
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> Path:
    """Take all the space that there is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return filler


def test_on_a_full_disk_all_is_unavailable_and_then_goes_on(small_disk):
    connections = Connections(Address("sqlite", str(small_disk / "jobs.db")))
    connections.perform(STORE.migrate())
    first = connections.perform(STORE.insert(draft()))
    (job,) = connections.perform(claiming()).claimed
    kept = [connections.perform(STORE.insert(draft())).id for _ in range(3)]
    worker = connections.open()

    filler = fill(small_disk)
    for operation in (lambda: STORE.insert(large(20_000)), lambda: STORE.insert_many([large(1_000)] * 100)):
        with pytest.raises(StoreUnavailable, match=r"full|disk|cannot open") as caught:
            connections.perform(operation())
        assert not caught.value.uncertain
    with pytest.raises(StoreUnavailable, match="full"):
        worker.perform(STORE.turn([succeeded(job, result='"' + "y" * 100_000 + '"')]))
    filler.unlink()

    assert worker.usable()
    worker.perform(STORE.turn([succeeded(job)]))
    claimed = worker.perform(claiming(10)).claimed
    assert [one.id for one in claimed] == kept
    assert connections.perform(STORE.get(first.id))[0].state is State.SUCCEEDED
    added = connections.perform(STORE.insert(draft())).id
    assert ids(connections) == [first.id, *kept, added]
    worker.close()
    connections.close()
    assert is_sound(connections.address.target)


STORM = """
import sys
from belayed.config import Address
from belayed.connections import Connections
from belayed.store import open_store
from belayed.store.answers import Wanted
from belayed.store.lanes import Serving
from tests.connections.conftest import draft
from tests.store.factories import succeeded

store, worker = open_store("sqlite"), sys.argv[2]
connections = Connections(Address("sqlite", sys.argv[1]))
connections.perform(store.migrate())
lanes, ended = store.lanes(Serving(("*",))), 0
for _ in range(int(sys.argv[3])):
    connections.perform(store.insert(draft()))
    jobs = connections.perform(store.turn([], Wanted(worker, 2, lanes))).claimed
    ended += len(connections.perform(store.turn([succeeded(job) for job in jobs])).held)
connections.close()
print(ended)
"""


def test_many_processes_that_all_write_wait_for_each_other(sqlite_path):
    command = [sys.executable, "-c", STORM, str(sqlite_path)]

    running = [
        subprocess.Popen([*command, f"w{nth}", str(EACH)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for nth in range(PROCESSES)
    ]
    said = [process.communicate(timeout=patient(60)) for process in running]

    assert [error for _, error in said] == [""] * PROCESSES
    connections = Connections(Address("sqlite", str(sqlite_path)))
    states = [job.state for job in connections.perform(STORE.find({}, count=1000))]
    assert len(states) == PROCESSES * EACH
    assert states.count(State.SUCCEEDED) == sum(int(out) for out, _ in said)
    assert State.RUNNING not in states
    connections.close()
    assert is_sound(str(sqlite_path))


def test_the_log_that_a_long_reader_made_grow_shrinks_when_it_has_ended(connections):
    with closing(sqlite3.connect(connections.address.target, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM belayed_jobs").fetchone()
        for _ in range(5):
            connections.perform(STORE.insert_many([large(100_000)] * 50))
        grown = log_of(connections)

    for _ in range(3):
        connections.perform(STORE.insert(draft()))

    assert grown > LOG_LIMIT
    assert log_of(connections) <= LOG_LIMIT


def removed(path: str) -> None:
    for end in ("", "-wal", "-shm"):
        Path(path + end).unlink(missing_ok=True)


def test_a_file_that_was_removed_is_not_written_to(connections):
    connections.perform(STORE.insert(draft()))
    removed(connections.address.target)

    with pytest.raises(SchemaMissing):
        connections.perform(STORE.insert(draft()))

    connections.perform(STORE.migrate())
    assert ids(connections) == []


def test_a_file_that_was_replaced_is_the_one_that_counts(connections, tmp_path):
    other = Connections(Address("sqlite", str(tmp_path / "other.db")))
    other.perform(STORE.migrate())
    other.perform(STORE.pause("other"))
    other.close()
    own = connections.open()
    removed(connections.address.target)
    Path(other.address.target).replace(connections.address.target)

    connections.perform(STORE.pause("a"))

    assert connections.perform(STORE.paused()) == ["a", "other"]
    assert not own.usable()
    own.close()
    assert connections.perform(STORE.paused()) == ["a", "other"]
    connections.close()
    assert is_sound(connections.address.target)


def test_a_file_that_is_removed_within_an_operation_is_told(connections):
    def steps() -> Steps[None]:
        yield from STORE.insert(draft())
        yield from late()

    def late() -> Steps[None]:
        removed(connections.address.target)
        yield from STORE.pause("a")

    with pytest.raises(StoreUnavailable, match="removed or replaced") as caught:
        connections.perform(steps())

    assert caught.value.uncertain
    assert connections.pool.free == []


@pytest.mark.parametrize("ends", [["-wal"], ["-shm"], ["-wal", "-shm"]], ids="".join)
def test_a_log_that_was_removed_is_left_and_what_it_had_is_kept(connections, caplog, ends):
    connections.perform(STORE.pause("before"))
    own, path = connections.open(), connections.address.target
    own.perform(STORE.pause("own"))
    for end in ends:
        Path(path + end).unlink()
    assert not own.usable()

    connections.perform(STORE.pause("after"))

    assert elsewhere(path) == ["after", "before", "own"]
    own.perform(STORE.pause("late"))
    assert elsewhere(path) == ["after", "before", "late", "own"]
    own.close()
    (record,) = [one for one in caplog.records if "was removed" in one.getMessage()]
    assert record.getMessage() == (
        f"{path}{ends[0]} was removed or replaced while it was in use: what was in it is in the database; it is opened "
        "again"
    )
    connections.close()
    assert is_sound(path)


def test_where_another_log_has_been_begun_the_old_one_is_not_mixed_in(connections, caplog):
    connections.perform(STORE.pause("before"))
    path = connections.address.target
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connections.perform(STORE.pause("lost"))
    for end in ("-wal", "-shm"):
        Path(path + end).unlink()
    elsewhere(path, "INSERT INTO belayed_queues (name, paused_at) VALUES ('another', 1)", then_wait=connections)

    assert connections.perform(STORE.paused()) == ["another", "before"]
    assert "another one has been begun, and what was not in the database by then is lost" in caplog.text
    connections.close()
    assert is_sound(path)


def test_a_log_in_use_is_not_taken_for_removed(connections, caplog):
    path = connections.address.target
    for number in range(3):
        connections.perform(STORE.pause(f"{number}"))
        elsewhere(path)
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connections.close()
    connections.perform(STORE.pause("again"))

    assert connections.perform(STORE.paused()) == ["0", "1", "2", "again"]
    assert caplog.records == []


def test_a_database_that_was_replaced_is_told_once(connections, tmp_path, caplog):
    test_a_file_that_was_replaced_is_the_one_that_counts(connections, tmp_path)

    (record,) = caplog.records
    assert record.getMessage() == (
        f"{connections.address.target} was removed or replaced while it was in use: it is another file now, and is "
        "opened again"
    )


LOOK = """
import sqlite3, sys
raw = sqlite3.connect(sys.argv[1])
raw.execute(sys.argv[2])
raw.commit()
rows = raw.execute("SELECT name FROM belayed_queues WHERE paused_at IS NOT NULL ORDER BY name")
print(*[row[0] for row in rows], flush=True)
sys.stdin.read()
"""


def elsewhere(path: str, text: str = "SELECT 1", then_wait: Connections | None = None) -> list[str]:
    """The paused queues as another process sees them, once it has done something; it may keep the file open a while."""
    process = subprocess.Popen(
        [sys.executable, "-c", LOOK, path, text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    found = process.stdout.readline().split()
    if then_wait is not None:
        then_wait.perform(STORE.paused())
    process.communicate()
    assert process.returncode == 0
    return found


def test_a_program_that_goes_to_another_folder_keeps_its_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    connections = Connections(Address("sqlite", "jobs.db"))
    connections.perform(STORE.migrate())
    (tmp_path / "elsewhere").mkdir()

    monkeypatch.chdir(tmp_path / "elsewhere")
    connections.perform(STORE.insert(draft()))

    assert ids(connections) == [1]
    assert not list((tmp_path / "elsewhere").iterdir())
    connections.close()
