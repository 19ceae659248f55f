"""Files of an SQLite database are taken away under a worker: it notices by itself, and works where the others do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.helpers import eventually, logged, program, worker
from tests.worker.tasks import double

ENQUEUE = "from tests.worker.tasks import double; print(double.using(jobs=jobs).enqueue(2).id)"


@pytest.mark.parametrize("ends", [["-wal"], ["-shm"], ["-wal", "-shm"]], ids="".join)
def test_a_worker_whose_log_is_removed_runs_what_others_enqueue(
    lite: Jobs, caplog: pytest.LogCaptureFixture, ends: list[str]
) -> None:
    with worker(lite, queues=("default",)):
        first = double.enqueue(1).wait(patient(30))
        lite.close()
        for end in ends:
            Path(lite.address.target + end).unlink()
        eventually(lambda: logged(caplog, "was removed or replaced while it was in use: what was in it is in"))

        with program(lite, ENQUEUE) as other:
            assert other.popen.wait(patient(30)) == 0, other.errors

        eventually(lambda: lite.get(first.id + 1).ended)
    assert lite.get(first.id).result == 2


def test_a_worker_whose_database_is_replaced_serves_the_new_one(
    lite: Jobs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, copy = lite.address.target, tmp_path / "copy.db"
    with worker(lite):
        double.enqueue(1).wait(patient(30))
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("VACUUM INTO ?", (str(copy),))
        for end in ("-wal", "-shm"):
            Path(path + end).unlink()
        copy.replace(path)
        eventually(lambda: logged(caplog, "it is another file now, and is opened again"))

        assert double.enqueue(3).wait(patient(30)).result == 6
    assert len(logged(caplog, "was removed or replaced")) == 1
