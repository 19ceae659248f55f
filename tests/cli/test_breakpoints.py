"""`breakpoint()` in a job: a child process has no terminal and says so; with `--processes 0` there is one."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import environment
from tests.patience import patient

JOBS = """
@task(max_attempts=1)
def stop(number):
    twice = 2 * number
    breakpoint()
    return twice
@task(max_attempts=1)
async def astop(number):
    twice = 2 * number
    breakpoint()
    return twice
@task(max_attempts=1)
def trace(number):
    import pdb
    pdb.set_trace()
    return number
"""


@pytest.fixture
def stopping(shop, enqueue):
    """An application whose jobs stop at breakpoints; `stopping('stop')` enqueues one of them."""
    shop.write_text(shop.read_text() + JOBS)
    return lambda name: enqueue(f"{name}.enqueue(21)")


@pytest.mark.parametrize("name", ["stop", "astop"])
def test_a_breakpoint_in_a_child_process_fails_the_attempt_with_the_command_that_has_a_terminal(
    process, stopping, folder, name
):
    stopping(name)

    ended = process("workoff", "--app", "shop")

    line = 16 if name == "stop" else 21
    advice = (
        f"breakpoint() at {folder}/shop.py:{line}: a child process of a worker has no terminal; run the job with "
        "`belayed --app shop work --processes 0 --threads 1`, or pass over it with PYTHONBREAKPOINT=0"
    )
    assert f"NoTerminal: {advice}" in ended.stderr
    assert "(Pdb)" not in ended.stdout
    assert advice in " ".join(process("jobs", 1, "--app", "shop").stdout.split())


@pytest.mark.parametrize("debugger", ["pdb.set_trace", "ipdb.set_trace", "pudb.set_trace", "IPython.embed"])
def test_a_debugger_that_needs_a_terminal_is_refused_however_it_is_named(process, stopping, debugger):
    stopping("stop")

    ended = process("workoff", "--app", "shop", PYTHONBREAKPOINT=debugger)

    assert "a child process of a worker has no terminal" in ended.stderr


def test_breakpoints_that_are_switched_off_are_passed_over(process, stopping):
    stopping("stop")

    ended = process("workoff", "--app", "shop", PYTHONBREAKPOINT="0")

    assert "1 succeeded" in ended.stderr


def test_a_remote_debugger_is_called(process, stopping, folder):
    (folder / "remote.py").write_text("def stop():\n    print('stopped here')\n")
    stopping("stop")

    ended = process("workoff", "--app", "shop", PYTHONBREAKPOINT="remote.stop")

    assert "stopped here" in ended.stdout
    assert "1 succeeded" in ended.stderr


def test_a_hook_of_the_applications_own_is_left_alone(process, stopping, shop):
    shop.write_text(shop.read_text() + "import sys\nsys.breakpointhook = lambda: print('stopped here')\n")
    stopping("stop")

    ended = process("workoff", "--app", "shop")

    assert "stopped here" in ended.stdout
    assert "1 succeeded" in ended.stderr


def test_a_breakpoint_at_import_is_refused_too(process, shop):
    shop.write_text(shop.read_text() + "breakpoint()\n")

    ended = process("workoff", "--app", "shop")

    assert ended.returncode == 2
    assert "a child process of a worker has no terminal" in ended.stderr


def test_a_debugger_that_found_no_terminal_says_where_there_is_one(process, stopping):
    stopping("trace")

    ended = process("workoff", "--app", "shop")

    assert (
        "bdb.BdbQuit: the debugger was left, or had no terminal: `belayed work --processes 0` has one" in ended.stderr
    )


@pytest.mark.parametrize("name", ["stop", "astop"])
def test_with_processes_0_a_breakpoint_has_the_terminal(stopping, name):
    stopping(name)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "belayed", "workoff", "--app", "shop", "--processes", "0"]
    worker = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(TERM="dumb"))
    os.close(theirs)

    with worker:
        heard = answered(ours, "", "(Pdb) ")
        heard = answered(ours, "p twice + 100\n", "(Pdb) ")
        rest = answered(ours, "c\n", "no job is ready")
        worker.wait(timeout=patient(60))
    os.close(ours)

    assert "\n142\n" in heard.replace("\r", "")
    assert "1 succeeded" in rest


def answered(terminal: int, text: str, until: str) -> str:
    """What a terminal shows after *text* is typed, until it shows *until*."""
    os.write(terminal, text.encode())
    heard, deadline = "", time.monotonic() + patient(60)
    while until not in re.sub(r"\x1b\[[0-9;?]*\w", "", heard):
        assert time.monotonic() < deadline, heard
        heard += os.read(terminal, 4096).decode()
    return heard
