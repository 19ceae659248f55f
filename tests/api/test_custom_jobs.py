"""Objects with perform(): their settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

import belayed
from belayed import State
from belayed.errors import NotSerializable, OptionError

ran: list[object] = []
"""What jobs and their hooks have done."""


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


@dataclass
class Newsletter:
    issue: int
    queue = "mail"
    priority = 5
    max_attempts = 3
    max_run_time = timedelta(minutes=2)
    keep_failed = False

    def perform(self) -> str:
        return f"issue {self.issue}"


@dataclass
class WithProperties(Newsletter):
    @property
    def queue(self) -> str:
        return f"mail{self.issue}"

    @property
    def priority(self) -> int:
        return self.issue

    @property
    def display_name(self) -> str:
        return f"Newsletter {self.issue}"


@dataclass
class WithMethods(Newsletter):
    def queue(self) -> str:
        return f"mail{self.issue}"

    def priority(self) -> int:
        return self.issue

    def max_attempts(self) -> int:
        return 7

    def max_run_time(self) -> timedelta:
        return timedelta(seconds=self.issue)

    def keep_failed(self) -> bool:
        return True

    def display_name(self) -> str:
        return f"Newsletter {self.issue}"


class Plain:
    """No dataclass: rebuilt from its attributes, without __init__."""

    def __init__(self, path: str, when: datetime) -> None:
        ran.append("made")
        self.path, self.when = path, when
        self.tags = {"a", "b"}

    def perform(self) -> list[object]:
        return [self.path, self.when, sorted(self.tags)]


class Point(NamedTuple):
    x: int

    def perform(self) -> int:
        return self.x


class Shop:
    @dataclass
    class Report:
        month: str

        def perform(self) -> str:
            return f"report of {self.month}"


@dataclass
class Counting:
    runs: int = 0

    def perform(self) -> None:
        self.runs += 1
        ran.append(self.runs)
        raise ValueError("no")


@dataclass
class Async:
    async def perform(self) -> str:
        return "awaited"


@dataclass
class Rescheduled:
    seconds: int

    def perform(self) -> None:
        raise ValueError("no")

    def reschedule_at(self, now: datetime, failures: int) -> datetime:
        return now + timedelta(seconds=self.seconds * failures)


@pytest.mark.dj(31, 33)
def test_perform_runs_with_the_objects_values(each_jobs, do, work_off):
    job = do(belayed, "enqueue", Newsletter(42))

    work_off(each_jobs)

    assert do(job, "refresh").result == "issue 42"
    assert job.task == f"{__name__}.Newsletter"


@pytest.mark.dj(31)
def test_an_object_that_is_no_dataclass_is_rebuilt_from_its_attributes(each_jobs, work_off):
    when = datetime(2030, 1, 1, tzinfo=UTC)
    job = belayed.enqueue(Plain("a/b", when))

    work_off(each_jobs)

    assert job.refresh().result == ["a/b", when, ["a", "b"]]
    assert ran == ["made"]


@pytest.mark.dj(33)
def test_a_named_tuple_can_be_a_job(jobs, work_off):
    job = belayed.enqueue(Point(3))

    work_off(jobs)

    assert job.refresh().result == 3


@pytest.mark.dj(34)
def test_a_class_within_a_class_can_be_a_job(jobs, work_off):
    job = belayed.enqueue(Shop.Report("May"))

    work_off(jobs)

    assert job.refresh().result == "report of May"
    assert job.task == f"{__name__}.Shop.Report"


@pytest.mark.dj(75)
def test_what_becomes_of_the_object_after_it_was_enqueued_does_not_count(jobs, work_off):
    newsletter = Newsletter(42)
    job = belayed.enqueue(newsletter)
    newsletter.issue = 43

    work_off(jobs)

    assert job.refresh().result == "issue 42"


@pytest.mark.dj(42)
def test_each_attempt_begins_with_the_object_as_it_was_enqueued(jobs, work_off):
    job = belayed.enqueue(Counting())
    work_off(jobs)
    job.change(run_at=timedelta())

    work_off(jobs)

    assert ran == [1, 1]


def test_perform_may_be_a_coroutine_function(jobs, work_off):
    job = belayed.enqueue(Async())

    work_off(jobs)

    assert job.refresh().result == "awaited"


@pytest.mark.dj(35, 36, 37, 38, 41, 84)
def test_attributes_say_how_the_job_is_run(each_jobs):
    job = belayed.enqueue(Newsletter(42)).refresh()

    assert (job.queue, job.priority, job.max_attempts) == ("mail", 5, 3)
    assert (job.max_run_time, job.keep_failed) == (timedelta(minutes=2), False)


@pytest.mark.dj(35, 36, 37, 38, 40, 41, 77, 84)
def test_properties_and_methods_do_too(jobs):
    first, second = belayed.enqueue(WithProperties(1)), belayed.enqueue(WithMethods(2))

    assert (first.queue, first.priority, first.task) == ("mail1", 1, "Newsletter 1")
    assert (second.queue, second.priority, second.task) == ("mail2", 2, "Newsletter 2")
    assert (second.max_attempts, second.max_run_time, second.keep_failed) == (7, timedelta(seconds=2), True)


@pytest.mark.dj(38, 60, 63)
def test_options_given_to_enqueue_count_for_more_than_the_objects_own(jobs):
    job = belayed.enqueue(Newsletter(42), queue="urgent", priority=lambda news: news.issue)

    assert (job.queue, job.priority, job.max_attempts) == ("urgent", 42, 3)


@pytest.mark.dj(39, 84)
def test_reschedule_at_says_when_a_failed_job_is_tried_again(each_jobs, work_off):
    job = belayed.enqueue(Rescheduled(3600))

    work_off(each_jobs)

    left = job.refresh().run_at - datetime.now(UTC)
    assert job.state is State.SCHEDULED
    assert timedelta(minutes=59) < left < timedelta(minutes=61)


@pytest.mark.dj(32, 230)
@pytest.mark.parametrize(
    ("subject", "complaint"),
    [
        (Newsletter, r"cannot enqueue Newsletter: it has no method perform\(\): write it as an instance"),
        (3, r"cannot enqueue a int: it has no method perform\(\); enqueue a task's draft \(send_mail\.draft\(…\)\)"),
        (test_perform_runs_with_the_objects_values, "cannot enqueue a function: it has no method"),
        (None, "cannot enqueue a NoneType"),
    ],
    ids=["class", "value", "function", "None"],
)
def test_what_has_no_perform_is_refused_with_the_fix(jobs, do, subject, complaint):
    with pytest.raises(OptionError, match=complaint):
        do(belayed, "enqueue", subject)


@pytest.mark.dj(33)
def test_an_attribute_that_has_no_text_form_is_named(jobs, tmp_path):
    with (
        (tmp_path / "file").open("w") as file,
        pytest.raises(NotSerializable, match=r"job\.path: .* an open file; pass its"),
    ):
        belayed.enqueue(Plain(file, datetime.now(UTC)))  # type: ignore[arg-type]
