"""Belayed in a Django project: the tests of tests/djangosite, in a process for each Django and database."""

from __future__ import annotations

import ast
import itertools
import os
import re
import socket
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tests.djangosite.environments import DJANGOS, ROOT, folder, programs, python
from tests.inventory import written
from tests.patience import patient

SITE = Path(__file__).parents[1] / "djangosite"


VERSIONS = ["5.2", *DJANGOS]
NEWEST = VERSIONS[-1 if python() else 0]
"""Of those that run here: the one that is tested often."""


def run(django: str, database: str) -> Any:
    """A run of the site's tests."""
    is_first = (django, database) == (NEWEST, "sqlite")
    return pytest.param(django, database, marks=[] if is_first else [pytest.mark.deep])


RUNS = [run(*one) for one in itertools.product(VERSIONS, ["sqlite", "postgresql"])]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """What tells the site where its databases are."""
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    return {"SITE_FOLDER": str(tmp_path), "SITE_URL": url, "SITE_SMTP": str(port)}


@pytest.mark.dj(*written(SITE))
@pytest.mark.parametrize(
    ("django", "place"),
    [run(*one) for one in itertools.product(VERSIONS, ["sqlite", "postgresql"])],
    indirect=["place"],
)
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
        timeout=patient(600),
        env=variables,
    )

    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    passed = re.search(r"(\d+ passed.*) in", ran.stdout)
    assert passed is not None
    record_property(f"Django {django}, {'PostgreSQL' if place['SITE_URL'] else 'SQLite'}", passed[1])


def imported(path: Path) -> set[str]:
    """The packages that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def installed_with(extra: str) -> set[str]:
    """The distributions that an extra of Belayed brings, and those that they bring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    ahead = [*project["dependencies"], *project["optional-dependencies"][extra]]
    while ahead:
        requirement = ahead.pop()
        parts = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", requirement)
        assert parts is not None
        name = re.sub(r"[-_.]+", "-", parts[1]).lower()
        if name == "belayed":
            ahead += [one for other in parts[2].split(",") for one in project["optional-dependencies"][other]]
        elif name not in found and "extra ==" not in requirement:
            found.add(name)
            try:
                ahead += metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                # One for another system or Python.
                continue
    return found


def test_all_that_the_site_s_tests_import_is_in_the_environment_of_each_django() -> None:
    """The environment of the other tests has more: what is missing is missed with a newer Django only."""
    # Django's own tests of tasks are beside the environment, and django_tasks is for 5.2 alone.
    own = {path.stem for path in SITE.glob("*")} | {"belayed", "tests", "tasks", "django_tasks"}
    brought = installed_with("site")
    distributions = metadata.packages_distributions()

    missing = {
        f"{path.name} imports {name}"
        for path in SITE.rglob("*.py")
        for name in imported(path) - own - sys.stdlib_module_names
        if not brought & {re.sub(r"[-_.]+", "-", one).lower() for one in distributions.get(name, [name])}
    }

    assert not missing
