"""The quickstart for Django, followed word by word in an empty directory."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.djangosite.environments import programs
from tests.patience import patient

pytestmark = pytest.mark.deep

PAGE = Path(__file__).parents[2] / "docs" / "quickstart" / "django.md"
STEP = re.compile(r"^```(?P<language>console|python)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
OF_POSTGRESQL = """
DATABASES["default"] = {{"ENGINE": "django.db.backends.postgresql", "NAME": {name!r}, "USER": "postgres"}}
DATABASES["default"]["HOST"] = {host!r}
"""


def steps(text: str) -> list[tuple[str, str]]:
    """The blocks of the page: commands, and what is to be put into files."""
    return [(found["language"], found["text"]) for found in STEP.finditer(text)]


@pytest.mark.xdist_group("django")
@pytest.mark.parametrize("django", ["5.2", "6.1"])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_quickstart_can_be_followed(
    django: str, database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    environment = {**os.environ, "PATH": f"{programs(django)}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    said: dict[str, str] = {}
    for language, text in steps(PAGE.read_text("utf-8")):
        if language == "python":
            name, _, code = text.removeprefix("# ").partition("\n")
            file = tmp_path / name
            if name.endswith("settings.py"):
                if database == "postgresql" and "INSTALLED_APPS" in code:
                    found = re.match(r"postgresql://postgres@/(.+)\?host=(.+)", request.getfixturevalue("postgres_url"))
                    assert found is not None
                    code = OF_POSTGRESQL.format(name=found[1], host=found[2]) + code
                if "TASKS" in code and django == "5.2":
                    code += 'INSTALLED_APPS += ["django_tasks"]\n'
                if ("MAILERS" in code and django == "5.2") or ("EMAIL_BACKEND" in code and django == "6.1"):
                    continue
                code = file.read_text() + code
            file.write_text(code)
            continue
        for line in text.splitlines():
            command = line.removeprefix("$ ").partition("  #")[0]
            if command.startswith("pip "):
                continue
            ran = subprocess.run(
                command,
                check=False,
                shell=True,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=patient(120),
            )
            assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
            said[command.partition("manage.py ")[2]] = ran.stdout

    listed = [line.split()[:4] for line in said["belayed jobs"].splitlines()[1:]]
    assert listed == [
        ["2", "blog.models.Post.like", "likes", "succeeded"],
        ["1", "blog.tasks.greet", "default", "succeeded"],
    ]
    assert "To: ada@example.org" in said["belayed workoff"]
    checked = subprocess.run(
        [programs(django) / "python", "manage.py", "check", "--database", "default"],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "no issues" in checked.stdout
