"""What the tab key offers: commands, options, states, queues; without the application, and without a wait."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from belayed.cli import main
from tests.cli.conftest import environment
from tests.patience import patient


@pytest.fixture
def offered(folder):
    """What is offered for the last of some words."""

    def offered(*words: str, patience: float | None = 30, **variables: str) -> list[str]:
        program = "from belayed.cli import completing, main; "
        if patience is not None:
            # Whatever the machine has to do besides.
            program += f"completing.PATIENCE = {patience}; "
        ended = subprocess.run(
            [sys.executable, "-c", f"{program}main(prog_name='belayed')"],
            capture_output=True,
            text=True,
            check=False,
            timeout=patient(60),
            env=environment(
                _BELAYED_COMPLETE="bash_complete",
                COMP_WORDS=" ".join(("belayed", *words)),
                COMP_CWORD=str(len(words)),
                **variables,
            ),
        )
        assert ended.stderr == ""
        return [line.partition(",")[2] for line in ended.stdout.splitlines() if line]

    return offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_printed(run, shell):
    result = run("completion", shell, url=None)

    assert result.exit_code == 0, result.stderr
    assert "_BELAYED_COMPLETE" in result.stdout
    assert f"{shell}_complete" in result.stdout


def test_the_shell_is_that_of_the_environment(run, monkeypatch):
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    known = run("completion", url=None)
    monkeypatch.setenv("SHELL", "/bin/dash")
    unknown = run("completion", url=None)

    assert "fish_complete" in known.stdout
    assert (unknown.exit_code, unknown.stderr) == (
        2,
        "Error: there is no completion for dash: name bash, zsh, fish\n",
    )


def test_the_script_is_clicks_own(run):
    script = run("completion", "zsh", url=None).stdout

    own = subprocess.run(
        [sys.executable, "-c", "from belayed.cli import main; main(prog_name='belayed')"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(_BELAYED_COMPLETE="zsh_source"),
    )

    assert script.strip() == own.stdout.strip()


def test_the_script_is_what_bash_takes(run):
    script = run("completion", "bash", url=None).stdout

    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_commands_options_and_states_are_offered(offered):
    assert offered("sta") == ["start", "status"]
    assert "--queue" in offered("jobs", "--")
    assert offered("jobs", "--state", "re") == ["ready"]


def test_queues_are_offered_from_the_database(offered, store, sqlite_url):
    store.ended(queue="maps")
    store.added(queue="mail")
    store.pause("main")
    store.added(queue="slow")

    for words in (("pause",), ("resume",), ("work", "-q"), ("jobs", "--queue"), ("delete", "--queue")):
        assert offered("--url", sqlite_url, *words, "ma") == ["mail", "main", "maps"]
    assert offered("work", "-q", "slow,mai", BELAYED_URL=sqlite_url) == ["slow,mail", "slow,main"]
    assert offered("pause", "mail", "mai", BELAYED_URL=sqlite_url) == ["main"]


def test_queues_are_offered_from_postgresql(offered, postgres_url, run):
    run("migrate", url=postgres_url)
    run("pause", "mail", url=postgres_url)

    assert offered("--url", postgres_url, "resume", "m") == ["mail"]


@pytest.mark.parametrize(
    "url",
    ["sqlite:///nowhere.db", "postgresql://127.0.0.1:1/app", "postgresql://10.255.255.1/app", "nonsense"],
)
def test_what_is_not_there_offers_nothing_and_is_not_made(offered, folder, url):
    began = time.monotonic()

    assert offered("--url", url, "pause", "ma", patience=None) == []

    assert time.monotonic() - began < patient(20)
    assert list(folder.iterdir()) == []


def test_no_tables_are_made_in_the_file_of_another_program(offered, folder):
    with closing(sqlite3.connect(folder / "other.db")) as other:
        other.execute("CREATE TABLE notes (text)")
        other.commit()

    assert offered("--url", "sqlite:///other.db", "pause", "de") == ["default"]

    with closing(sqlite3.connect(folder / "other.db")) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]


def test_an_application_is_offered_by_its_file_and_never_imported(offered, folder):
    (folder / "shop.py").write_text("open('imported', 'w').close()\n")
    (folder / "shelf").mkdir()
    (folder / "shelf" / "__init__.py").touch()

    assert offered("--app", "sh") == ["shelf", "shop"]
    assert offered("--app", "shop", "pause", "ma") == []
    assert not (folder / "imported").exists()


def test_each_option_for_queues_offers_them():
    silent = [
        f"{name} {parameter.name}"
        for name, command in main.commands.items()
        for parameter in command.params
        if parameter.name == "queues" and parameter._custom_shell_complete is None
    ]

    assert silent == []
