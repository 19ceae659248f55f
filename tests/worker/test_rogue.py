"""Jobs that attack the supervisor from within their child: by its channel, and by the page that both share."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from belayed import State
from belayed.jobs import Jobs
from belayed.worker.blame import LOST
from belayed.worker.frames import FINISHED, LENGTH, PACKED, encoded, packed
from belayed.worker.process import Process
from tests.worker import rogue
from tests.worker.helpers import eventually, states
from tests.worker.tree import over, runs, tree

APP = "tests.worker.rogue"
EVIL = [
    rogue.writes.draft((LENGTH.pack(100_000) + b"[" * 100_000).hex()),
    rogue.sends.draft("succeeded", '[["CELL", 1e999]]'),
    rogue.sends.draft("ended", json.dumps([["CELL", [1, "foreign", *[None] * (len(FINISHED) - 2)]]])),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_jobs_that_send_frames_end_their_own_child_and_nothing_else(lite: Jobs, log: Path, effects: Path) -> None:
    until = effects.with_name("until")
    neighbour = rogue.waits.enqueue(str(effects), str(until))
    with tree(lite, log, app=APP, processes=2, threads=1) as worker:
        eventually(lambda: runs(effects))
        evil = [lite.enqueue(draft, max_attempts=1) for draft in EVIL]
        over(*evil, within=40)
        pids = [row.pid for row in lite.workers()]
        until.touch()
        over(neighbour)

    assert (neighbour.state, neighbour.attempt) == (State.SUCCEEDED, 1)
    assert set(states(*evil)) == {State.FAILED}
    assert {one.crashes for one in evil} == {1}
    assert all("it sent what is not a valid frame" in (one.attempts[0].message or "") for one in evil)
    assert pids == [worker.pid]


def test_a_process_that_a_dead_child_has_left_behind_cannot_hold_its_supervisor(
    lite: Jobs, log: Path, effects: Path
) -> None:
    job = rogue.forks_and_writes.using(max_attempts=1).enqueue()

    with tree(lite, log, app=APP):
        over(job)
        over(last := rogue.ends.enqueue(str(effects)))

    assert states(job, last) == [State.FAILED, State.SUCCEEDED]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="nothing is sealed here")
def test_a_job_cannot_change_the_size_of_the_page(lite: Jobs, log: Path) -> None:
    with tree(lite, log, app=APP):
        over(job := rogue.shrinks.enqueue(), last := rogue.attempt.enqueue())

    assert set(job.result) == {"refused"}
    assert len(job.result) >= 3
    assert last.state is State.SUCCEEDED


@pytest.mark.parametrize(("first", "last"), [(0, 3), (8, 0)], ids=["lease and pulse", "cells"])
def test_a_job_that_writes_all_over_the_page_leaves_a_child_that_works(
    first: int, last: int, lite: Jobs, log: Path, effects: Path
) -> None:
    with tree(lite, log, app=APP) as worker:
        before = worker.children()
        for number in ("nan", "-inf", "1e308"):
            over(rogue.scribbles.enqueue(number, first, last))
            over(rogue.ends.enqueue(str(effects)))
        after = worker.children()

    assert before == after
    assert len(runs(effects)) == 3


def test_a_job_that_puts_another_file_in_the_place_of_the_channel_is_charged(
    lite: Jobs, log: Path, effects: Path
) -> None:
    job = rogue.takes_the_channel.using(max_attempts=1).enqueue()

    with tree(lite, log, app=APP):
        over(job)
        over(last := rogue.ends.enqueue(str(effects)))

    assert (job.state, job.crashes) == (State.FAILED, 1)
    assert last.refresh().state is State.SUCCEEDED


def test_the_death_of_a_child_without_jobs_is_logged_though_its_channel_ends_first(lite: Jobs, log: Path) -> None:
    until = log.with_name("until")

    with tree(lite, log, app=APP) as worker:
        over(rogue.cuts_the_channel_later.enqueue(str(until)))
        until.touch()
        worker.says("ERROR child process [0-9]+ ended with exit code 70")


@pytest.mark.parametrize("dies", [True, False])
def test_an_error_is_logged_once_whenever_its_child_dies(dies: bool, lite: Jobs, log: Path, effects: Path) -> None:
    with tree(lite, log, app=APP) as worker:
        over(job := rogue.fails.enqueue(dies))
        if not dies:
            worker.says("FAILED permanently")
            os.kill(worker.children()[0], signal.SIGKILL)
        worker.says("ERROR child process [0-9]+ (ended with exit code 3|was killed by SIGKILL)")
        over(rogue.ends.enqueue(str(effects)))

        assert len(worker.says(f"#{job.id} FAILED permanently with ValueError: for the log")) == 1


@pytest.mark.parametrize(
    ("begin", "sent"),
    [
        (False, b"\xff" * 100),
        (True, b"\xff" * 100),
        (True, LENGTH.pack(4 | PACKED) + b"\0" * 8),
        (True, packed("jobs", [(0, 0.0, (1, "too few"))])),
        (True, encoded("news", {})),
    ],
)
def test_a_child_that_is_sent_garbage_ends_and_says_why(begin: bool, sent: bytes, lite: Jobs) -> None:
    process = Process(10, 1 << 20)
    first = {"app": None, "url": lite.url, "threads": 1, "async_slots": 1, "read_ahead": 1, "title": None}
    if begin:
        process.send("begin", {**first, "log_level": None, "log_format": None, "log_arguments": False})
    process.channel.put(sent)

    eventually(process.dead, within=20)

    said = b"".join(iter(process.written, b"")).decode()
    assert process.death().code == LOST
    assert "not a valid frame" in said
    process.close()
