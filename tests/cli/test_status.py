"""`status`, `pause` and `resume`."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from belayed.job import State
from tests.store.factories import worker


def rows(text):
    """The words of each line; a few seconds are none."""
    return [line.split() for line in re.sub(r"\b\d s\b", "0 s", text).splitlines()]


def test_status_shows_the_queues_what_has_ended_and_the_workers(run, store, each_url):
    store.ended(State.FAILED)
    store.running(queue="mail")
    store.added(2, queue="mail")
    store.added(queue="later", run_at=timedelta(hours=1))
    store.beat(worker("w1", name="one", host="box", pid=7, queues='["mail", "!slow"]'))
    store.pause("slow")

    result = run("status")

    assert result.exit_code == 0
    assert rows(result.stdout) == [
        ["Queue", "Ready", "Scheduled", "Running", "Oldest", "waiting"],
        ["later", "0", "1", "0"],
        ["mail", "2", "0", "1", "0", "s"],
        ["slow", "0", "0", "0", "paused"],
        [],
        ["Ended", "and", "kept:", "0", "succeeded,", "1", "failed,", "0", "cancelled."],
        [],
        ["Worker", "Host", "PID", "Queues", "Running", "Started", "Last", "beat"],
        ["one", "box", "7", "mail,", "!slow", "1", "0", "s", "ago", "0", "s", "ago", "alive"],
    ]


def test_the_oldest_waiting_job_counts_scheduled_ones_that_are_due(run, store):
    store.time = store.perform(store.store.now()) - timedelta(minutes=3)
    store.added(run_at=timedelta(seconds=-30))
    store.added(run_at=timedelta(seconds=30))

    result = run("status")

    assert rows(result.stdout)[1] == ["default", "1", "1", "0", "3", "min"]


def test_an_empty_store_says_so_beside_the_output(run, store):
    result = run("status")

    assert result.exit_code == 0
    assert result.stdout.strip() == "Ended and kept: 0 succeeded, 0 failed, 0 cancelled."
    assert "No jobs wait or run." in result.stderr
    assert "start one with `belayed work`" in result.stderr


def test_status_shows_that_a_worker_has_lapsed(run, store):
    store.time = store.perform(store.store.now()) - timedelta(minutes=5)
    store.beat(worker("w1", name="one"))

    result = run("status")

    assert result.stdout.splitlines()[-1].endswith("5 min ago   5 min ago   lapsed")


def test_the_host_is_shown_once_where_workers_are_named_after_it(run, store):
    store.beat(worker("w1", name="box:7", host="box", pid=7))

    result = run("status")

    assert rows(result.stdout)[-2:] == [
        ["Worker", "Queues", "Running", "Started", "Last", "beat"],
        ["box:7", "*", "0", "0", "s", "ago", "0", "s", "ago", "alive"],
    ]


@pytest.mark.dj(334)
def test_status_as_json_has_stable_keys(told, store, each_url):
    store.added(queue="mail")
    store.beat(worker("w1", name="one", host="box", pid=7, queues='["mail"]'))

    status = told("status")

    assert sorted(status) == ["ended", "ended_counted_up_to", "now", "queues", "url", "workers"]
    assert status["ended"] == {"succeeded": 0, "failed": 0, "cancelled": 0}
    assert status["now"].endswith("Z")
    (queue,) = status["queues"]
    assert 0 <= queue.pop("oldest_waiting") < 60
    assert queue == {
        "name": "mail",
        "ready": 1,
        "scheduled": 0,
        "running": 0,
        "next_due": None,
        "paused": False,
    }
    (one,) = status["workers"]
    assert {key: one[key] for key in ("id", "name", "host", "pid", "queues", "running", "alive")} == {
        "id": "w1",
        "name": "one",
        "host": "box",
        "pid": 7,
        "queues": ["mail"],
        "running": 0,
        "alive": True,
    }


def test_pause_pauses_queues_and_resume_resumes_them(run, store, each_url):
    paused = run("pause", "mail", "slow")
    assert store.paused() == ["mail", "slow"]

    resumed = run("resume", "mail", "other")

    assert (paused.exit_code, resumed.exit_code) == (0, 0)
    assert paused.stdout.splitlines()[0] == "Paused mail: its jobs wait for `belayed resume`."
    assert resumed.stdout == "Resumed mail.\nother was not paused.\n"
    assert store.paused() == ["slow"]


def test_pause_wants_the_name_of_a_queue(run):
    result = run("pause")

    assert result.exit_code == 2
    assert "Missing argument 'QUEUE...'" in result.stderr
