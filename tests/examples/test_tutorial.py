"""The tutorial, followed word by word: from the example's starter to its solution."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.djangosite.environments import programs
from tests.examples.test_favorites import EXAMPLE, environment
from tests.patience import patient

pytestmark = pytest.mark.deep

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
STEP = re.compile(r"^```(?P<language>console|diff)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
# They make what this machine has already.
ELSEWHERE = ("python -m venv", "pip ")


def changed(site: Path, text: str) -> None:
    """Change a file as a block says: its unmarked and `-` lines become its unmarked and `+` ones."""
    name, *lines = text.splitlines()
    file = site / name.removeprefix("# ")
    before = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    after = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    code = file.read_text("utf-8")
    assert code.count(before) == 1, f"{file.name} has not, or more than once:\n{before}"
    file.write_text(code.replace(before, after), "utf-8")


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a block, each with what it is to print."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            command, said = found.pop()
            found.append((command, f"{said}{line}\n"))
    return found


@pytest.mark.xdist_group("favorites")
@pytest.mark.parametrize(
    ("django", "database"), [("5.2", "sqlite"), ("6.1", "sqlite"), ("5.2", "postgresql"), ("6.1", "postgresql")]
)
def test_the_tutorial_can_be_followed(
    django: str, database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    variables = {**environment(), "PATH": f"{programs(django)}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
    if database == "postgresql":
        variables["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    site = tmp_path / "blog"
    shutil.copytree(EXAMPLE / "starter", site, ignore=shutil.ignore_patterns("__pycache__", "db.sqlite3*"))
    said: dict[str, str] = {}

    for step in STEP.finditer(PAGE.read_text("utf-8")):
        if step["language"] == "diff":
            changed(site, step["text"])
            continue
        for command, expected in commands(step["text"]):
            if command.startswith(ELSEWHERE):
                continue
            ran = subprocess.run(
                command,
                check=False,
                shell=True,
                cwd=site,
                capture_output=True,
                text=True,
                timeout=patient(120),
                env=variables,
            )
            assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
            assert expected in ran.stdout
            said[command] = ran.stdout + ran.stderr

    failed = said["python manage.py belayed jobs --state failed"].splitlines()[1:]
    assert [line.split()[:2] for line in failed] == [["3", "accounts.mailers.welcome"]]
    for file in (EXAMPLE / "solution").rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith("db.sqlite3"):
            assert (site / file.relative_to(EXAMPLE / "solution")).read_text("utf-8") == file.read_text("utf-8")
