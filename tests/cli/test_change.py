"""`retry`, `cancel`, `delete` and `clear`."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from datetime import timedelta

import pytest

from belayed.job import State
from belayed.store.answers import PASSED_OVER
from tests.cli.conftest import environment
from tests.patience import patient
from tests.worker.refusing import hushed


@pytest.mark.dj(170, 334)
def test_retry_runs_the_failed_jobs_named(run, store, each_url):
    ids = store.ended(State.FAILED, 3)

    result = run("retry", ids[0], ids[2])

    assert result.exit_code == 0
    assert result.stdout == "Retried 2 jobs.\n"
    assert [store.state(id) for id in ids] == [State.READY, State.FAILED, State.READY]


@pytest.mark.dj(334)
def test_cancel_ends_a_waiting_job_and_asks_a_running_one_to_stop(run, store, each_url):
    running = store.running()
    (waiting,) = store.added()

    result = run("cancel", running.id, waiting)

    assert result.exit_code == 0
    assert result.stdout == "Cancelled 2 jobs; 1 of them running: asked to stop.\n"
    assert store.state(waiting) is State.CANCELLED
    assert store.job(running.id).cancel_requested


def test_delete_deletes_the_jobs_named(run, store, each_url):
    first, second = store.added(2)

    result = run("delete", first)

    assert result.stdout == "Deleted 1 job.\n"
    assert (store.state(first), store.state(second)) == (None, State.READY)


@pytest.mark.dj(342)
def test_a_job_that_was_not_changed_is_named_with_the_reason_and_is_exit_code_1(run, store, each_url):
    (failed,) = store.ended(State.FAILED)
    (succeeded,) = store.ended(State.SUCCEEDED)
    running = store.running().id

    retried = run("retry", failed, succeeded, running, 77)
    deleted = run("delete", running)

    assert (retried.exit_code, deleted.exit_code) == (1, 1)
    assert retried.stdout == "Retried 1 job.\n"
    assert retried.stderr.splitlines() == [
        f"Error: job {succeeded} has succeeded: only scheduled, failed and cancelled jobs can be retried",
        f"Error: job {running} is running: only scheduled, failed and cancelled jobs can be retried",
        "Error: there is no job 77",
    ]
    assert deleted.stdout == ""
    assert deleted.stderr == f"Error: job {running} is running: cancel it first\n"


def test_a_job_that_the_database_passes_over_is_named_with_the_reason(run, store, each_url):
    (waiting,) = store.added()

    with hushed(each_url, "jobs", "DELETE"):
        cancelled = run("cancel", waiting)
        deleted = run("delete", waiting)

    assert (cancelled.exit_code, deleted.exit_code) == (1, 1)
    assert cancelled.stderr == f"Error: job {waiting} is ready, and stays as it is: {PASSED_OVER}\n"
    assert deleted.stderr == cancelled.stderr


def test_an_id_given_twice_counts_once(run, store):
    (id,) = store.ended(State.FAILED)

    result = run("retry", id, id)

    assert (result.exit_code, result.stdout) == (0, "Retried 1 job.\n")


def test_conditions_must_all_hold_and_one_of_several_values_will_do(run, store, each_url):
    mail = store.ended(State.FAILED, queue="mail", task="app.send")
    slow = store.ended(State.FAILED, queue="slow", task="app.send")
    other = store.ended(State.FAILED, queue="mail", task="app.other")
    rest = store.ended(State.FAILED, queue="rest", task="app.send")

    result = run("retry", "--queue", "mail", "--queue", "slow", "--task", "app.send")

    assert result.stdout == "Retried 2 jobs.\n"
    assert [store.state(id) for id in mail + slow + other + rest] == [
        State.READY,
        State.READY,
        State.FAILED,
        State.FAILED,
    ]


def test_ages_and_times_choose_by_creation(run, store, each_url):
    now = store.perform(store.store.now())
    store.time = now - timedelta(days=10)
    (old,) = store.added()
    store.time = now - timedelta(days=3)
    (middle,) = store.added()
    store.time = None
    (young,) = store.added()

    aged = run("cancel", "--created-before", "2d", "--created-after", "7d")
    timed = run("cancel", "--created-before", (now - timedelta(days=7)).isoformat())

    assert (aged.stdout, timed.stdout) == ("Cancelled 1 job.\n", "Cancelled 1 job.\n")
    assert [store.state(id) for id in (old, middle, young)] == [State.CANCELLED, State.CANCELLED, State.READY]


@pytest.mark.dj(324)
def test_all_means_what_the_command_is_for(run, store):
    (failed,) = store.ended(State.FAILED)
    (cancelled,) = store.ended(State.CANCELLED)
    (succeeded,) = store.ended(State.SUCCEEDED)
    running = store.running().id

    retried = run("retry", "--all")
    cleared = run("clear", "--all", "--yes")

    assert retried.stdout == "Retried 1 job.\n"
    assert cleared.stdout == "Deleted 3 jobs.\n"
    assert [store.state(id) for id in (failed, cancelled, succeeded)] == [None, None, None]
    assert store.state(running) is State.RUNNING


@pytest.mark.dj(324)
@pytest.mark.parametrize("command", ["delete", "clear"])
def test_without_a_terminal_many_are_deleted_only_with_yes(run, store, command):
    (id,) = store.ended(State.FAILED)

    refused = run(command, "--state", "failed")
    assert store.state(id) is State.FAILED
    done = run(command, "--state", "failed", "--yes")

    assert refused.exit_code == 2
    assert "add --yes" in refused.stderr
    assert (done.exit_code, done.stdout) == (0, "Deleted 1 job.\n")


@pytest.mark.parametrize("command", ["retry", "cancel", "delete"])
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ([], "which jobs?"),
        (["1", "--all"], "not several of them"),
        (["1", "--queue", "mail"], "not several of them"),
        (["--all", "--queue", "mail"], "not several of them"),
        (["one"], "'one' is not a valid integer"),
        (["--created-before", "yesterday"], "write an age (30m, 12h, 7d) or a time"),
        (["--state", "lost"], "'lost' is not one of"),
    ],
)
def test_wrong_use_is_exit_code_2(run, store, command, wrong, error):
    result = run(command, *wrong)

    assert result.exit_code == 2
    assert error in " ".join(result.stderr.split())


def test_clear_takes_no_ids(run, store):
    assert run("clear", "1").exit_code == 2
    assert run("clear", "--yes").exit_code == 2


def test_a_command_takes_only_states_that_it_changes(run, store):
    assert run("retry", "--state", "succeeded").exit_code == 2
    assert run("cancel", "--state", "failed").exit_code == 2
    assert run("delete", "--state", "running", "--yes").exit_code == 2


def test_a_dry_run_changes_nothing_and_says_how_many(run, store, each_url):
    failed = store.ended(State.FAILED, 2)
    store.ended(State.SUCCEEDED)

    many = run("delete", "--state", "failed", "--dry-run")
    named = run("retry", *failed, 3, "--dry-run")

    assert (many.exit_code, many.stdout) == (0, "Would delete 2 jobs.\n")
    assert (named.exit_code, named.stdout) == (1, "Would retry 2 jobs.\n")
    assert [store.state(id) for id in failed] == [State.FAILED, State.FAILED]


def test_no_match_is_no_error(run, store):
    result = run("retry", "--all")

    assert (result.exit_code, result.stdout) == (0, "Retried 0 jobs.\n")


def test_the_answer_as_json_has_stable_keys(told, store):
    (failed,) = store.ended(State.FAILED)
    running = store.running().id

    assert told("retry", failed, running, 77) == {
        "action": "retry",
        "dry_run": False,
        "changed": 1,
        "running": 0,
        "unchanged": [{"id": running, "state": "running"}, {"id": 77, "state": None}],
    }
    assert told("cancel", "--state", "running")["running"] == 1


def test_more_jobs_than_a_batch_are_all_changed(run, store, each_url):
    store.added(2500)

    result = run("cancel", "--all")

    assert result.stdout == "Cancelled 2,500 jobs.\n"
    assert [count.jobs for count in store.counts().live] == []


def test_an_interrupt_says_how_many_were_changed(process, folder, store, sqlite_url):
    store.added(2500)
    (folder / "impatient.py").write_text(
        "from belayed import Jobs\n"
        "class Impatient(Jobs):\n"
        "    def bulk(self, action, filter, report):\n"
        "        def interrupted(count):\n"
        "            report(count)\n"
        "            raise KeyboardInterrupt\n"
        "        return super().bulk(action, filter, interrupted)\n"
        f"jobs = Impatient({sqlite_url!r})\n"
    )

    ended = process("cancel", "--all", "--app", "impatient:jobs")

    assert ended.returncode == 130
    assert "Interrupted: 1,000 jobs changed." in ended.stderr
    assert [count.jobs for count in store.counts().live] == [1500]


@pytest.mark.dj(324)
@pytest.mark.parametrize(
    ("answer", "code", "shown"), [("y", 0, "Deleted 1,500 jobs."), ("n", 1, "Nothing was changed.")]
)
def test_on_a_terminal_many_jobs_are_asked_about(store, sqlite_url, answer, code, shown):
    store.added(1500)

    exit_code, screen = on_a_terminal(["delete", "--all", "--url", sqlite_url], f"{answer}\n")

    assert "Delete 1,500 jobs? [y/N]" in screen
    assert (exit_code, shown in screen) == (code, True)
    assert sum(count.jobs for count in store.counts().live) == (0 if answer == "y" else 1500)


def test_ctrl_d_at_the_question_changes_nothing(store, sqlite_url):
    store.added(1)

    exit_code, _ = on_a_terminal(["cancel", "--all", "--url", sqlite_url], "\x04")

    assert exit_code == 130
    assert store.state(1) is State.READY


def on_a_terminal(command: list[str], typed: str) -> tuple[int, str]:
    """The exit code and the screen of a command on a terminal where this is typed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "belayed", *command], stdin=theirs, stdout=theirs, stderr=theirs, env=environment()
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    screen = b""
    try:
        while piece := os.read(ours, 65536):
            screen += piece
    except OSError:
        # Linux says so when the other side is closed.
        pass
    os.close(ours)
    return process.wait(patient(60)), screen.decode()
