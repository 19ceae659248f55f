"""The jobs of the crash tests. CRASH_STAGE says at which stage of an attempt CRASH_WHOM is killed, once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import belayed
from belayed import current_job, task
from belayed.worker.slots import Slots
from tests.patience import patient

SOON = timedelta(milliseconds=50)
LEDGER = os.environ.get("CRASH_LEDGER", "")
jobs = belayed.configure(synchronous="normal", max_succeeded=5, keep_succeeded=timedelta(days=1))


class Tripped(Exception):
    pass


def note(event: str) -> None:
    """One line: what happened to which job, in which attempt."""
    job = current_job()
    file = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{event} {job.id} {job.attempt}\n".encode())
    os.close(file)


@task
def plain() -> None:
    note("start")
    stage("effect")


@task
async def coroutine() -> None:
    note("start")
    await asyncio.sleep(0.001)


@task(backoff=SOON)
def trips() -> None:
    note("start")
    if not current_job().failures:
        raise Tripped


@task(max_attempts=1)
def fails() -> None:
    note("start")
    raise Tripped


@task
def large(text: str) -> None:
    note("start")


@task
def waits() -> None:
    """It is cancelled while it waits."""
    note("start")
    until = time.monotonic() + patient(60)
    while time.monotonic() < until:
        time.sleep(0.01)


@task
def transacts() -> None:
    """An effect and another job, committed with the completion."""
    note("start")
    with contextlib.closing(connected()) as raw, current_job().transaction(raw):
        raw.execute(f"INSERT INTO crash_effects (job) VALUES ({current_job().id})")
        plain.using(connection=raw, queue=current_job().queue).enqueue()


def connected() -> Any:
    if jobs.address.dialect == "sqlite":
        return sqlite3.connect(jobs.address.target, timeout=patient(20), isolation_level=None)
    import psycopg

    return psycopg.connect(jobs.address.target, autocommit=True)


def stage(name: str) -> None:
    """Kill who is to be killed at this stage, the first time."""
    marker = Path(f"{LEDGER}.{os.environ.get('CRASH_RUN', '')}.struck")
    if os.environ.get("CRASH_STAGE") != name or marker.exists():
        return
    marker.touch()
    os.kill(os.getppid() if os.environ["CRASH_WHOM"] == "supervisor" else os.getpid(), signal.SIGKILL)
    time.sleep(30)


if "CRASH_STAGE" in os.environ:
    from belayed.worker.frames import Channel

    start, begins, send = Slots.start, Slots.begins, Channel.send

    def handed(self: Any, jobs: Any, claimed_at: float) -> None:
        stage("handed over")
        start(self, jobs, claimed_at)

    def begun(self: Any, claimed: Any, saying: Any) -> bool:
        good = begins(self, claimed, saying)
        stage("started")
        return good

    def sent(self: Any, kind: str, body: Any) -> bool:
        has_outcomes = kind in ("succeeded", "ended") and bool(body)
        if has_outcomes:
            stage("outcome ready")
        gone = send(self, kind, body)
        if has_outcomes:
            stage("outcome sent")
        return gone

    Slots.start, Slots.begins, Channel.send = handed, begun, sent  # type: ignore[method-assign]
