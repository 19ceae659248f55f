"""A worker as an operator starts it: a supervisor and its children."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from belayed import Job
from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.helpers import ROOT, NotInTime, eventually

SETTINGS = {"beat": "0.2s", "lapse": "1s", "grace": "2s", "kill-after": "0.3s", "threads": 3}
"""The timers of minutes in seconds."""


class Tree:
    """A supervisor process."""

    def __init__(
        self,
        jobs: Jobs,
        log: Path,
        command: str,
        app: str,
        settings: dict[str, Any],
        variables: dict[str, str],
        cwd: Path,
    ) -> None:
        given = {**SETTINGS, **settings}
        options = []
        for name, value in given.items():
            for one in value if isinstance(value, list) else [value]:
                options += [f"--{name}"] if one is True else [f"--{name}", str(one)]
        self.log = log
        with log.open("ab") as file:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "belayed", command, "--app", app, *options],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=cwd,
                env={
                    **os.environ,
                    "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
                    "BELAYED_URL": jobs.url,
                    "PYTHONFAULTHANDLER": "1",
                    **dict(variables),
                },
            )
        self.jobs = jobs
        self.pid = self.popen.pid

    @property
    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text("utf-8", "replace")

    def logged(self, text: str) -> list[str]:
        """The lines of the log with *text*."""
        return [line for line in self.text.splitlines() if re.search(text, line)]

    def says(self, text: str) -> list[str]:
        """The lines with *text*, waited for: what has ended in the database may not be in the log yet."""
        return eventually(lambda: self.logged(text))

    def children(self) -> list[int]:
        """The process ids of the children, oldest first."""
        output = subprocess.run(
            ["ps", "--ppid", str(self.pid), "-o", "pid=,stat="], check=False, capture_output=True, text=True
        ).stdout
        return sorted(int(line.split()[0]) for line in output.splitlines() if "Z" not in line.split()[1])

    def is_up(self) -> bool:
        return self.popen.poll() is not None or self.pid in [row.pid for row in self.jobs.workers()]

    def signal(self, number: int, *, everybody: bool = False) -> None:
        """Send a signal to the supervisor, or to its children too."""
        for pid in (self.pid, *(self.children() if everybody else ())):
            os.kill(pid, number)

    def ended(self, within: float = 20) -> int:
        """The code that it ended with."""
        return self.popen.wait(patient(within))

    def stopped(self, within: float = 20) -> int:
        """The code that it ended with, asked to."""
        self.signal(signal.SIGTERM)
        return self.ended(within)

    def say_where(self) -> None:
        """Let it end, and what it has started, with the calls of their threads in the log: for a test that fails."""
        parents = {}
        output = subprocess.run(["ps", "-eo", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
        for line in output.splitlines():
            pid, parent = map(int, line.split())
            parents[pid] = parent
        family = [self.pid]
        for one in family:
            family += [pid for pid, parent in parents.items() if parent == one]
        # Those that were started last first: nobody starts them again.
        for pid in reversed(family):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(patient(5))

    def end(self) -> None:
        """Leave nothing of it behind."""
        children = self.children()
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def tree(
    jobs: Jobs,
    log: Path,
    command: str = "work",
    *,
    app: str = "tests.worker.wild",
    wait: bool = True,
    variables: Any = (),
    cwd: Path = ROOT,
    **settings: Any,
) -> Iterator[Tree]:
    """A worker that runs the tasks of *app*, once it is registered."""
    named = {name.replace("_", "-"): value for name, value in settings.items()}
    one = Tree(jobs, log, command, app, named, variables, cwd)
    try:
        if wait:
            eventually(one.is_up, within=20)
        yield one
    except BaseException as error:
        if isinstance(error, NotInTime | subprocess.TimeoutExpired):
            one.say_where()
        if log.is_file():
            print(one.text)
        raise
    finally:
        one.end()


def runs(path: Path) -> list[tuple[int, float]]:
    """Who has started a job that writes to *path*, and when."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [(int(line[0]), float(line[1])) for line in lines if len(line) == 2 and line[0].isdigit()]


def alive(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def over(*jobs: Job, within: float = 20) -> None:
    """Wait until the jobs have ended."""
    try:
        eventually(lambda: all(job.refresh().ended for job in jobs), within)
    except NotInTime as error:
        left = [job for job in jobs if not job.refresh().ended]
        shown = "; ".join(f"{job.task} #{job.id} {(job.payload or '')[:100]} is {job.state.value}" for job in left)
        raise NotInTime(f"{error}: {shown}") from None


def since(moment: float) -> float:
    return time.monotonic() - moment
