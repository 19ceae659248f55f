"""`jobs`: the list, and one job."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from belayed.job import Outcome, State
from tests.store.factories import again, failed, finished, succeeded, worker

PAYLOAD = '{"v":1,"call":"app:work","args":[1],"kwargs":{"card":"s3cret"}}'


def listed(result):
    return [int(line.split()[0]) for line in result.stdout.splitlines()[1:]]


@pytest.mark.dj(334)
def test_the_list_shows_the_newest_first(run, store, each_url):
    store.ended(State.FAILED)
    store.added(queue="mail", run_at=timedelta(hours=3))

    result = run("jobs")

    assert [line.split() for line in re.sub(r"\b\d s\b", "0 s", result.stdout).splitlines()] == [
        ["ID", "Task", "Queue", "State", "Priority", "Attempt", "When", "Error"],
        ["2", "app.work", "mail", "scheduled", "0", "0", "in", "3", "h"],
        ["1", "app.work", "default", "failed", "0", "1", "0", "s", "ago", "ValueError:", "no"],
    ]


def test_the_list_is_filtered(run, store, each_url):
    store.ended(State.FAILED)
    store.ended(State.CANCELLED)
    store.added(queue="mail", task="app.send")
    store.added(queue="slow")

    assert listed(run("jobs", "--state", "failed", "--state", "cancelled")) == [2, 1]
    assert listed(run("jobs", "--queue", "mail", "--queue", "slow")) == [4, 3]
    assert listed(run("jobs", "--task", "app.send", "--state", "ready")) == [3]


def test_a_page_says_where_the_next_one_begins(run, store):
    store.added(5)

    first = run("jobs", "--limit", 2)
    second = run("jobs", "--limit", 2, "--before", 4)

    assert listed(first) == [5, 4]
    assert "Older ones: --before 4" in first.stderr
    assert listed(second) == [3, 2]


def test_no_jobs_is_no_error(run, store):
    assert run("jobs").stderr == "No jobs.\n"
    assert run("jobs", "--state", "failed").stderr == "No such jobs.\n"
    assert run("jobs").exit_code == 0


def test_the_list_as_json_has_stable_keys(told, store):
    store.added(2)

    found = told("jobs", "--limit", 1)

    assert found["next_before"] == 2
    (job,) = found["jobs"]
    assert list(job) == [
        "id", "task", "queue", "state", "priority", "attempt", "failures", "created_at", "run_at", "started_at",
        "finished_at", "run_time", "worker", "cancel_requested", "error",
    ]  # fmt: skip
    assert job["created_at"].endswith("Z")


@pytest.mark.dj(334)
def test_one_job_shows_its_fields_payload_attempts_and_tracebacks(run, store, each_url):
    store.beat(worker("w1", name="one"))
    job = store.running(queue="mail", priority=5, text=PAYLOAD, max_attempts=2)
    store.finish(again(job, message="first", traceback="Traceback: first", seconds=0.25))
    (job,) = store.claimed()
    store.finish(failed(job, message="second", traceback="Traceback: second"))

    result = run("jobs", job.id)

    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert lines[:5] == [
        "Job 1",
        "Task app.work",
        "State failed",
        "Queue mail, priority 5",
        "Attempts 2, 2 failures of at most 2",
    ]
    assert "Worker one" in lines
    assert "Error ValueError: second" in lines
    assert lines[lines.index("Payload") + 1] == json.dumps({**json.loads(PAYLOAD), "args": ["***"]})
    attempts = "\n".join(lines[lines.index("Attempts that did not succeed") :])
    assert "1 retry after 250 ms, " in attempts
    assert ", worker one\nTraceback: first" in attempts
    assert "2 failed after 0 ms, " in attempts


def test_a_job_that_succeeded_shows_its_result(run, store):
    store.finish(succeeded(store.running(), result='{"size": [1, 2]}', seconds=1.25))

    result = run("jobs", 1)

    assert "Run time   1.2 s\n" in result.stdout
    assert 'Result\n  {"size": [1, 2]}\n' in result.stdout


def test_a_result_that_was_not_stored_says_why(run, told, store):
    store.finish(succeeded(store.running(), result="!a generator, which has no text form"))

    result, whole = run("jobs", 1), told("jobs", 1)

    assert "not stored: it returned a generator, which has no text form" in result.stdout
    assert whole["result"] is None
    assert whole["result_unavailable"] == "a generator, which has no text form"


def test_a_meta_that_is_nested_deeply_is_shown_as_far_as_it_can_be(run, told, store):
    (id,) = store.added(text=PAYLOAD)
    deep = "[" * 900 + "]" * 900
    store.rows(f"""UPDATE belayed_jobs SET meta = '{{"a": {deep}}}'""")

    text, whole = run("jobs", id), told("jobs", id)

    assert (text.exit_code, text.exception) == (0, None)
    assert "…" in text.stdout
    assert whole["meta"]["a"][0]


def test_arguments_can_be_left_out(run, told, store):
    store.added(text=PAYLOAD)

    assert "s3cret" in run("jobs", 1).stdout
    assert "s3cret" not in run("jobs", 1, "--no-arguments").stdout
    assert told("jobs", 1)["payload"]["kwargs"] == {"card": "s3cret"}
    assert told("jobs", 1, "--no-arguments")["payload"] is None


def test_what_steers_a_terminal_is_written_out(run, store):
    evil = "\x1b]0;gone\x07\x9b2J"
    store.finish(failed(store.running(queue=f"q{evil}"), message=evil, traceback=f"Traceback: {evil}"))

    for result in (run("jobs"), run("jobs", 1), run("status")):
        assert not {"\x1b", "\x07", "\x9b"} & set(result.output)
    assert "\\x1b]0;gone\\x07\\x9b2J" in run("jobs", 1).stdout


def test_what_looks_like_markup_is_shown_as_it_is(run, store):
    store.finish(failed(store.running(), message="[bold]list[int] :smile:"))

    assert "[bold]list[int] :smile:" in run("jobs").stdout
    assert "[bold]list[int] :smile:" in run("jobs", 1).stdout


def test_one_job_as_json_tells_all(told, store, each_url):
    store.finish(finished(store.running(), Outcome.CANCELLED, State.CANCELLED, message="no more"))

    job = told("jobs", 1)

    assert job["state"] == "cancelled"
    assert job["attempts"][0]["outcome"] == "cancelled"
    assert {"payload", "result", "meta", "max_attempts", "max_run_time", "crashes", "rescues"} <= set(job)


def test_a_job_that_is_not_there_is_exit_code_1(run, store):
    result = run("jobs", 77)

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: there is no job 77")


@pytest.mark.parametrize("wrong", [["1", "--state", "failed"], ["one"], ["--state", "lost"], ["--limit", "0"]])
def test_wrong_use_is_exit_code_2(run, store, wrong):
    assert run("jobs", *wrong).exit_code == 2


@pytest.mark.dj(341)
def test_what_looks_like_a_secret_is_not_shown(run, told, store):
    store.added(text='{"v":1,"call":"hidden_shop:work","args":["shown","s3cret"],"kwargs":{"api_token":"s3cret"}}')
    Path("hidden_shop.py").write_text("def work(name, password, api_token): ...\n")

    shown = run("jobs", 1, "--app", "hidden_shop").stdout

    assert "s3cret" not in shown
    assert '"shown"' in shown
    assert told("jobs", 1, "--app", "hidden_shop")["payload"]["kwargs"] == {"api_token": "***"}


def test_arguments_by_position_of_code_that_is_not_imported_are_not_shown(run, told, store):
    store.added(text='{"v":1,"call":"nowhere:work","args":["s3cret"],"kwargs":{"name":"shown"}}')

    found = run("jobs", 1)

    assert "s3cret" not in found.output
    assert '"shown"' in found.stdout
    assert "--app MODULE" in found.stderr
    assert told("jobs", 1)["payload"]["args"] == ["***"]


def test_secrets_are_not_shown_in_meta_results_or_what_cannot_be_read(run, told, store, each_url):
    meta = {"X-Api-Key": "s3cret", "trace": "shown"}
    store.finish(succeeded(store.running(meta=meta), result='{"PassWord": "s3cret", "a": [{"to-ken": "s3cret"}, 1]}'))
    store.added(text='{"v":1,"kwargs":{"token":"s3cret"')
    store.added(text=f'{{"v":1,"kwargs":{{"token":"s3cret","a":{"[" * 100_000}{"]" * 100_000}}}}}')
    store.added(text='{"v":1,"args":[{"$":"dict","v":[[{"$":"tuple","v":["token"]},"s3cret"]]}]}')

    for id in (1, 2, 3, 4):
        assert "s3cret" not in run("jobs", id).output
        assert "s3cret" not in run("jobs", id, "--json").output
    assert told("jobs", 1)["meta"] == {"X-Api-Key": "***", "trace": "shown"}
    assert told("jobs", 1)["result"] == {"PassWord": "***", "a": [{"to-ken": "***"}, 1]}
    assert "cannot be read as JSON" in told("jobs", 2)["payload"]
