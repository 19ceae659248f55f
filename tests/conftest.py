"""What all tests share: databases to test on, and a report of what they ran on."""

from __future__ import annotations

import os
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import depth, inventory, leavings, patience, servers

# Time limits for single examples fail on busy machines and find nothing.
hypothesis.settings.register_profile("belayed", deadline=None)
hypothesis.settings.load_profile("belayed")

collect_ignore = ["djangosite", "examples/favorites"]
"""Of projects of their own: tests/integrations/test_django.py and tests/examples/test_favorites.py run them."""

SHARED = pytest.StashKey[Path]()
OF_TESTS = (servers.GIVEN, patience.VARIABLE)
OF_DELAYED_JOB = ("QUEUE", "QUEUES", "MIN_PRIORITY", "MAX_PRIORITY", "SLEEP_DELAY", "READ_AHEAD", "QUIET")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No test finds what another one has done to its process: to loggers, variables, signals, modules …"""
    with leavings.put_back():
        yield


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    """Where an SQLite file may be made; there is none yet."""
    return tmp_path / "belayed.db"


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> str:
    """The URL of a PostgreSQL server, as a user who may create databases."""
    with servers.wanted():
        return servers.shared_postgres(request.config.stash[SHARED])


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, for this test alone."""
    url = servers.create_database(postgres_server)
    yield url
    servers.drop_database(postgres_server, url)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('sqlite_path')}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def private_postgres() -> Iterator[servers.PostgresServer]:
    """A running PostgreSQL server for this test alone, to stop, start and crash. It takes a second."""
    # Not under tmp_path: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="belayed-") as folder:
        with servers.wanted():
            server = servers.PostgresServer(Path(folder) / "postgres")
            server.start()
        yield server
        server.destroy()


def pytest_addoption(parser: pytest.Parser) -> None:
    depth.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    # Where tests run in the background, what would end them may be ignored; what they start would inherit that.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    # Tests must not find the store of whoever runs them.
    for variable in [name for name in os.environ if name.startswith("BELAYED_") and name not in OF_TESTS]:
        del os.environ[variable]
    for variable in ("DATABASE_URL", *OF_DELAYED_JOB):
        os.environ.pop(variable, None)
    # Not under pytest's own temporary directory: it is closed to the other user that runs the server for root.
    given = getattr(config, "workerinput", {}).get("belayed_shared")
    config.stash[SHARED] = Path(given or tempfile.mkdtemp(prefix="belayed-tests-"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["belayed_shared"] = str(node.config.stash[SHARED])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    depth.receive(node.config, getattr(node, "workeroutput", None) or {})


def pytest_sessionfinish(session: pytest.Session) -> None:
    depth.send(session.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and (folder := config.stash.get(SHARED, None)):
        servers.remove_shared(folder)


def pytest_report_header() -> str:
    return f"databases: SQLite {sqlite3.sqlite_version}, PostgreSQL {servers.postgres_version()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    depth.select(config, items)
    for item in items:
        if numbers := inventory.marked(item):
            item.user_properties.append((inventory.PROPERTY, numbers))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    stats = terminalreporter.stats
    unwell = [*stats.get("failed", []), *stats.get("error", [])]
    if config.cache is not None:
        found = inventory.covered(stats.get("passed", []), unwell)
        before = config.cache.get(inventory.CACHE_KEY, [])
        config.cache.set(inventory.CACHE_KEY, depth.covered(config, found, before))
    for line in depth.told(config):
        terminalreporter.line(line)
    for report in terminalreporter.stats.get("passed", []):
        for name, value in getattr(report, "user_properties", ()):
            if name != inventory.PROPERTY:
                terminalreporter.line(f"{name}: {value}")
    reasons = [report.longrepr[2] for report in terminalreporter.stats.get("skipped", []) if report.longrepr]
    unserved = [reason for reason in reasons if servers.MISSING in reason]
    if unserved:
        terminalreporter.section("MISSING SERVER", red=True, bold=True)
        terminalreporter.line(f"{len(unserved)} tests were skipped: {unserved[0].partition(servers.MISSING)[2]}")
