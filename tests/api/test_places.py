"""A relative path of an SQLite file is read once: whoever changes the process's folder later changes nothing."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import belayed
from belayed import Jobs, State, task
from belayed.config import current
from belayed.errors import ConfigError
from belayed.worker import Worker


@task(name="places.moves")
def moves(folder: str) -> None:
    os.chdir(folder)


@task(name="places.follows")
def follows(folder: str) -> int:
    """Moves, and enqueues another."""
    os.chdir(folder)
    return int(moves.enqueue(folder).id)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another folder than that in which the process is; none of them has a file yet."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(current, "jobs", None)
    yield elsewhere
    if current.jobs is not None:
        current.jobs.close()


def configured() -> Jobs:
    return belayed.configure("sqlite:///jobs.db")


def from_environment() -> Jobs:
    os.environ["BELAYED_URL"] = "sqlite:///jobs.db"
    jobs: Jobs = current()
    return jobs


def moved() -> Jobs:
    jobs = Jobs("sqlite:///other.db")
    jobs.move("sqlite:///jobs.db")
    current.jobs = jobs
    return jobs


def parents() -> Jobs:
    return belayed.configure("sqlite:///../here/./jobs.db")


@pytest.mark.parametrize("make", [configured, from_environment, moved, parents])
def test_a_relative_file_stays_where_it_was_when_its_url_was_read(elsewhere, monkeypatch, make):
    monkeypatch.setenv("BELAYED_URL", "")
    here = Path.cwd()
    jobs = make()
    os.chdir(elsewhere)

    jobs.enqueue(moves.draft(str(elsewhere)))
    thread = threading.Thread(target=lambda: jobs.enqueue(moves.draft(str(elsewhere))))
    thread.start()
    thread.join()
    asyncio.run(jobs.aenqueue(moves.draft(str(elsewhere))))

    assert list(elsewhere.iterdir()) == []
    with closing(sqlite3.connect(here / "jobs.db")) as raw:
        assert raw.execute("SELECT count(*) FROM belayed_jobs").fetchone() == (3,)
    assert str(here.parent) in jobs.url
    assert jobs.url in repr(jobs)


def test_a_job_that_changes_the_folder_takes_no_job_elsewhere(elsewhere):
    jobs = belayed.configure("sqlite:///jobs.db")
    first = follows.enqueue(str(elsewhere))

    Worker(jobs).run(until_empty=True)

    assert list(elsewhere.iterdir()) == []
    assert first.refresh().state is State.SUCCEEDED
    assert jobs.get(first.result).state is State.SUCCEEDED


def test_a_url_is_read_in_a_folder_that_is_there(elsewhere, monkeypatch):
    os.chdir(elsewhere)
    elsewhere.rmdir()

    with pytest.raises(ConfigError, match="process's folder is gone"):
        Jobs("sqlite:///jobs.db")
    assert Jobs("sqlite:///:memory:").address.target == ":memory:"


def test_an_absolute_file_and_one_in_memory_are_left_as_they_are(tmp_path):
    assert Jobs(f"sqlite:///{tmp_path}/a.db").url == f"sqlite:///{tmp_path}/a.db"
    assert Jobs("sqlite://").url == "sqlite://"
    assert Jobs("postgresql://host/name").url == "postgresql://host/name"


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///%3Amemory%3A", "sqlite+x://"]
)
@pytest.mark.parametrize("variable", [None, "BELAYED_URL", "DATABASE_URL"])
def test_jobs_in_memory_are_warned_of(monkeypatch, caplog, url, variable):
    if variable is not None:
        monkeypatch.setenv(variable, url)

    Jobs(None if variable else url)

    (record,) = caplog.records
    said = f" (by {variable})" if variable else ""
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(
        f"{url}{said} keeps jobs in the memory of this process: no worker but one within"
    )


def test_jobs_in_a_file_or_on_a_server_are_not_warned_of(tmp_path, caplog):
    Jobs(f"sqlite:///{tmp_path}/jobs.db")
    Jobs(f"sqlite:///{tmp_path}/:memory:")
    Jobs("postgresql://host/name")

    assert caplog.records == []
