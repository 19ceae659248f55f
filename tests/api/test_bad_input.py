"""Arguments and options from the edges of what is possible: refused with the fix, or kept exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from threading import Lock
from typing import Any

import pytest

import belayed
from belayed import Retry, State, delay, register_reference, task
from belayed.errors import (
    NotImportable,
    NotSaved,
    NotSerializable,
    NotTrusted,
    OptionError,
    PayloadTooLarge,
)


@task
def keep(value: Any = None, **more: Any) -> Any:
    return value


class Plain:
    """Of the application, and nothing that the codec knows."""


class Row:
    """A row of a database of the application's."""

    def __init__(self, key: int | None) -> None:
        self.key = key

    def touch(self) -> int | None:
        return self.key


register_reference(Row, name="tests.row", key=lambda row: row.key, load=Row)

balances: dict[int, int] = {}
"""A table of the application's."""


@dataclass
class Balance:
    number: int
    amount: int

    def told(self) -> int:
        return self.amount


register_reference(
    Balance, name="tests.balance", key=lambda row: row.number, load=lambda number: Balance(number, balances[number])
)


@task(backoff=lambda failures: timedelta.max)
def endless(how: str) -> None:
    if how == "backoff":
        raise ValueError
    raise Retry(after=timedelta.max, free=how == "free")


@dataclass
class Endless:
    def perform(self) -> None:
        raise ValueError

    def reschedule_at(self, now: datetime, failures: int) -> datetime:
        return datetime.max.replace(tzinfo=UTC)


@dataclass
class Box:
    content: object

    def perform(self) -> object:
        return self.content


def cycle() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


BAD = [
    pytest.param(
        lambda tmp: lambda: 1, NotImportable, "a worker cannot import a lambda; write a function", id="lambda"
    ),
    pytest.param(lambda tmp: open(__file__), NotSerializable, "an open file; pass its path", id="file"),  # noqa: PTH123, SIM115
    pytest.param(lambda tmp: math.nan, NotSerializable, "nan", id="nan"),
    pytest.param(lambda tmp: math.inf, NotSerializable, "inf", id="inf"),
    pytest.param(lambda tmp: "a\udc80", NotSerializable, "surrogate", id="surrogate"),
    pytest.param(lambda tmp: cycle(), NotSerializable, "itself", id="cycle"),
    pytest.param(lambda tmp: object(), NotSerializable, "have no text form; pass what the job can make", id="object"),
    pytest.param(lambda tmp: Lock(), NotSerializable, "lock objects have no text form; pass what the job", id="lock"),
    pytest.param(lambda tmp: Plain(), NotSerializable, "have no text form; make the class a dataclass", id="own"),
    pytest.param(lambda tmp: (n for n in ()), NotSerializable, r"an iterator.*pass list\(x\)", id="generator"),
    pytest.param(lambda tmp: Row(None), NotSaved, "this Row is not saved yet: save it before", id="unsaved"),
    pytest.param(lambda tmp: __import__("os").getcwd, NotTrusted, "workers may not run code of", id="untrusted"),
]


@pytest.mark.dj(11, 25)
@pytest.mark.parametrize(("make", "error", "complaint"), BAD)
@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (keep.draft, r"args\[0\]"),
        (lambda value: keep.draft(value=[1, {"deep": value}]), r"value\[1\]\['deep'\]"),
        (Box, r"job\.content"),
    ],
    ids=["argument", "deep in an argument", "in a job"],
)
def test_what_cannot_travel_is_refused_with_its_path_and_the_fix(
    jobs, do, tmp_path, make, error, complaint, wrap, path
):
    value = make(tmp_path)

    with pytest.raises(error, match=complaint) as caught:
        do(belayed, "enqueue", wrap(value))

    getattr(value, "close", lambda: None)()
    assert caught.match(path)
    assert jobs.find() == []


@pytest.mark.dj(24, 230)
def test_a_method_of_an_unsaved_row_is_refused(jobs):
    with pytest.raises(NotSaved, match="self: this Row is not saved yet"):
        delay(Row(None)).touch()


