"""Named priorities: a name where a number may stand; the number is what is saved."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import belayed
from belayed import task
from belayed.errors import ConfigError, OptionError

NAMED = {"urgent": -10, "normal": 0, "bulk": 10}


@task(priority="urgent")
def alert() -> None:
    """It names its priority at import, when no setting is known yet."""


@dataclass
class Newsletter:
    priority = "bulk"

    def perform(self) -> None:
        """A custom job."""


@pytest.mark.dj(344)
def test_a_name_stands_for_its_number(make_jobs, url, do):
    jobs = make_jobs(url, priorities=NAMED)

    found = [
        do(alert, "enqueue"),
        do(alert.using(priority="bulk"), "enqueue"),
        do(alert.using(priority=lambda: "normal"), "enqueue"),
        do(alert.using(priority=7), "enqueue"),
        do(belayed, "enqueue", Newsletter()),
        do(belayed, "enqueue", Newsletter(), priority="urgent"),
    ]

    assert [job.priority for job in found] == [-10, 10, 0, 7, 10, -10]
    assert [job.priority for job in jobs.find()] == [-10, 10, 7, 0, 10, -10]


def test_a_waiting_job_is_given_a_named_one(make_jobs, url, do):
    jobs = make_jobs(url, priorities=NAMED)
    job = alert.enqueue()

    assert do(jobs, "change", job.id, priority="bulk") == 1

    assert job.refresh().priority == 10


def test_a_queue_may_name_its_priority(make_jobs, sqlite_url):
    make_jobs(sqlite_url, priorities=NAMED, queue_attributes={"mail": {"priority": "bulk"}})

    assert belayed.enqueue(alert.using(queue="mail").draft()).priority == -10
    draft = alert.using(queue="mail").draft()
    draft.priority = None
    assert belayed.enqueue(draft).priority == 10


def test_a_name_that_nobody_has_given_is_refused_with_those_that_there_are(make_jobs, sqlite_url, do):
    jobs = make_jobs(sqlite_url, priorities=NAMED)
    job = alert.enqueue()

    with pytest.raises(OptionError, match=r"priority='high': no priority has this name \(there are 'urgent', 'normal'"):
        do(alert.using(priority="high"), "enqueue")
    with pytest.raises(OptionError, match="priority='high': no priority has this name"):
        do(jobs, "change", job.id, priority="high")

    assert len(jobs.find()) == 1


def test_without_the_setting_the_error_names_it(make_jobs, sqlite_url):
    make_jobs(sqlite_url)

    with pytest.raises(
        OptionError,
        match=r"'urgent': no priority has this name \(none has one: the setting priorities\); write a whole number, ",
    ):
        alert.enqueue()


def test_the_environment_says_them_as_json(make_jobs, sqlite_url, monkeypatch):
    monkeypatch.setenv("BELAYED_PRIORITIES", '{"urgent": -3}')
    make_jobs(sqlite_url)

    assert alert.enqueue().priority == -3


@pytest.mark.parametrize(
    ("named", "complaint"),
    [
        ({"urgent": "first"}, "priorities .or BELAYED_PRIORITIES., 'urgent': 'first' is no whole number"),
        ({"urgent": 2**31}, "'urgent': priority=2147483648: it takes a whole number"),
        ({"urgent": True}, "'urgent': True is no whole number"),
        ({"": 1}, "'': priority=''"),
        (["urgent"], "priorities is"),
    ],
)
def test_what_is_no_priority_is_an_error_at_the_start(make_jobs, sqlite_url, named, complaint):
    with pytest.raises(ConfigError, match=complaint):
        make_jobs(sqlite_url, priorities=named)
