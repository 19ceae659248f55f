"""What a worker says of jobs: a line for each, a summary when they are many, and never their arguments unasked."""

from __future__ import annotations

import io
import logging
import logging.config
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from belayed import Job, Retry, delay, enqueue_many
from belayed.config import Config
from belayed.jobs import Jobs
from belayed.worker.logs import FIELDS
from belayed.worker.report import Report, Summary
from tests.worker import tasks
from tests.worker.helpers import due, logged, worked
from tests.worker.tasks import Keeper, act, double, fails, raises, takes_all, takes_any, takes_secrets

Opened = Callable[..., Jobs]
FILE = """
[loggers]
keys=root
[handlers]
keys=out
[formatters]
keys=
[logger_root]
level=INFO
handlers=out
[handler_out]
class=NullHandler
args=()
"""


@pytest.mark.dj(153, 155, 156, 263, 283, 346)
def test_a_job_s_life_is_told_in_lines(lite: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "belayed")
    job = double.enqueue("secret")

    worked(lite)

    name = "tests.worker.tasks.double"
    lines = [f"{record.levelname} {record.getMessage()}" for record in caplog.records if f"#{job.id}" in record.message]
    assert lines[:2] == [f"INFO enqueued {name} #{job.id} on default", f"INFO {name} #{job.id} started, attempt 1"]
    assert re.fullmatch(rf"INFO {name} #{job.id} succeeded in \d+ ms", lines[2])
    assert "secret" not in caplog.text


@pytest.mark.dj(131, 136)
def test_a_worker_of_the_program_prints_nothing_and_leaves_its_logging_alone(
    lite: Jobs, capfd: pytest.CaptureFixture[str]
) -> None:
    root, ours = logging.getLogger(), logging.getLogger("belayed")
    before = [(one.level, list(one.handlers)) for one in (root, ours)]
    double.enqueue(1)

    worked(lite)

    assert [(one.level, list(one.handlers)) for one in (root, ours)] == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.dj(282)
@pytest.mark.dj(153)
def test_records_carry_what_is_known_of_the_job(lite: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "belayed")
    good, bad = double.using(queue="mail").enqueue(1), fails.using(max_attempts=1).enqueue()

    worked(lite)

    def told(job: Job) -> list[tuple[Any, ...]]:
        records = [record for record in caplog.records if getattr(record, "job_id", None) == job.id]
        return [tuple(getattr(record, name, None) for name in FIELDS[1:-1]) for record in records]

    task = "tests.worker.tasks.double"
    assert told(good) == [
        (task, "mail", None, None, None),
        (task, "mail", 1, None, None),
        (task, "mail", 1, "succeeded", None),
    ]
    error = "tests.worker.tasks.Declined"
    assert told(bad)[-1] == ("tests.worker.tasks.fails", "default", 1, "failed", error)
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