@pytest.mark.dj(30)
def test_a_saved_row_travels_as_its_key(each_jobs, work_off):
    job = delay(Row(7)).touch()

    work_off(each_jobs)

    assert job.refresh().result == 7


@pytest.mark.dj(94)
@pytest.mark.dj(30)
def test_a_row_is_read_again_when_its_job_runs(jobs, work_off):
    balances[7] = 100
    job = delay(Balance(7, 100)).told()
    balances[7] = 250

    work_off(jobs)

    assert job.refresh().result == 250


@pytest.mark.parametrize("limit", [None, 5000])
def test_a_payload_over_the_limit_is_refused(make_jobs, url, do, limit):
    jobs = make_jobs(url, **({} if limit is None else {"payload_limit": limit}))
    size = 1024 * 1024 if limit is None else limit
    fits, over = "x" * (size - 200), "é" * (size // 2)

    with pytest.raises(
        PayloadTooLarge, match=rf"has .* bytes, the limit is {size:,}: pass a reference \(an id, a path\)"
    ):
        do(keep, "enqueue", over)

    assert do(keep, "enqueue", fits).id
    assert len(jobs.find()) == 1


@pytest.mark.parametrize("char", ["x", "é"])
def test_meta_over_the_limit_is_refused(each_jobs, do, char):
    fits, over = keep.draft(1), keep.draft(1)
    fits.meta["note"] = char * ((16_384 - 11) // len(char.encode()))
    over.meta["note"] = fits.meta["note"] + char

    with pytest.raises(PayloadTooLarge, match=r"the meta of .*keep has 16,38\d bytes, the limit is 16,384"):
        do(belayed, "enqueue", over)
    with pytest.raises(PayloadTooLarge, match="the meta of"):
        do(belayed, "enqueue_many", [over] * 60)

    assert do(belayed, "enqueue", fits).refresh().meta == fits.meta
    assert len(each_jobs.find()) == 1


@pytest.mark.parametrize("name", ["a\0b", "two\nlines", "x" * 256, "\x1b[31mred"])
def test_a_task_by_an_impossible_name_is_refused_at_import(name):
    with pytest.raises(OptionError, match="the name of a task is a text of 1 to 255 characters"):
        task(name=name)(cycle)
    with pytest.raises(OptionError, match="the name of a task is a text of 1 to 255 characters"):
        task(aliases=[name])(cycle)


@pytest.mark.dj(40, 77)
def test_a_jobs_own_name_is_shown_on_one_line(jobs):
    @dataclass
    class Named(Box):
        display_name: str = ""

    named = belayed.payload.performance(Named(1, " a\0b \n c\x1b" + "d" * 300))

    assert named.task == "a?b c?" + "d" * 249


@pytest.mark.dj(61)
@pytest.mark.parametrize(
    "queue",
    ["", "q" * 256, "a\0b", "a\nb", "*", "mail*", "!mail", "a,b", " mail", "a\udc80", "a\u202eb", None, 3, b"mail"],
    ids=ascii,
)
def test_a_bad_queue_name_is_refused(jobs, do, queue):
    with pytest.raises(OptionError, match="a queue's name is a text of 1 to 255 characters"):
        do(belayed, "enqueue", keep.draft(1), queue=queue)


@pytest.mark.dj(61)
@pytest.mark.parametrize(
    "queue", ["q", "q" * 255, "mail.urgent-2/α", "🧗", "with space", "%s", "'; DROP TABLE x; --", "{jobs}"]
)
def test_an_odd_queue_name_is_taken(each_jobs, do, work_off, queue):
    job = do(belayed, "enqueue", keep.draft(1), queue=queue)

    work_off(each_jobs, queues=[queue])

    assert job.refresh().queue == queue
    assert job.result == 1


VALUES = [
    *(sign * (2**power + extra) for power in (31, 53, 63, 64, 100, 1000) for sign in (1, -1) for extra in (-1, 0, 1)),
    datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999),  # noqa: DTZ001
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), date(1, 1, 1), date(9999, 12, 31),
    timedelta.min, timedelta.max, 0.1, -0.0, 1e308, 5e-324,
    "", "\0", "\x00 \x1f \x7f \u2028", "🧗" * 100, '"\\', "%s %(now)s :now $1 {jobs}", b"\0\xff", "\ufeff", "'",
    "x" * 100_000,
]  # fmt: skip


