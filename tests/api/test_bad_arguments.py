"""Arguments of what finds and changes jobs that are none: each is refused at once, before the database is asked."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import pytest

import belayed
from belayed import State, task
from belayed.errors import ConfigError, JobNotFound, OptionError
from belayed.jobs import Jobs


@task
def keep(value=None):
    return value


HUGE = 10**5000


def told(value):
    """A value as part of a test's name: Python writes no number of so many digits."""
    try:
        return ascii(value)[:50]
    except ValueError:
        return "huge"


NO_IDS = ["1", b"1", True, 1.0, math.nan, math.inf, None, [1], 2**63, -(2**63) - 1, HUGE]
NO_TEXTS = ["a\0b", "a\udc80", "x" * 2000, b"mail", 3, None, True, ["mail"]]
NO_CONDITIONS = [
    *({"ids": [1, one]} for one in NO_IDS), {"ids": "12"}, {"ids": 1}, {"ids": {1: 2}}, {"ids": b"12"},
    *({name: ["fine", one]} for name in ("queues", "tasks") for one in NO_TEXTS), {"queues": "mail"}, {"tasks": None},
    {"states": ["waiting"]}, {"states": [None]}, {"states": [7]}, {"states": "ready"}, {"states": State.READY},
    {"states": [["ready"]]}, {"created_after": datetime(2030, 1, 1)}, {"created_after": "2030-01-01"},  # noqa: DTZ001
    {"created_before": 0}, {"created_before": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))},
    {"created_after": None}, {"state": ["ready"]},
]  # fmt: skip


@pytest.mark.parametrize("filter", NO_CONDITIONS, ids=told)
def test_a_bad_condition_is_refused_by_all_that_take_one(jobs, do, filter):
    job = keep.enqueue(1)

    for action in ("find", "cancel", "retry", "delete"):
        with pytest.raises(OptionError):
            do(jobs, action, **filter)
    with pytest.raises(OptionError):
        do(jobs, "change", priority=1, **filter)

    assert job.refresh().state is State.READY


@pytest.mark.parametrize("id", NO_IDS, ids=told)
def test_what_is_no_id_is_refused_by_all_that_take_one(jobs, do, id):
    job = keep.enqueue(1)

    for action in ("cancel", "retry", "delete"):
        with pytest.raises(OptionError, match="is not the id of a job"):
            do(jobs, action, job.id, id)
    with pytest.raises(OptionError, match="is not the id of a job"):
        do(jobs, "change", id, priority=1)
    with pytest.raises(OptionError, match="is not the id of a job"):
        jobs.attempts(id)
    with pytest.raises(JobNotFound if type(id) is int else OptionError):
        do(jobs, "get", id)

    assert job.refresh().state is State.READY


@pytest.mark.parametrize(
    "page",
    [
        *({"limit": one} for one in (-1, True, 1.5, math.nan, "5", None, 2**31, 2**63, HUGE)),
        *({"before": one} for one in (True, 1.5, math.nan, "5", 2**63, HUGE, [1])),
    ],
    ids=told,
)
def test_a_bad_page_is_refused(jobs, do, page):
    with pytest.raises(OptionError, match=r"limit=|before="):
        do(jobs, "find", **page)


def test_pages_at_the_edges_are_taken(each_jobs, do):
    job = keep.enqueue(1)

    assert do(each_jobs, "find", limit=0) == []
    assert do(each_jobs, "find", before=2**63 - 1, limit=2**31 - 1) == [job]
    assert do(each_jobs, "find", before=-(2**63)) == []
    assert do(each_jobs, "find", ids=[], queues=[], tasks=()) == []
    assert do(each_jobs, "find", states=["ready"], queues={"default"}, ids=[2**63 - 1, job.id, -5]) == [job]
    assert do(each_jobs, "cancel", 2**63 - 1, -(2**63)) == 0
    with pytest.raises(JobNotFound):
        do(each_jobs, "get", -(2**63))


@pytest.mark.parametrize("queue", ["a\0b", "a\udc80", "q" * 2000, "", "*", b"mail", None, 3, True, ["mail"]], ids=told)
def test_a_bad_name_of_a_queue_is_refused_by_pause_and_change(jobs, do, queue):
    job = keep.enqueue(1)

    with pytest.raises(OptionError, match="queue"):
        do(jobs, "pause", queue)
    if queue is not None:
        with pytest.raises(OptionError, match="queue"):
            do(jobs, "change", job.id, queue=queue)
    if queue not in ("", "*"):
        with pytest.raises(OptionError, match="queue"):
            do(jobs, "resume", queue)

    assert do(jobs, "paused") == []
    assert job.refresh().queue == "default"


@pytest.mark.parametrize("timeout", [math.nan, math.inf, True, "5", [1], 1e300, HUGE], ids=told)
def test_a_bad_timeout_is_refused(jobs, do, timeout):
    job = keep.enqueue(1)

    with pytest.raises(OptionError, match=r"timeout=.*: it takes a timedelta, seconds, or None"):
        do(job, "wait", timeout)


@pytest.mark.parametrize("age", [math.nan, 5, "1h", None, timedelta.max, timedelta.min], ids=told)
def test_a_bad_age_is_refused(jobs, do, age):
    with pytest.raises(OptionError, match="age="):
        do(jobs, "overdue", age)


@pytest.mark.parametrize("most", [0, -1, True, 1.5, "5", 2**63], ids=told)
def test_a_bad_most_is_refused(jobs, do, most):
    with pytest.raises(OptionError, match="most="):
        do(jobs, "counts", most=most)


@pytest.mark.parametrize("given", ["abc", b"abc", 5, None, {"a": 1}, keep], ids=told)
def test_enqueue_many_takes_a_list_of_drafts_alone(jobs, do, given):
    for where in (belayed, jobs):
        with pytest.raises(OptionError, match="enqueue_many takes drafts"):
            do(where, "enqueue_many", given)
    with pytest.raises(OptionError, match="enqueue_many takes drafts"):
        do(jobs, "enqueue_many", keep.draft(1))

    assert do(jobs, "enqueue_many", []) == do(belayed, "enqueue_many", iter(())) == []
    assert jobs.find() == []


@pytest.mark.parametrize(
    "setting",
    [
        *({"prefix": one} for one in ("p" * 50, "é" * 25, "a-b", "a b", 'a"b', "", "a\0", "1a", "a\udc80")),
        *({"schema": one} for one in ("s" * 64, "é" * 32, "a.b", "", 'a"b', "a\0")),
        {"payload_limit": 2**26 + 1},
    ],
    ids=told,
)  # fmt: skip
def test_a_bad_name_of_tables_is_refused(setting):
    with pytest.raises(ConfigError, match=r"prefix|schema|payload_limit"):
        Jobs("sqlite://", **setting)


@pytest.mark.parametrize(
    "setting",
    [
        {"prefix": "p" * 49},
        {"prefix": "p" * 49, "schema": "s" * 63},
        {"prefix": "é" * 24 + "_", "schema": "ü" * 31 + "s"},
    ],
    ids=told,
)
def test_the_longest_names_of_tables_are_names_of_their_own(postgres_url, make_jobs, setting):
    jobs = make_jobs(postgres_url, **setting)
    other = make_jobs(postgres_url, **{**setting, "prefix": setting["prefix"][:-1] + "q"})

    jobs.migrate(), other.migrate()
    made = jobs.enqueue(keep.draft(1))

    assert jobs.find() == [made]
    assert other.find() == []
