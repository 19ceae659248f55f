"""The example with favorites, before and after it has jobs."""

from __future__ import annotations

import difflib
import os
import subprocess
from pathlib import Path

import pytest

from tests.djangosite.environments import programs

pytestmark = pytest.mark.deep

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "favorites"
TESTS = Path(__file__).parent / "favorites"


@pytest.mark.xdist_group("favorites")
@pytest.mark.parametrize("django", ["5.2", "6.1"])
@pytest.mark.parametrize("state", ["starter", "solution"])
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_its_own_tests_pass(
    database: str, state: str, django: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    variables = environment()
    if database == "postgresql":
        variables["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    interpreter = programs(django) / "python"
    site = tmp_path / state
    subprocess.run(["cp", "-r", EXAMPLE / state, site], check=True)
    for name in ("test_pages.py", f"test_{state}.py"):
        (site / "blog" / name).write_bytes((TESTS / name).read_bytes())

    ran = subprocess.run(
        [interpreter, "manage.py", "test"], check=False, cwd=site, capture_output=True, text=True, env=variables
    )
    migrations = subprocess.run(
        [interpreter, "manage.py", "makemigrations", "--check", "--dry-run"],
        check=False,
        cwd=site,
        capture_output=True,
        text=True,
        env=variables,
    )

    assert ran.returncode == 0, ran.stderr
    assert "Ran 0 tests" not in ran.stderr
    assert migrations.returncode == 0, migrations.stdout


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "DJANGO_SETTINGS_MODULE")}


def files(state: str) -> dict[str, list[str]]:
    """The files of one state of the example, but for what running it leaves behind."""
    found = [
        path
        for path in (EXAMPLE / state).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("db.sqlite3")
    ]
    return {str(path.relative_to(EXAMPLE / state)): path.read_text("utf-8").splitlines() for path in found}


def test_jobs_take_few_lines() -> None:
    before, after = files("starter"), files("solution")
    changed = {}
    for name in before.keys() | after.keys():
        lines = [
            line
            for line in difflib.unified_diff(before.get(name, []), after.get(name, []), n=0, lineterm="")
            if line[0] in "+-" and not line.startswith(("+++", "---"))
        ]
        if lines:
            changed[name] = lines

    assert set(changed) == {
        "Procfile",
        "accounts/views.py",
        "background_jobs/settings.py",
        "blog/services.py",
        "requirements.txt",
    }
    assert sum(map(len, changed.values())) <= 16
