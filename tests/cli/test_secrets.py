"""No password of a database is printed, logged or put where other users of the machine can read it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from belayed.cli.handing import without
from belayed.cli.pidfile import holder
from belayed.errors import BelayedError
from belayed.jobs import Jobs
from tests.cli.conftest import environment
from tests.patience import patient
from tests.worker.helpers import eventually

BAD_URLS = [
    "postgresql://ada:s3cret@127.0.0.1:1/shop",
    "postgresql://ada:s3cret%40x@127.0.0.1:1/shop",
    "postgresql://ada:x@s3cret@127.0.0.1:1/shop",
    "postgresql://ada:x%s3cret@127.0.0.1:1/shop",
    "postgresql://ada:%DBs3cret@127.0.0.1:1/shop",
    "postgresql://ada:x%00s3cret@127.0.0.1:1/shop",
    "postgresql://ada:x/s3cret@127.0.0.1:1/shop",
    "postgresql://ada:s3cret/x@127.0.0.1:1/shop",
    "postgresql://ada:x?s3cret@127.0.0.1:1/shop",
    "postgresql://ada:x?s3cret=y@127.0.0.1:1/shop",
    "postgresql://ada:x#s3cret@127.0.0.1:1/shop",
    "postgresql://ada:[s3cret@127.0.0.1:1/shop",
    "postgresql://[ada:s3cret@127.0.0.1:1/shop",
    "postgresql://ada:x s3cret@127.0.0.1:1/shop",
    "postgresql://ada:x\ns3cret@127.0.0.1:1/shop",
    "postgresql://127.0.0.1:1/shop?user=ada&password=x&s3cret",
    "postgresql://127.0.0.1:1/shop?user=ada&password=s3cret=x",
    "postgresql://127.0.0.1:1/shop?user=ada&sslpassword=s3cret&sslkey=/s3cret",
    "postgresql://127.0.0.1:1/shop?options=s3cret&passfile=/s3cret",
    "postgresql://ada:s3cret",
    "postgres:/ada:s3cret@127.0.0.1/shop",
    "ada:s3cret@127.0.0.1/shop",
    "host=127.0.0.1 port=1 user=ada password='x s3cret'",
    "mysql://ada:s3cret@127.0.0.1/shop",
    "sqlite://ada:s3cret@/shop.db",
    "sqlite:///shop.db?key=s3cret",
    "sqlite:///ada:s3cret@127.0.0.1/shop",
]
COMMANDS = [
    ["status"], ["status", "--json"], ["doctor"], ["doctor", "--json"], ["check"], ["jobs"], ["migrate"],
    ["pause", "x"], ["retry", "1"], ["work", "--processes", "0"], ["workoff", "--processes", "0"],
]  # fmt: skip


@pytest.mark.parametrize("url", BAD_URLS)
def test_no_command_prints_the_password_of_a_url_that_it_cannot_use(run, monkeypatch, url):
    given = [run(*command, url=url) for command in COMMANDS]
    monkeypatch.setenv("BELAYED_URL", url)
    found = [run(*command, url=None) for command in (["status"], ["doctor"], ["workoff", "--processes", "0"])]

    for result in given + found:
        assert result.exit_code in (1, 2, 3)
        assert "s3cret" not in result.output
        assert len(result.output) > 20


@pytest.mark.parametrize("url", [url for url in BAD_URLS if url.startswith("postgresql:")])
def test_no_traceback_shows_the_password(url):
    async def awaited() -> None:
        jobs = Jobs(url)
        try:
            await jobs.acounts()
        finally:
            await jobs.aclose()

    for call in (lambda: Jobs(url).counts(), lambda: asyncio.run(awaited())):
        with pytest.raises(BelayedError) as caught:
            call()

        # A URL that stands in the source would be in it; this one does not.
        text = "".join(traceback.format_exception(caught.value))
        assert "s3cret" not in text


def test_an_application_that_cannot_be_imported_is_shown_without_the_password(run, process, folder):
    (folder / "shop_at.py").write_text("import belayed\nbelayed.configure('postgresql://a:x@s3cret@127.0.0.1:1/b')\n")
    (folder / "shop_bad.py").write_text("import belayed\nbelayed.configure('oracle://ada:s3cret@127.0.0.1:1/shop')\n")
    (folder / "shop_own.py").write_text("raise OSError('cannot reach postgresql://ada:s3 s3cret@db/shop')\n")

    shown = [run(command, "--app", app, url=None) for app in APPS for command in ("status", "doctor")]
    worker = process("work", "--app", "shop_own")

    assert [result.exit_code for result in shown if result.exit_code not in (1, 2, 3)] == []
    assert "s3cret" not in "".join(result.output for result in shown)
    assert worker.returncode == 2
    assert "OSError: cannot reach postgresql://…" in worker.stderr
    assert "s3cret" not in worker.stderr


APPS = ("shop_at", "shop_bad", "shop_own")


@pytest.mark.parametrize(
    "words",
    [
        ["status", "--app", "URL"],
        ["status", "URL"],
        ["URL"],
        ["work", "--threads", "URL"],
        ["work", "--health", "URL", "--processes", "0"],
        ["work", "--pool", "URL:x"],
        ["start", "--identifier", "URL"],
        ["jobs", "--state", "URL"],
        ["check", "--max-age", "URL"],
    ],
)
def test_a_url_in_a_wrong_place_is_not_repeated(run, monkeypatch, words):
    for url in ("postgresql://ada:s3cret@127.0.0.1/shop", "postgresql://ada:x@s3cret@127.0.0.1/shop"):
        ended = run(*[word.replace("URL", url) for word in words])
        monkeypatch.setenv("BELAYED_APP", url)
        other = run("doctor")

        assert (ended.exit_code, other.exit_code) == (2, 1)
        assert "s3cret" not in ended.output + other.output


def everything_to_see(folder: Path, pid: int) -> str:
    """What any user of the machine can see of a process and its children, and what is in their files."""
    listed = subprocess.run(
        ["ps", "-ww", "--pid", str(pid), "--ppid", str(pid), "-o", "args="], check=True, capture_output=True, text=True
    )
    return listed.stdout + "".join(file.read_text("utf-8", "replace") for file in folder.glob("*.[lp]*"))


@pytest.fixture
def secret_url(postgres_url: str) -> str:
    """A database, with its tables, that can be reached by a URL with a password."""
    with contextlib.closing(Jobs(postgres_url)) as jobs:
        jobs.migrate()
    return re.sub(r"//(\w+)@", r"//\1:s3cret@", postgres_url)


def test_the_url_of_a_worker_in_the_background_is_in_no_command_line(process, folder, secret_url):
    begun = process("start", f"--url={secret_url}", "--app", "")
    pid = holder(folder / "belayed.pid")

    try:
        assert begun.returncode == 0, begun.stderr
        seen = everything_to_see(folder, pid) + begun.stdout + begun.stderr
        assert "belayed.worker.child" in seen
        assert "s3cret" not in seen
        assert "serves all queues of postgresql://postgres:***@" in seen
    finally:
        assert process("stop").returncode == 0


@pytest.mark.parametrize("processes", [0, 1])
def test_a_worker_in_the_foreground_leaves_the_password_out_of_its_command_line(folder, secret_url, processes):
    words = [sys.executable, "-m", "belayed", "work", "--url", secret_url, "--app", "", "--processes", str(processes)]
    with (folder / "belayed.log").open("wb") as log:
        popen = subprocess.Popen(words, stderr=log, env=environment(), cwd=folder)
    try:
        eventually(lambda: "serves all queues" in (folder / "belayed.log").read_text(), within=30)

        seen = everything_to_see(folder, popen.pid)

        assert "s3cret" not in seen
        assert f"--processes {processes}" in seen
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(popen.pid, signal.SIGTERM)
        assert popen.wait(patient(30)) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--url", "s3cret", "work", "-p", "2"],
        ["work", "--url=s3cret", "-p", "2"],
        ["--url", "other", "work", "-p", "2", "--url", "s3cret"],
    ],
)
def test_a_url_is_taken_out_of_a_command_line_wherever_it_stands(words):
    assert without(words, "--url") == (["work", "-p", "2"], "s3cret")
