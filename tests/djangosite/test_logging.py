"""A project's LOGGING, and the lines of its worker: one form for all, each once, and errors with what was raised."""

from __future__ import annotations

import json
import re

import pytest
from conftest import environment
from shop.tasks import enqueues, greet

pytestmark = pytest.mark.django_db(transaction=True)

ROOT_AT_WARNING = {
    "version": 1,
    "formatters": {"verbose": {"format": "{levelname}|{name}|{message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "verbose"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
OF_BELAYED = {
    **ROOT_AT_WARNING,
    "root": {},
    "loggers": {"belayed": {"handlers": ["console"], "propagate": False}},
}


@pytest.fixture
def logged(manage, tmp_path):
    """What a worker of the project logs that has this LOGGING."""

    def logged(logging, *words: str) -> list[str]:
        (tmp_path / "logging_settings.py").write_text(f"from site_settings import *\nLOGGING = {logging!r}\n")
        variables = {
            "DJANGO_SETTINGS_MODULE": "logging_settings",
            "PYTHONPATH": f"{tmp_path}:{environment()['PYTHONPATH']}",
        }
        ended = manage("belayed", "workoff", *words, **variables)
        assert ended.returncode == 0, ended.stderr
        return [line for line in ended.stderr.splitlines() if "WAL-reset" not in line]

    return logged


@pytest.mark.parametrize("processes", ["0", "1"])
@pytest.mark.parametrize("logging", [ROOT_AT_WARNING, OF_BELAYED], ids=["of the root", "of belayed"])
def test_the_form_of_a_project_is_that_of_all_lines_and_lines_about_jobs_are_shown(logged, logging, processes):
    job, bad = greet.enqueue("ada"), enqueues.using(max_attempts=1).enqueue("x", fail=True)

    lines = logged(logging, "--processes", processes)

    ours = [line for line in lines if re.match(r"[A-Z]+\|belayed\|", line)]
    assert sum(f"greet #{job.id} succeeded" in line for line in ours) == 1
    assert sum(f"enqueues #{bad.id} FAILED permanently" in line for line in ours) == 1
    assert any("serves all queues" in line for line in ours)
    assert any("no job is ready after" in line for line in ours)
    assert lines.count("Traceback (most recent call last):") == 1
    assert not [line for line in lines if re.match(r"\d\d:\d\d:\d\d", line)]


def test_a_form_that_is_asked_for_is_that_of_a_project_too(logged):
    bad = enqueues.using(max_attempts=1).enqueue("x", fail=True)

    lines = [json.loads(line) for line in logged(ROOT_AT_WARNING, "--log-format", "json")]

    (found,) = [line for line in lines if line["level"] == "ERROR"]
    assert found["job_id"] == bad.id
    assert found["error"].startswith("Traceback (most recent call last):")
    assert "\n" not in found["message"]


def test_djangos_own_logging_leaves_the_form_to_belayed(logged):
    greet.enqueue("ada")

    lines = logged({})

    assert [line for line in lines if not re.match(r"\d\d:\d\d:\d\d\.\d{3} INFO ", line)] == []
    assert len(lines) == 5
