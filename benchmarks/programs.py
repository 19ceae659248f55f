"""Starts the programs under measurement, talks with them, and reads the marks that their jobs leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from benchmarks import processes
from benchmarks.contestants import Contestant, Variant
from benchmarks.environments import ROOT
from benchmarks.peers.peer import MARK, MARKS, URL
from benchmarks.stores import Store

MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
STOPPING = 40.0
"""Seconds that a worker has to end after SIGTERM."""


class Failed(Exception):
    """A program did not do what it was asked; says what it wrote last."""


class Marks:
    """The marks of one run: one for each start of a job."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def count(self) -> int:
        return self.path.stat().st_size // MARK.size

    def read(self) -> list[tuple[float, int]]:
        """When each job started, and its argument, in the order of the starts."""
        return sorted(MARK.iter_unpack(self.path.read_bytes()))

    def wait_for(self, count: int, *, patience: float = 30.0, workers: Workers | None = None) -> None:
        """Wait until so many jobs have started. Raises Failed after *patience* seconds without any."""
        last, since = -1, time.monotonic()
        while (now := self.count()) < count:
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > patience:
                raise Failed(f"no job has started for {patience:.0f} s, after {now} of {count}{said(workers)}")
            elif workers and workers.ended():
                raise Failed(f"a worker has ended after {now} of {count} jobs{said(workers)}")
            time.sleep(0.002)


@dataclass
class Workers:
    """Worker commands that run."""

    started: list[subprocess.Popen[bytes]]
    log: Path

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.started]

    def ended(self) -> bool:
        return any(process.poll() is not None for process in self.started)

    def cpu(self) -> float:
        return processes.cpu(*self.pids)

    def memory(self) -> tuple[int, int]:
        """Resident bytes: the largest of the commands themselves, and of the processes below them."""
        found = [processes.memory(pid) for pid in self.pids]
        return max(one for one, _ in found), max(below for _, below in found)


def said(workers: Workers | None) -> str:
    """The end of what workers have written, for an error."""
    text = workers.log.read_text(errors="replace").strip() if workers else ""
    return f": {text[-800:]}" if text else ""


class Run:
    """One contestant in one variant on one new store, with a file for its marks."""

    def __init__(self, contestant: Contestant, variant: Variant, python: Path, store: Store, folder: Path) -> None:
        self.contestant = contestant
        self.variant = variant
        self.python = python
        self.store = store
        self.url = store.url
        """Where programs find the store: behind a pooler it is another than the store's own."""
        self.folder = folder
        self.marks = Marks(folder / "marks")

    @classmethod
    @contextmanager
    def on(cls, contestant: Contestant, variant: Variant, python: Path, store: Store) -> Iterator[Self]:
        """A run on this store, whose tables are made."""
        with tempfile.TemporaryDirectory(prefix="belayed-bench-", dir=MEMORY) as folder:
            run = cls(contestant, variant, python, store, Path(folder))
            run.ask("setup")
            yield run

    def command(self, command: str, **request: Any) -> list[str]:
        asked = {"url": self.url, "options": dict(self.variant.options), **request}
        return [str(self.python), "-m", "benchmarks.peers", self.contestant.program, command, json.dumps(asked)]

    @property
    def environment(self) -> Mapping[str, str]:
        given = {MARKS: str(self.marks.path), URL: self.url}
        return {**os.environ, **given, **self.variant.environment}

    def ask(self, command: str, **request: Any) -> dict[str, Any]:
        """One answer to one command."""
        with self.start(command, **request) as asked:
            return asked.answer()

    @contextmanager
    def start(self, command: str, **request: Any) -> Iterator[Asked]:
        """A command that runs; ended if what is within fails."""
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                self.command(command, **request),
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            try:
                yield Asked(process, errors)
                process.wait(STOPPING)
            finally:
                process.kill()
                process.communicate()

    @contextmanager
    def workers(self, count: int = 1, **request: Any) -> Iterator[Workers]:
        """So many worker commands, stopped by SIGTERM at the end and killed if that does not do."""
        log = self.folder / "log"
        with log.open("wb") as output:
            workers = Workers(
                [
                    subprocess.Popen(
                        self.command("work", **request),
                        cwd=ROOT,
                        env=self.environment,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,
                    )
                    for _ in range(count)
                ],
                log,
            )
            try:
                yield workers
            finally:
                stop(workers.started)


class Asked:
    """A command that answers in lines."""

    def __init__(self, process: subprocess.Popen[str], errors: Any) -> None:
        self.process = process
        self.errors = errors

    def answer(self) -> dict[str, Any]:
        """The next line that it says; Failed if it ends without one."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(STOPPING)
            self.errors.seek(0)
            text = self.errors.read().decode(errors="replace").strip()
            raise Failed(f"{self.process.args!r} ended with {self.process.returncode}: {text[-800:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def go(self) -> None:
        """Let it begin, once it is ready."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()


def stop(started: list[subprocess.Popen[bytes]]) -> None:
    """Ask workers to end, and kill those that do not, with all that they have started."""
    for process in started:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOPPING
    for process in started:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
