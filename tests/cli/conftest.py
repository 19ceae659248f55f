"""The commands, run in this process on a store of each test's own, or as a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from belayed.cli import main
from belayed.config import current
from tests.patience import patient
from tests.store.factories import Driven, of_threads

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in; what they change of this process is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(current, "jobs", None)
    for variable in ("FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'belayed.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def each_url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return request.getfixturevalue(name)  # type: ignore[no-any-return]


@pytest.fixture
def url(sqlite_url: str) -> str:
    """Where the jobs of a test are; tests that take `each_url` say so by a parameter of that name."""
    return sqlite_url


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[Driven]:
    """The store, with its tables, on the database's own clock."""
    each = "each_url" in request.fixturenames
    driven, connections = of_threads(request.getfixturevalue("each_url" if each else "url"))
    driven.time = None
    driven.migrate()
    yield driven
    connections.close()


Run = Callable[..., Result]


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a command in this process, on the test's store."""
    place = request.getfixturevalue("each_url" if "each_url" in request.fixturenames else "url")

    def run(*args: Any, url: str | None = place) -> Result:
        given = ["--url", url] if url is not None else []
        result = CliRunner().invoke(main, [*given, *map(str, args)], prog_name="belayed")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def told(run: Run) -> Callable[..., Any]:
    """What a command prints as JSON."""

    def told(*args: Any) -> Any:
        return json.loads(run(*args, "--json").stdout)

    return told


@pytest.fixture
def process(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m belayed` as a process of its own, in the test's folder."""

    def process(*args: Any, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "belayed", *map(str, args)],
            check=False,
            capture_output=True,
            text=True,
            encoding=variables.get("PYTHONIOENCODING", "utf-8"),
            timeout=patient(60),
            stdin=subprocess.DEVNULL,
            env=environment(**variables),
        )

    return process


def environment(**variables: str) -> dict[str, str]:
    """The environment of a process that finds this source."""
    return {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error", **variables}


@pytest.fixture
def shop(folder: Path) -> Path:
    """An application: the module `shop`, with its jobs in SQLite."""
    file = folder / "shop.py"
    file.write_text(
        "import belayed\n"
        "from belayed import task\n"
        "jobs = belayed.configure('sqlite:///shop.db')\n"
        "@task(queue='mail', max_attempts=1)\n"
        "def send(to):\n"
        "    if to == 'nobody':\n"
        "        raise ValueError('no such address')\n"
        "    return f'sent to {to}'\n"
        "@task\n"
        "def flaky():\n"
        "    raise ConnectionError('the line is down')\n"
    )
    return file


@pytest.fixture
def enqueue(shop: Path) -> Callable[[str], None]:
    """Runs code of the application: `enqueue("send.enqueue('ada')")`."""

    def enqueue(code: str) -> None:
        subprocess.run(
            [sys.executable, "-c", f"from shop import *; {code}"], check=True, timeout=patient(60), env=environment()
        )

    return enqueue
