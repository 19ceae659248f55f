"""Belayed in a Django project: the tests of tests/djangosite, in a process for each Django and database."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.djangosite.environments import DJANGOS, folder, programs
from tests.inventory import written

SITE = Path(__file__).parents[1] / "djangosite"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """What tells the site where its databases are."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    return {"SITE_FOLDER": str(tmp_path), "SITE_URL": url, "SITE_SMTP": str(port)}


@pytest.mark.dj(*written(SITE))
@pytest.mark.xdist_group("django")
@pytest.mark.parametrize("django", ["5.2", *DJANGOS])
def test_the_site_s_tests_pass(django: str, place: dict[str, str], record_property: Any) -> None:
    interpreter = programs(django) / "python"
    variables = {**os.environ, **place, "DJANGO_TESTS": str(folder(Path(sys.prefix), django) / "django-tests")}
    variables.pop("PYTHONPATH", None)

    ran = subprocess.run(
        [interpreter, "-m", "pytest", "-q", "-c", "pytest.ini", "."],
        check=False,
        cwd=SITE,
        capture_output=True,
        text=True,
        timeout=600,
        env=variables,
    )

    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    passed = re.search(r"(\d+ passed.*) in", ran.stdout)
    assert passed is not None
    record_property(f"Django {django}, {'PostgreSQL' if place['SITE_URL'] else 'SQLite'}", passed[1])