def test_values_from_the_edges_come_back_equal(each_jobs, do, work_off):
    made = do(belayed, "enqueue_many", [keep.draft(value) for value in VALUES])

    work_off(each_jobs)

    results = [do(job, "refresh").result for job in made]
    assert results == VALUES
    assert [type(result) for result in results] == [type(value) for value in VALUES]


@pytest.mark.dj(68, 69)
@pytest.mark.parametrize(
    ("run_at", "state"),
    [
        (datetime(1, 1, 1, tzinfo=UTC), "ready"),
        (datetime(1970, 1, 1, tzinfo=UTC), "ready"),
        (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "scheduled"),
        (datetime(9999, 12, 31, 12, tzinfo=timezone(timedelta(hours=-14))), None),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), None),
        (timedelta.max, None),
        (timedelta.min, None),
        (timedelta(days=365 * 100), "scheduled"),
        (-timedelta(days=365 * 100), "ready"),
    ],
    ids=str,
)
def test_a_time_from_the_edges_is_kept_or_refused(each_jobs, do, work_off, run_at, state):
    if state is None:
        with pytest.raises(OptionError, match=r"run_at=.*: .*year"):
            do(belayed, "enqueue", keep.draft(1), run_at=run_at)
        return

    job = do(belayed, "enqueue", keep.draft(1), run_at=run_at)

    saved = do(job, "refresh")
    assert saved.state == state
    if isinstance(run_at, datetime):
        assert saved.run_at == job.run_at == run_at
    work_off(each_jobs)
    assert do(job, "refresh").state == ("succeeded" if state == "ready" else state)


def test_a_change_to_a_time_beyond_the_edges_is_refused(each_jobs, do):
    job = keep.enqueue(1)

    with pytest.raises(OptionError, match=r"run_at=.*: .*year"):
        do(job, "change", run_at=timedelta.max)


@pytest.mark.parametrize("priority", [2**31 - 1, -(2**31)])
def test_priorities_from_the_edges_are_kept(each_jobs, do, priority):
    job = do(belayed, "enqueue", keep.draft(1), priority=priority)

    assert do(job, "refresh").priority == priority


@pytest.mark.dj(175)
@pytest.mark.parametrize("time", [timedelta(microseconds=1), timedelta(days=36500)])
def test_run_times_from_the_edges_are_kept(each_jobs, do, time):
    job = do(belayed, "enqueue", keep.draft(1), max_run_time=time)

    assert do(job, "refresh").max_run_time == time


@pytest.mark.dj(175)
@pytest.mark.parametrize("time", [timedelta(), timedelta(seconds=-1), timedelta.max, 5, "5s"])
def test_run_times_beyond_the_edges_are_refused(jobs, do, time):
    with pytest.raises(OptionError, match=r"max_run_time=.*: it takes a timedelta above 0, .*, of at most 100 years"):
        do(belayed, "enqueue", keep.draft(1), max_run_time=time)


@pytest.mark.dj(39)
@pytest.mark.parametrize("how", ["retry", "free", "backoff", "reschedule_at"])
def test_a_job_that_asks_for_too_long_a_wait_is_put_off_for_100_years(each_jobs, work_off, how):
    job = belayed.enqueue(Endless() if how == "reschedule_at" else endless.draft(how))

    work_off(each_jobs)

    left = job.refresh().run_at - datetime.now(UTC)
    assert job.state is State.SCHEDULED
    assert timedelta(days=36499) < left < timedelta(days=36501)


@pytest.mark.parametrize("meta", [{"tenant": "acme"}, {"a": [1, None, "\0", "🧗"]}, {}], ids=str)
def test_meta_comes_back_equal(each_jobs, do, meta):
    draft = keep.draft(1)
    draft.meta.update(meta)

    job = do(belayed, "enqueue", draft)

    assert do(job, "refresh").meta == meta
