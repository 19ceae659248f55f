"""`make demo`: the newsletter is sent, and what goes wrong is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from belayed import Jobs, State
from tests.patience import patient

NEWSLETTER = Path(__file__).parents[2] / "examples" / "newsletter"


@pytest.fixture
def newsletter(tmp_path):
    """The example in a folder of its own, so that a demo that somebody watches is left alone."""
    return shutil.copytree(NEWSLETTER, tmp_path / "newsletter", ignore=shutil.ignore_patterns("out", "__pycache__"))


def run(folder, **environment):
    command = [sys.executable, "demo.py"]
    environ = {**os.environ, **environment}
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=patient(60), check=False
    )


@pytest.mark.deep
def test_the_demo_sends_the_newsletter_and_shows_what_became_of_it(newsletter):
    done = run(newsletter)

    assert done.returncode == 0, done.stderr
    assert len(list((newsletter / "out" / "mails").glob("*.eml"))) == 200
    assert "Dear Amber Alder," in (newsletter / "out" / "mails" / "amber.alder.eml").read_text()
    assert "$ belayed status" in done.stdout
    assert "Ended and kept: 214 succeeded, 1 failed, 0 cancelled." in done.stdout
    assert "RuntimeError: issue 7 cannot be printed" in done.stdout
    assert "\x1b" not in done.stdout
    jobs = Jobs(f"sqlite:///{newsletter / 'out' / 'newsletter.db'}")
    counts = jobs.counts()
    (flaky,) = jobs.find(tasks=["newsletter.translate"])
    (reminder,) = jobs.find(tasks=["newsletter.remind"])
    jobs.close()
    assert counts.live == []
    assert counts.ended == {State.SUCCEEDED: 214, State.FAILED: 1, State.CANCELLED: 0}
    assert (flaky.attempt, flaky.failures, flaky.result) == (3, 2, "issue 7, translated")
    assert (reminder.finished_at - reminder.created_at).total_seconds() >= 3


def test_a_demo_whose_worker_does_not_start_says_so(newsletter):
    done = run(newsletter, BELAYED_THREADS="0")

    assert done.returncode == 1
    assert "The demo went wrong: the worker has ended." in done.stderr
    assert "BELAYED_THREADS" in done.stderr
