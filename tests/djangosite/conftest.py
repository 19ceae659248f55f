"""What the tests of the shop share."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from shop import tasks

from tests.patience import patient

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def nothing_seen():
    tasks.seen.clear()


@pytest.fixture
def ada():
    """A user, as of an application of others."""
    return User.objects.create_user("ada", password="before", pk=1)


def eventually(condition, within: float = 20):
    """What *condition* returns once it is true; an AssertionError if it is not in time."""
    within = patient(within)
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within:g} s"
        time.sleep(0.02)
    return found


@pytest.fixture
def manage():
    """Runs a command of manage.py as a process of its own, on the database of the tests."""

    def manage(*words: str, timeout: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(HERE / "manage.py"), *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=patient(timeout),
            stdin=subprocess.DEVNULL,
            env=environment(**variables),
            cwd=HERE,
        )

    return manage


def environment(**variables: str) -> dict[str, str]:
    """The environment of a process that works on the database of the tests."""
    return {**os.environ, "SITE_TEST": "1", "PYTHONPATH": f"{HERE}:{HERE.parents[1] / 'src'}", **variables}
