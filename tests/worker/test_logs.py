"""What a worker says of jobs: a line for each, a summary when they are many, and never their arguments unasked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from belayed import Job, enqueue_many
from belayed.jobs import Jobs
from belayed.worker.logs import FIELDS
from tests.worker.helpers import logged, worked
from tests.worker.tasks import double, fails, raises

Opened = Callable[..., Jobs]


@pytest.mark.dj(263, 283, 346)
def test_a_job_s_life_is_told_in_lines(lite: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "belayed")
    job = double.enqueue("secret")

    worked(lite)

    name = "tests.worker.tasks.double"
    lines = [f"{record.levelname} {record.getMessage()}" for record in caplog.records if f"#{job.id}" in record.message]
    assert lines[:2] == [f"INFO enqueued {name} #{job.id} on default", f"INFO {name} #{job.id} started, attempt 1"]
    assert re.fullmatch(rf"INFO {name} #{job.id} succeeded in \d+ ms", lines[2])
    assert "secret" not in caplog.text


@pytest.mark.dj(282)
def test_records_carry_what_is_known_of_the_job(lite: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "belayed")
    good, bad = double.using(queue="mail").enqueue(1), fails.using(max_attempts=1).enqueue()

    worked(lite)

    def told(job: Job) -> list[tuple[Any, ...]]:
        records = [record for record in caplog.records if getattr(record, "job_id", None) == job.id]
        return [tuple(getattr(record, name, None) for name in FIELDS[1:-1]) for record in records]

    task = "tests.worker.tasks.double"
    assert told(good) == [
        (task, "mail", None, None),
        (task, "mail", 1, None),
        (task, "mail", 1, "succeeded"),
    ]
    assert told(bad)[-1] == ("tests.worker.tasks.fails", "default", 1, "failed")
    (last,) = [record for record in caplog.records if getattr(record, "outcome", None) == "succeeded"]
    assert 0 <= last.__dict__["seconds"] < 10


@pytest.mark.dj(263)
def test_arguments_are_told_when_asked_for(lite: Jobs, opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "belayed")
    jobs = opened(lite.url, log_arguments=True)
    job = double.enqueue("open")

    worked(jobs)

    assert "open" in logged(caplog, f"enqueued tests.worker.tasks.double #{job.id}")[0]
    assert "open" in logged(caplog, f"#{job.id} started")[0]


@pytest.mark.dj(283)
def test_failures_are_told_with_their_tracebacks(lite: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    again, last, cancelled = fails.enqueue(), fails.using(max_attempts=1).enqueue(), raises.enqueue("Gone")
    caplog.set_level("INFO", "belayed")

    worked(lite)

    (first,) = logged(caplog, f"fails #{again.id} failed at attempt 1, again in")
    (second,) = logged(caplog, f"fails #{last.id} failed for good at attempt 1: tests.worker.tasks.Declined: no")
    assert 'raise Declined("no")' in first
    assert 'raise Declined("no")' in second
    assert logged(caplog, f"raises #{cancelled.id} was cancelled: Gone")
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert (levels[first], levels[second]) == ("WARNING", "ERROR")


def test_many_successes_are_summed_up(lite: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    enqueue_many(double.draft(number) for number in range(3000))
    caplog.set_level("INFO", "belayed")

    summary = worked(lite)

    lines = len(logged(caplog, "succeeded in"))
    sums = [int(line.split()[2].replace(",", "")) for line in logged(caplog, "more jobs succeeded")]
    # None at all, if so many have started first that there was no room in that second.
    assert lines <= 100 * (int(summary.seconds) + 2)
    assert lines + sum(sums) == 3000


def test_without_arguments_in_the_log_there_are_none_in_failures_either(
    lite: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "belayed")
    raises.enqueue("OSError")

    worked(lite)

    assert '"args"' not in caplog.text
