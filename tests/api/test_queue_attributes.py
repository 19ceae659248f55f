"""What a queue says of its jobs: they get it when they are enqueued, unless they say it themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

import belayed
from belayed import Plugin, task
from belayed.errors import ConfigError

ATTRIBUTES = {
    "high": {"priority": -10},
    "reports": {
        "priority": 10,
        "max_attempts": 3,
        "max_run_time": timedelta(minutes=20),
        "keep_failed": False,
    },
}


@task
def send() -> None:
    """A task that says nothing of itself."""


@task(queue="reports", max_attempts=7)
def report() -> None:
    """A task that says something."""


@dataclass
class Newsletter:
    queue = "high"

    def perform(self) -> None:
        """A custom job."""


def said(job):
    return job.priority, job.max_attempts, job.max_run_time, job.keep_failed


@pytest.mark.dj(63, 65, 123)
def test_a_job_gets_what_its_queue_says(make_jobs, url, do):
    jobs = make_jobs(url, queue_attributes=ATTRIBUTES, default_priority=4)

    assert said(do(send.using(queue="high"), "enqueue")) == (-10, None, None, None)
    assert said(do(send.using(queue="reports"), "enqueue")) == (10, 3, timedelta(minutes=20), False)
    assert said(do(send, "enqueue")) == (4, None, None, None)
    assert [said(job) for job in jobs.find()] == [
        (4, None, None, None),
        (10, 3, timedelta(minutes=20), False),
        (-10, None, None, None),
    ]


@pytest.mark.dj(63, 65)
def test_what_a_job_says_itself_counts(make_jobs, url, do):
    make_jobs(url, queue_attributes=ATTRIBUTES)

    assert said(do(report.using(priority=0), "enqueue")) == (0, 7, timedelta(minutes=20), False)


def test_custom_jobs_and_many_at_once_get_it_too(make_jobs, url, do):
    make_jobs(url, queue_attributes=ATTRIBUTES)

    found = do(belayed, "enqueue_many", [Newsletter(), send.using(queue="reports").draft()])

    assert [job.priority for job in found] == [-10, 10]


def test_the_default_queue_may_say_something(make_jobs, sqlite_url):
    make_jobs(sqlite_url, queue_attributes={"main": {"priority": 3}}, default_queue="main")

    assert send.enqueue().priority == 3


def test_the_queue_that_a_plugin_chooses_counts(make_jobs, sqlite_url):
    class Chooses(Plugin):
        def on_enqueue(self, draft):
            draft.queue = "high"

    make_jobs(sqlite_url, queue_attributes=ATTRIBUTES, plugins=[Chooses()])

    assert send.enqueue().priority == -10


def test_the_environment_says_it_as_json(make_jobs, sqlite_url, monkeypatch):
    text = '{"reports": {"priority": 2, "max_run_time": "20m"}}'
    monkeypatch.setenv("BELAYED_QUEUE_ATTRIBUTES", text)
    make_jobs(sqlite_url)

    assert said(send.using(queue="reports").enqueue()) == (2, None, timedelta(minutes=20), None)


@pytest.mark.dj(65)
@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"high": {"prio": 1}}, "'high': unknown attribute 'prio': there are priority, max_attempts"),
        ({"high": {"priority": "first"}}, "'high': priority='first': no priority has this name"),
        ({"high": {"max_run_time": "soon"}}, "'high': 'soon' is no time"),
        ({"high": 5}, r"'high': 5: it takes a dict, such as \{'priority': -10\}"),
        ({"a,b": {}}, "'a,b': queue='a,b': a queue's name"),
        ([("high", {})], "queue_attributes is"),
    ],
)
def test_what_no_queue_can_say_is_an_error_at_the_start(make_jobs, sqlite_url, attributes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        make_jobs(sqlite_url, queue_attributes=attributes)


@pytest.mark.parametrize("text", ["{", "[1]", "7"])
def test_an_environment_that_is_no_object_is_named(make_jobs, sqlite_url, monkeypatch, text):
    monkeypatch.setenv("BELAYED_QUEUE_ATTRIBUTES", text)

    with pytest.raises(ConfigError, match="BELAYED_QUEUE_ATTRIBUTES="):
        make_jobs(sqlite_url)
