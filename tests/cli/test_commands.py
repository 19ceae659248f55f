"""What holds for all commands: help, exit codes, and errors in a line or two."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import click
import pytest

import belayed
from belayed.cli import main
from tests.cli.conftest import environment
from tests.patience import patient

COMMANDS = sorted(main.commands)


@pytest.mark.dj(300)
def test_help_lists_the_commands_and_the_exit_codes(run):
    result = run("--help", url=None)

    assert result.exit_code == 0
    assert all(f"  {name} " in result.stdout for name in COMMANDS)
    assert "  Exit codes:\n    0    fine\n" in result.stdout
    assert "..." not in result.stdout.partition("Commands:")[2].replace("QUEUE...", "")


@pytest.mark.dj(300)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_the_common_options(run, name):
    result = run(name, "-h", url=None)

    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: belayed {name} ")
    assert "--app MODULE[:NAME]" in result.stdout
    assert "--url URL" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_is_for(name):
    options = [param for param in main.commands[name].params if isinstance(param, click.Option)]

    unexplained = [option.name for option in options if not option.help]

    assert unexplained == []


@pytest.mark.dj(299)
@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_wrong_use(run, name):
    result = run(name, "--nonsense", url=None)

    assert result.exit_code == 2
    assert "--nonsense" in result.stderr


@pytest.mark.dj(297)
def test_no_command_and_an_unknown_one_are_wrong_use(run):
    none, unknown = run(url=None), run("nosuch", url=None)

    assert (none.exit_code, unknown.exit_code) == (2, 2)
    assert "Usage: belayed" in none.output
    assert "No such command 'nosuch'" in unknown.stderr


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("stop", "init", "completion")])
def test_a_wrong_url_is_wrong_use(run, name):
    needed = {"pause": ["mail"], "resume": ["mail"], "clear": ["--all", "--yes"]}
    needed |= {name: ["1"] for name in ("retry", "cancel", "delete")}
    result = run(name, *needed.get(name, []), url="mysql://somewhere/app")

    # For the doctor it is a check that fails.
    assert result.exit_code == (1 if name == "doctor" else 2)
    assert "unknown scheme 'mysql'" in result.output


@pytest.mark.dj(298)
def test_the_url_may_stand_before_or_after_the_command_and_the_later_one_counts(run, store, sqlite_url):
    store.added(queue="mail")

    after = run("status", "--url", sqlite_url, url=None)
    both = run("status", "--url", sqlite_url, url="sqlite:///elsewhere.db")

    assert "mail" in after.stdout
    assert "mail" in both.stdout


def test_the_url_comes_from_the_environment(run, store, sqlite_url, monkeypatch):
    store.added(queue="mail")
    monkeypatch.setenv("BELAYED_URL", sqlite_url)

    result = run("status", url=None)

    assert "mail" in result.stdout


def test_a_database_that_is_not_available_is_exit_code_3_and_shows_no_password(run):
    result = run("status", url="postgresql://me:secret@127.0.0.1:1/app")

    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.startswith("Error: cannot connect to PostgreSQL: ")
    assert re.search(r"`belayed --url \S+ doctor`", result.stderr)
    assert len(result.stderr.splitlines()) == 2
    assert "secret" not in result.stderr


@pytest.mark.parametrize("name", ["status", "jobs", "doctor"])
def test_a_look_makes_no_sqlite_file(run, folder, name):
    result = run(name)

    assert result.exit_code == (1 if name == "doctor" else 3)
    assert "there is no SQLite file" in result.output
    assert list(folder.iterdir()) == []


def test_a_postgresql_without_tables_is_exit_code_2_and_names_the_command(run, postgres_url):
    result = run("status", url=postgres_url)

    assert result.exit_code == 2
    assert re.search(r"run `belayed --url \S+ migrate`", result.stderr)


def test_the_version_is_told(run):
    result = run("--version", url=None)

    assert result.stdout == f"belayed {belayed.__version__}\n"


def test_ctrl_c_is_exit_code_130_without_a_traceback(folder):
    (folder / "slow.py").write_text("import time\nprint('here', flush=True)\nwhile True: time.sleep(0.01)\n")
    command = [sys.executable, "-m", "belayed", "--app", "slow", "status"]
    pipe = subprocess.PIPE

    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment()) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=patient(60))

    assert process.returncode == 130
    assert error.strip() == ""


def test_a_reader_that_goes_away_is_no_error(store, sqlite_url):
    store.added(5000)
    command = f"{sys.executable} -m belayed jobs --limit 5000 --url {sqlite_url} | head -1"

    ended = subprocess.run(
        command, check=False, shell=True, capture_output=True, text=True, timeout=patient(60), env=environment()
    )

    assert ended.stdout.split()[:2] == ["ID", "Task"]
    assert "Traceback" not in ended.stderr
    assert "BrokenPipe" not in ended.stderr


def test_without_a_terminal_lines_are_plain_and_whole(process, store, sqlite_url):
    long = "x" * 300
    store.added(task=f"app.{long}")

    ended = process("jobs", "--url", sqlite_url)

    assert long in ended.stdout
    assert "\x1b" not in ended.stdout
    assert all(line == line.rstrip() for line in ended.stdout.splitlines())


def test_text_that_the_terminal_cannot_show_is_written_out(process, store, sqlite_url):
    store.added(queue="größe→")

    ended = process("status", "--url", sqlite_url, PYTHONIOENCODING="latin-1")

    assert ended.returncode == 0
    assert "größe\\u2192" in ended.stdout
