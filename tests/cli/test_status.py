"""`status`, `pause` and `resume`."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import pytest

from belayed.job import State
from tests.store.factories import draft, worker


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
        [],
        rows(result.stdout)[-1],
    ]
    assert result.stdout.splitlines()[-1].startswith(f"Database: {each_url.partition('@')[0]}")


def test_the_oldest_waiting_job_counts_scheduled_ones_that_are_due(run, store):
    store.time = store.perform(store.store.now()) - timedelta(minutes=3)
    store.added(run_at=timedelta(seconds=-30))
    store.added(run_at=timedelta(seconds=30))

    result = run("status")

    assert rows(result.stdout)[1] == ["default", "1", "1", "0", "3", "min"]


def test_an_empty_store_says_so_beside_the_output(run, store):
    result = run("status")

    assert result.exit_code == 0
    assert result.stdout.split("\n\n")[0].strip() == "Ended and kept: 0 succeeded, 0 failed, 0 cancelled."
    assert "No jobs wait or run." in result.stderr
    assert re.search(r"start one with `belayed --url \S+ work`", result.stderr)


def test_status_shows_that_a_worker_has_lapsed(run, store):
    store.time = store.perform(store.store.now()) - timedelta(minutes=5)
    store.beat(worker("w1", name="one"))

    result = run("status")

    assert result.stdout.splitlines()[-3].endswith("5 min ago   5 min ago   lapsed")


def test_the_host_is_shown_once_where_workers_are_named_after_it(run, store):
    store.beat(worker("w1", name="box:7", host="box", pid=7))

    result = run("status")

    assert rows(result.stdout)[-4:-2] == [
        ["Worker", "Queues", "Running", "Started", "Last", "beat"],
        ["box:7", "*", "0", "0", "s", "ago", "0", "s", "ago", "alive"],
    ]


@pytest.mark.dj(334)
def test_status_as_json_has_stable_keys(told, store, each_url):
    store.added(queue="mail")
    store.beat(worker("w1", name="one", host="box", pid=7, queues='["mail"]'))

    status = told("status")

    assert sorted(status) == ["ended", "ended_counted_up_to", "now", "queues", "url", "url_given", "workers"]
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
    assert re.fullmatch(
        r"Paused mail: its jobs wait for `belayed --url \S+ resume mail`\.", paused.stdout.splitlines()[0]
    )
    assert resumed.stdout == "Resumed mail.\nother was not paused.\n"
    assert store.paused() == ["slow"]


def test_pause_wants_the_name_of_a_queue(run):
    result = run("pause")

    assert result.exit_code == 2
    assert "Missing argument 'QUEUE...'" in result.stderr


MANY = 20_000


@pytest.fixture
def crowded(store):
    """Jobs of many queues, two of which are of interest."""
    store.added(3, queue="z-largest", run_at=timedelta(hours=1))
    store.added(queue="z-oldest", run_at=timedelta(hours=-2))
    store.insert_many([draft(queue=f"q{nth:05}", run_at=timedelta(hours=1)) for nth in range(MANY)])
    for nth in range(60):
        store.beat(worker(f"w{nth}", name=f"worker{nth}", queues='["q00001"]'))


def test_of_many_queues_status_shows_the_oldest_and_the_largest(run, told, crowded):
    begun = time.monotonic()
    shown = run("status").stdout
    took = time.monotonic() - begun

    assert len(shown) < 15_000
    assert {"z-oldest", "z-largest"} <= {line.split(maxsplit=1)[0] for line in shown.splitlines() if line}
    assert "\nand 19,952 more queues: --all\n" in shown
    assert "and 10 more workers: --all\n\nDatabase: " in shown
    assert took < 30
    assert len(told("status")["queues"]) == MANY + 2


def test_all_are_shown_to_those_who_ask(run, store):
    store.insert_many([draft(queue=f"q{nth:05}", run_at=timedelta(hours=-1)) for nth in range(200)])

    status, check = run("status", "--all").stdout, run("check", "--all").stdout

    assert (status.count("\nq"), check.count("\nq")) == (200, 200)
    assert "more queues" not in status + check


def test_the_doctor_names_a_few_of_many_queues(run, store, crowded):
    store.insert_many([draft(queue=f"r{nth:05}", run_at=timedelta(hours=-1)) for nth in range(MANY)])

    shown = run("doctor").stdout

    assert len(shown) < 15_000
    assert "jobs wait in z-oldest for 2 h: no living worker serves it" in shown
    assert "and 19,981 more of these" in shown
    assert re.search(r"fix: belayed --url \S+ status --all$", shown, re.MULTILINE)


def test_check_names_a_few_of_many_queues(run, store, crowded):
    store.insert_many([draft(queue=f"r{nth:05}", run_at=timedelta(hours=-1)) for nth in range(MANY)])

    shown = run("check")

    assert shown.exit_code == 1
    assert "z-oldest" in shown.stdout
    assert "and 19,951 more queues: --all" in shown.stdout
    assert len(shown.stdout) < 15_000


def test_a_queue_that_nobody_knows_is_paused_with_a_word_about_it(run, store):
    store.added(queue="mail")

    paused = run("pause", "mailx")

    assert store.paused() == ["mailx"]
    assert "Paused mailx:" in paused.stdout
    assert "No job is or was in mailx, and no worker, task or setting names it: did you mean mail?" in paused.stderr
    assert re.search(r"`belayed --url \S+ resume mailx` takes it back\.", paused.stderr)


def test_a_queue_like_none_is_answered_with_those_that_there_are(run, store):
    store.added(queue="mail")
    store.added(queue="slow")

    answer = run("pause", "xyz").stderr

    # Tasks of other tests may name more.
    found = re.search(r"There are ([^.]+)\.", answer)
    assert found is not None
    assert {"default", "mail", "slow"} <= set(found[1].split(", "))


@pytest.mark.parametrize("how", ["waits", "paused", "ended", "default", "setting", "task"])
def test_a_queue_that_is_known_is_paused_without_a_word(run, process, store, monkeypatch, folder, sqlite_url, how):
    name = "default" if how == "default" else "mail"
    if how == "waits":
        store.added(queue="mail")
    elif how == "paused":
        run("pause", "mail")
    elif how == "ended":
        store.ended(queue="mail")
    elif how == "setting":
        monkeypatch.setenv("BELAYED_QUEUE_ATTRIBUTES", '{"mail": {"priority": 3}}')
    elif how == "task":
        (folder / "shop.py").write_text("from belayed import task\n@task(queue='mail')\ndef send(): ...\n")
        assert process("pause", name, "--app", "shop", "--url", sqlite_url).stderr == ""
        return

    assert run("pause", name).stderr == ""
