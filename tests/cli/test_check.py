"""`check`: it fails when jobs wait for too long."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest


def late(store, minutes, **options):
    """A job that has been due for so long."""
    now = store.perform(store.store.now())
    store.time = now - timedelta(minutes=minutes)
    store.added(**options)
    store.time = None


@pytest.mark.dj(326)
def test_it_passes_where_nothing_waits_for_long(run, store, each_url):
    late(store, 4, queue="mail")
    store.added(run_at=timedelta(days=1))

    result = run("check")

    assert result.exit_code == 0
    assert result.stdout.strip() == "No job has waited for more than 5 min without an attempt."


@pytest.mark.dj(325)
def test_it_fails_where_jobs_wait_for_longer(run, store, each_url):
    late(store, 6, queue="mail")
    late(store, 90, queue="mail")
    late(store, 20, queue="slow")
    store.pause("slow")

    result = run("check")

    assert result.exit_code == 1
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["Queue", "Waiting", "Oldest"],
        ["mail", "2", "90", "min"],
        ["slow", "1", "20", "min", "paused"],
        [],
        ["2", "jobs", "have", "waited", "for", "more", "than", "5", "min", "without", "an", "attempt."],
    ]
    assert re.search(r"`belayed --url \S+ doctor`", result.stderr)


@pytest.mark.dj(325)
@pytest.mark.parametrize(
    ("given", "code"),
    [
        (["--max-age", "1h"], 0),
        (["--max-age", "600"], 1),
        (["-q", "other,third"], 0),
        (["-q", "other", "-q", "mail"], 1),
        (["-q", "*"], 1),
        (["-q", "!mail"], 0),
        (["-q", "!other"], 1),
        (["--max-age", "soon"], 2),
    ],
)
def test_its_age_and_its_queues_are_chosen(given, code, run, store):
    late(store, 30, queue="mail")

    assert run("check", *given).exit_code == code


def test_paused_queues_alone_do_not_fail_it(run, store):
    late(store, 30, queue="mail")
    store.pause("mail")

    assert run("check").exit_code == 0


@pytest.mark.dj(326)
def test_it_speaks_json(run, store, each_url):
    late(store, 30, queue="mail")

    result = run("check", "--json", "--max-age", "90s")

    answer = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (answer["ok"], answer["max_age"], answer["jobs"]) == (False, 90, 1)
    assert [(one["name"], one["jobs"], one["paused"]) for one in answer["queues"]] == [("mail", 1, False)]