@pytest.mark.dj(153, 162, 283)
def test_failures_are_told_with_their_tracebacks(lite: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    again, last, cancelled = fails.enqueue(), fails.using(max_attempts=1).enqueue(), raises.enqueue("Gone")
    caplog.set_level("INFO", "belayed")

    worked(lite)

    (first,) = logged(caplog, f"fails #{again.id} failed at attempt 1, again in")
    (second,) = logged(caplog, f"fails #{last.id} FAILED permanently with tests.worker.tasks.Declined: no")
    assert caplog.text.count('raise Declined("no")') == 2
    assert logged(caplog, f"raises #{cancelled.id} was cancelled: Gone")
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert (levels[first], levels[second]) == ("WARNING", "ERROR")


@pytest.mark.parametrize("reason", ["", "not there yet"])
def test_a_retry_that_is_free_is_no_failure_in_the_log(lite: Jobs, body: Any, caplog: Any, reason: str) -> None:
    def wait() -> None:
        raise Retry(reason, after=timedelta(minutes=5), free=True)

    job = act.enqueue(body(wait))
    caplog.set_level("INFO", "belayed")

    worked(lite)

    (line,) = logged(caplog, f"#{job.id} is tried again in 5 min, not counted as a failure (attempt 1)")
    assert line.endswith(f": {reason or 'the job asked to be tried again'}")
    assert logged(caplog, "failed at attempt") == []
    assert [one.levelname for one in caplog.records if one.getMessage() == line] == ["INFO"]


@pytest.mark.dj(153)
def test_a_job_that_fails_for_good_is_told_in_delayed_jobs_words(lite: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    job = fails.using(max_attempts=2).enqueue()
    worked(lite)
    due(job)

    worked(lite)

    text = f"fails #{job.id} FAILED permanently because of 2 consecutive failures: tests.worker.tasks.Declined: no"
    assert logged(caplog, text)


@pytest.mark.dj(145)
@pytest.mark.parametrize(
    "configure",
    [
        lambda: logging.config.dictConfig({"version": 1}),
        lambda: logging.config.dictConfig({"version": 1, "loggers": {"shop": {"level": "INFO"}}}),
        lambda: logging.config.fileConfig(io.StringIO(FILE)),
        lambda: setattr(logging.getLogger("belayed"), "disabled", True),
    ],
    ids=["dictConfig", "another logger", "fileConfig", "by hand"],
)
@pytest.mark.parametrize("by", ["the program", "a job"])
def test_logging_that_is_configured_without_belayed_keeps_the_errors_of_jobs(
    configure: Callable[[], None], by: str, lite: Jobs, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def configured() -> None:
        configure()
        root.handlers[:] = handlers
        root.setLevel(logging.INFO)

    try:
        if by == "a job":
            act.enqueue(body(configured))
            worked(lite)
        else:
            configured()
        tasks.fails.using(max_attempts=1).enqueue()
        worked(lite)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)

    assert logged(caplog, "FAILED permanently")


def test_the_pace_is_told_at_the_end_and_every_ten_seconds(
    lite: Jobs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue_many([*(double.draft(number) for number in range(20)), fails.draft()])
    caplog.set_level("INFO", "belayed")

    worked(lite)

    (line,) = logged(caplog, "jobs processed at")
    assert re.search(r"^21 jobs processed at [0-9.]+ jobs/s, 1 failed$", line)


def test_the_pace_is_told_again_after_an_interval(caplog: pytest.LogCaptureFixture) -> None:
    report, summary = Report(Config()), Summary()
    caplog.set_level("INFO", "belayed")

    for succeeded in (5, 5, 1_006):
        summary.succeeded = succeeded
        report.pace(summary)
        report.paced_at -= 10.0
        report.pace(summary)

    lines = logged(caplog, "processed at")
    assert [line.split(" at ")[0] for line in lines] == ["5 jobs processed", "1,001 jobs processed"]


SECRETS = {"password": "s3cret", "user": "ada", "api_token": "s3cret", "more": {"Client-Secret": "s3cret", "x": 1}}


@pytest.mark.dj(263)
def test_what_looks_like_a_secret_is_not_in_the_log(caplog: pytest.LogCaptureFixture, opened: Any, lite: Jobs) -> None:
    jobs = opened(lite.url, log_arguments=True)
    caplog.set_level("INFO", "belayed")
    takes_all.enqueue("s3cret", "ada", **SECRETS)
    delay(Keeper("s3cret")).keep("s3cret")

    worked(jobs)

    lines = [line for line in caplog.messages if "enqueued" in line or "started" in line]
    assert len(lines) == 4
    assert "s3cret" not in "".join(lines)
    assert sum('"user":"ada"' in line for line in lines) == 2
    assert sum('"args":["***","ada"]' in line for line in lines) == 2
    assert sum('"args":["***"]' in line for line in lines) == 2


def test_what_is_redacted_is_a_setting(caplog: pytest.LogCaptureFixture, opened: Any, lite: Jobs) -> None:
    opened(lite.url, log_arguments=True, redact=("user",))
    caplog.set_level("INFO", "belayed")

    takes_all.enqueue("one", "two", user="ada", password="shown")

    assert '"kwargs":{"user":"***","password":"shown"}' in "".join(caplog.messages)


def test_secrets_in_more_arguments_and_in_dicts_of_any_keys_are_hidden(
    caplog: pytest.LogCaptureFixture, opened: Any, lite: Jobs
) -> None:
    opened(lite.url, log_arguments=True, redact=("secrets", "token"))
    caplog.set_level("INFO", "belayed")

    takes_secrets.enqueue("ada", "s3cret", "s3cret", {"token": "s3cret", 1: "shown"})
    takes_any.enqueue({"token": "s3cret", 1: "shown"})

    assert "s3cret" not in caplog.text
    assert '"args":["ada","***","***","***"]' in caplog.text
    assert '[["token","***"],[1,"shown"]]' in caplog.text


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
