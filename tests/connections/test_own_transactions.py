"""An enqueue while the application's own transaction has SQLite's write lock."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import aiosqlite
import pytest

from belayed import Jobs
from belayed.connections import sqlite
from belayed.errors import StoreError, StoreUnavailable
from tests.connections.conftest import at_most
from tests.patience import patient
from tests.worker.tasks import double

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux says who has a lock")


@pytest.fixture
def jobs(sqlite_path):
    jobs = Jobs(f"sqlite:///{sqlite_path}")
    jobs.migrate()
    yield jobs
    jobs.close()


@pytest.fixture
def connection(jobs, sqlite_path):
    with closing(sqlite3.connect(sqlite_path)) as connection:
        connection.execute("CREATE TABLE orders (id)")
        yield connection


@pytest.mark.parametrize(
    "act",
    [
        lambda jobs: jobs.enqueue(double.draft(1)),
        lambda jobs: jobs.enqueue_many([double.draft(1), double.draft(2)]),
        lambda jobs: jobs.pause("default"),
    ],
    ids=["enqueue", "enqueue_many", "pause"],
)
def test_a_transaction_of_this_thread_is_not_waited_for(jobs, connection, act):
    connection.execute("INSERT INTO orders VALUES (1)")

    with at_most(10), pytest.raises(StoreError, match=r"waits for itself: .*connection=…"):
        act(jobs)

    jobs.enqueue(double.draft(3), connection=connection)
    connection.commit()
    assert len(jobs.find()) == 1
    assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)


@pytest.fixture
def looked(monkeypatch):
    """Set when somebody who waits has looked whose transaction it is."""
    looked = threading.Event()
    look = sqlite.refuse_own_transaction

    def looking(*args):
        try:
            look(*args)
        finally:
            looked.set()

    monkeypatch.setattr(sqlite, "refuse_own_transaction", looking)
    return looked


@pytest.mark.parametrize("bound", [True, False])
def test_a_transaction_of_another_thread_is_waited_for(jobs, sqlite_path, looked, bound):
    begun = threading.Event()

    def write():
        with closing(sqlite3.connect(sqlite_path, check_same_thread=bound)) as connection:
            connection.execute("CREATE TABLE orders (id)")
            connection.execute("INSERT INTO orders VALUES (1)")
            begun.set()
            looked.wait(patient(20))
            connection.commit()

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait(patient(20))
    jobs.enqueue(double.draft(1))
    thread.join()

    assert looked.is_set()
    assert len(jobs.find()) == 1


def test_a_transaction_of_another_process_is_waited_for_though_this_thread_reads(jobs, connection, sqlite_path, looked):
    code = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1])\n"
        "c.execute('INSERT INTO orders VALUES (1)')\n"
        "print('begun', flush=True)\n"
        "sys.stdin.readline()\n"
        "c.commit()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, sqlite_path], **pipes) as other:
        other.stdout.readline()
        connection.isolation_level = None
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM orders").fetchall()
        ending = threading.Thread(target=lambda: looked.wait(patient(20)) and other.stdin.close())
        ending.start()
        jobs.enqueue(double.draft(1))
        ending.join()

    assert looked.is_set()
    assert len(jobs.find()) == 1


async def test_a_coroutine_waits_for_the_transaction_of_another_one(jobs, sqlite_path, looked):
    async with aiosqlite.connect(sqlite_path) as connection:
        await connection.execute("CREATE TABLE orders (id)")
        await connection.execute("INSERT INTO orders VALUES (1)")
        saving = asyncio.create_task(jobs.aenqueue(double.draft(1)))
        await asyncio.to_thread(looked.wait, 20)
        await connection.commit()
        await saving

    assert len(jobs.find()) == 1


async def test_what_is_not_known_is_said_when_the_time_is_up(sqlite_path):
    jobs = Jobs(f"sqlite:///{sqlite_path}", store_timeout=timedelta(seconds=0.3))
    jobs.migrate()
    with closing(sqlite3.connect(sqlite_path)) as connection:
        connection.execute("CREATE TABLE orders (id)")
        connection.execute("INSERT INTO orders VALUES (1)")

        with pytest.raises(StoreUnavailable, match=r"database is locked") as caught:
            await jobs.aenqueue(double.draft(1))

    assert str(sqlite_path) in str(caught.value)
    assert "enqueue by that connection (connection=…), or commit it before" in str(caught.value)
    jobs.close()


ALONE = """
import sqlite3, sys
import belayed
from belayed import task
@task
def send(to): ...
connection = sqlite3.connect(sys.argv[1], check_same_thread=False)
connection.execute("CREATE TABLE orders (id)")
connection.execute("INSERT INTO orders VALUES (1)")
send.enqueue("ada")
"""
DJANGO = """
import sys, threading
from django.conf import settings
database = {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}
settings.configure(DATABASES={"default": database}, USE_TZ=True)
import django; django.setup()
from django.db import connection, transaction
from belayed import task
@task
def send(to): ...
over = threading.Event()
threading.Thread(target=over.wait).start()
try:
    with transaction.atomic():
        connection.cursor().execute("CREATE TABLE orders (id)")
        send.enqueue("ada")
finally:
    over.set()
"""


@pytest.mark.parametrize("code", [ALONE, DJANGO], ids=["any thread's, in a program of one", "Django's atomic()"])
def test_a_connection_that_no_other_thread_can_use_is_not_waited_for(jobs, sqlite_path, tmp_path, code):
    program = tmp_path / "program.py"
    program.write_text(code)
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "BELAYED_URL": f"sqlite:///{sqlite_path}"}

    with at_most(15):
        ended = subprocess.run(
            [sys.executable, program, sqlite_path],
            check=False,
            capture_output=True,
            text=True,
            env=environ,
            timeout=patient(60),
        )

    assert ended.returncode == 1
    assert "belayed.errors.StoreError: the database" in ended.stderr
    assert "waits for itself: a transaction that this thread has begun" in ended.stderr
