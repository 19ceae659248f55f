"""The worker trees of a chaos run, and what is done to them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).parents[2]


class Workers:
    """So many supervisors, started again whenever one ends."""

    def __init__(self, url: str, folder: Path, count: int, options: list[str]) -> None:
        self.folder, self.options = folder, options
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "BELAYED_URL": url,
            "CHAOS_LEDGER": str(folder / "ledger"),
        }
        self.lock = threading.Lock()
        self.started = 0
        self.running = [self.start() for _ in range(count)]

    def start(self) -> subprocess.Popen[bytes]:
        self.started += 1
        with (self.folder / f"worker-{self.started}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "belayed", "work", "--app", "tests.chaos.app", *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self.environment,
            )

    def keep(self) -> None:
        """Start again what has ended."""
        with self.lock:
            self.running = [self.start() if one.poll() is not None else one for one in self.running]

    def supervisor(self, rng: random.Random) -> int:
        return rng.choice(self.running).pid

    def child(self, rng: random.Random) -> int | None:
        """The process id of some child."""
        return rng.choice(found) if (found := children(self.supervisor(rng))) else None

    # The faults: each returns the processes that it concerns.

    def kill_child(self, rng: random.Random) -> set[int]:
        pid = self.child(rng)
        if pid is not None:
            kill(pid, signal.SIGKILL)
        return {pid or -1}

    def kill_supervisor(self, rng: random.Random) -> set[int]:
        pid = self.supervisor(rng)
        kill(pid, signal.SIGKILL)
        return {pid}

    def kill_tree(self, rng: random.Random) -> set[int]:
        pid = self.supervisor(rng)
        for other in (*children(pid), pid):
            kill(other, signal.SIGKILL)
        return {pid}

    def stop_child(self, rng: random.Random) -> set[int]:
        """A child that sleeps: what it runs is late, and no more than that."""
        pid = self.child(rng)
        if pid is not None:
            frozen([pid], rng.uniform(0.1, 2.5))
        return {-1}

    def stop_supervisor(self, rng: random.Random) -> set[int]:
        pid = self.supervisor(rng)
        frozen([pid], rng.uniform(0.1, 4))
        return {pid}

    def stop_tree(self, rng: random.Random) -> set[int]:
        pid = self.supervisor(rng)
        frozen([pid, *children(pid)], rng.uniform(0.1, 4))
        return {pid}

    def ask_to_end(self, rng: random.Random) -> set[int]:
        """An orderly end: long jobs are interrupted."""
        pid = self.supervisor(rng)
        kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline and Path(f"/proc/{pid}").exists() and not zombie(pid):
            time.sleep(0.05)
        return {pid}

    FAULTS: ClassVar = {
        "kill_child": 6.0,
        "kill_supervisor": 2.0,
        "kill_tree": 1.0,
        "stop_child": 2.0,
        "stop_supervisor": 1.0,
        "stop_tree": 1.0,
        "ask_to_end": 1.0,
    }

    def close(self) -> None:
        """End them in good order."""
        with self.lock:
            for one in self.running:
                one.terminate()
            for one in self.running:
                try:
                    one.wait(40)
                except subprocess.TimeoutExpired:
                    one.kill()
                    one.wait()


def children(pid: int) -> list[int]:
    """The living children of a process."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    except OSError:
        return []
    return [int(one) for one in found if not zombie(int(one))]


def zombie(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return True


def kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def frozen(pids: list[int], seconds: float) -> None:
    """Stop processes for a while."""
    for pid in pids:
        kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        kill(pid, signal.SIGCONT)
