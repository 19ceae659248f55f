"""Systems that cannot fork, such as Windows: enqueueing and a worker in the application's own process work there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import belayed
from tests.patience import patient

SOURCE = Path(belayed.__file__).parents[1]

WITHOUT = """
# These choose by the system when they are imported, and are the standard library's own matter.
import asyncio, concurrent.futures, ctypes, multiprocessing, os, pathlib, signal, socket, sqlite3, subprocess, sys
import tempfile

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "syslog", "pty", "tty"}
OF_OS = '''
    register_at_fork fork forkpty setsid setpgid getpgid killpg geteuid getuid getegid getgid memfd_create MFD_CLOEXEC
    MFD_ALLOW_SEALING O_NOFOLLOW O_CLOEXEC O_NONBLOCK O_NOCTTY O_DIRECTORY wait3 wait4 waitid uname sysconf getloadavg
    sched_getaffinity fchmod fchown chown mkfifo nice pipe2 posix_spawn
'''
OF_SIGNAL = '''
    SIGHUP SIGQUIT SIGUSR1 SIGUSR2 SIGCHLD SIGKILL SIGALRM SIGCONT SIGTSTP SIGSTOP SIGPIPE SIGRTMIN SIGRTMAX SIGTTIN
    SIGTTOU SIGWINCH SIGURG pthread_sigmask pthread_kill sigwait sigtimedwait setitimer alarm siginterrupt sigpending
    pause
'''
sys.meta_path.insert(0, Missing())
for name in MODULES:
    sys.modules.pop(name, None)
for module, names in ((os, OF_OS), (signal, OF_SIGNAL)):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
os.name = sys.platform = "elsewhere"
"""

TASKS = """
import time
from datetime import timedelta

from belayed import task

@task
def add(a, b):
    return a + b

@task
async def aadd(a, b):
    return a + b

@task(max_run_time=timedelta(seconds=0.2), max_attempts=1)
def endless():
    while True:
        time.sleep(0.001)
"""

PROGRAM = (
    WITHOUT
    + """
import belayed
from tasks import aadd, add, endless

belayed.configure("sqlite:///jobs.db")
saved = [add.enqueue(1, 2), aadd.enqueue(3, 4), asyncio.run(add.aenqueue(5, 6))]
stopped = endless.enqueue()
belayed.Worker(threads=2).run(until_empty=True)
assert [job.refresh().result for job in saved] == [3, 7, 11]
assert stopped.refresh().error.startswith("AttemptTimeout")
with belayed.Worker(threads=2):
    assert add.enqueue(7, 8).wait().result == 15
"""
)

COMMANDS = (
    WITHOUT
    + """
from belayed.cli import main

main(sys.argv[1:])
"""
)


def run(folder: Path, program: str, *args: str) -> subprocess.CompletedProcess[str]:
    (folder / "tasks.py").write_text(TASKS)
    (folder / "program.py").write_text(program)
    return subprocess.run(
        [sys.executable, "program.py", *args],
        cwd=folder,
        env={"PYTHONPATH": str(SOURCE), "BELAYED_URL": "sqlite:///jobs.db", "PATH": "", "USERNAME": "ada"},
        capture_output=True,
        text=True,
        timeout=patient(120),
        check=False,
    )


def test_jobs_are_enqueued_and_run_where_nothing_forks(tmp_path: Path) -> None:
    done = run(tmp_path, PROGRAM)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["work", "--app", "tasks", "--exit-on-complete"], 0, "stopped after"),
        (["work", "--app", "tasks", "--exit-on-complete", "--pool", "mail"], 0, "serves queues mail"),
        (["work", "--app", "tasks", "--pool", "mail", "--pool", "*"], 2, "pools are for Linux and macOS"),
        (["work", "--app", "tasks", "--pool", "mail:1x1"], 2, "pools are for Linux and macOS"),
        (["migrate"], 0, "ready"),
        (["start"], 2, "PID files are for Linux and macOS"),
        (["init", "procfile"], 0, "Procfile"),
    ],
    ids=str,
)
def test_commands_work_or_say_why_not_where_nothing_forks(
    command: list[str], code: int, said: str, tmp_path: Path
) -> None:
    done = run(tmp_path, COMMANDS, *command)

    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
