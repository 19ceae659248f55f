"""The blog as a reader runs it: a web server and workers, each in a terminal of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.patience import patient
from tests.worker.helpers import eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "favorites" / "solution"
LEFT = shutil.ignore_patterns("__pycache__", "db.sqlite3*")
NOT_OURS = ("PYTHONPATH", "DJANGO_SETTINGS_MODULE", "DATABASE_URL")
SLOW = '''"""A job that takes its time."""

import time
from pathlib import Path


def nap(seconds):
    with Path("naps").open("a") as file:
        file.write("begun\\n")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
'''
BROKEN = '''"""The blog, whose mail server is down."""

from background_jobs.settings import *

EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", 1
BELAYED = {"MAX_ATTEMPTS": 2}
'''


class Terminal:
    """A command that runs until it is stopped, and what it has said."""

    def __init__(self, popen: subprocess.Popen[bytes], command: str, log: Path) -> None:
        self.popen, self.command, self.log = popen, command, log

    @property
    def text(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def says(self, *words: str, times: int = 1) -> None:
        """Wait until it has said each of these."""
        eventually(lambda: all(self.text.count(word) >= times for word in words), 30)

    def children(self) -> list[int]:
        """The processes that run jobs."""
        listed = ["ps", "--ppid", str(self.popen.pid), "-o", "pid="]
        return [int(pid) for pid in subprocess.run(listed, check=False, capture_output=True).stdout.split()]

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def ended(self, within: float = 30) -> int:
        return self.popen.wait(patient(within))

    def close(self) -> None:
        for pid in (*self.children(), self.popen.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.popen.wait()


class Site:
    """A copy of the example in a folder of its own, with its database filled."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self.python = folder, python
        self.terminals: list[Terminal] = []

    def made(self) -> None:
        """Make it as the tutorial does."""
        shutil.copytree(EXAMPLE, self.folder, ignore=LEFT)
        (self.folder / "slow.py").write_text(SLOW)
        (self.folder / "broken.py").write_text(BROKEN)
        self.manage("migrate", "--verbosity", "0")
        self.manage("seed")

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in NOT_OURS}
        return {**kept, "PYTHONUNBUFFERED": "1", "COLUMNS": "110", "PATH": self.path, **variables}

    @property
    def path(self) -> str:
        return f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"

    def ran(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command of manage.py, to its end."""
        return subprocess.run(
            [self.python, "manage.py", *words],
            check=False,
            cwd=self.folder,
            env=self.environment(variables),
            capture_output=True,
            text=True,
            timeout=patient(60),
        )

    def manage(self, *words: str, code: int = 0, **variables: str) -> str:
        """What a command of manage.py prints."""
        ran = self.ran(*words, **variables)
        assert ran.returncode == code, f"{words}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def terminal(self, *words: str, **variables: str) -> Terminal:
        """A command of manage.py in a terminal."""
        log = self.folder / f"terminal-{len(self.terminals)}.log"
        with log.open("wb") as file:
            popen = subprocess.Popen(
                [self.python, "manage.py", *words],
                cwd=self.folder,
                env=self.environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        shown = " ".join(f"{name}={value}" for name, value in variables.items())
        made = Terminal(popen, f"{shown} python manage.py {' '.join(words)}".strip(), log)
        self.terminals.append(made)
        return made

    def worker(self, *options: str, **variables: str) -> Terminal:
        """A worker that is ready."""
        made = self.terminal("belayed", "work", *options, **variables)
        made.says("serves")
        return made

    def served(self) -> tuple[str, Terminal]:
        """The address of its web server, which answers, and its terminal."""
        with closing(socket.socket()) as sock:
            sock.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{sock.getsockname()[1]}"
        web = self.terminal("runserver", "--noreload", address)
        eventually(lambda: answers(f"http://{address}/login/"), 30)
        return f"http://{address}", web

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the database has."""
        with closing(sqlite3.connect(self.folder / "db.sqlite3", timeout=patient(20))) as connection, connection:
            return connection.execute(sql, values).fetchall()

    def likes(self) -> int:
        """How many stars are saved."""
        ((count,),) = self.rows("SELECT count(*) FROM blog_favorite WHERE liked")
        return int(count)

    def idle(self) -> bool:
        """Whether no job waits or runs."""
        return self.rows("SELECT count(*) FROM belayed_jobs") == [(0,)]


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=patient(5)) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
