"""The worker trees of a chaos run, and what is done to them."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tests.chaos.imports import Pace
from tests.chaos.kinds import SIGNALS, VANDALS_QUEUE
from tests.chaos.verdict import Exit, Fault

ROOT = Path(__file__).parents[2]
FILES = 256
"""So many files a supervisor may have open where forks are to fail: a common limit, and one that can be reached."""
DEADLY = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
"""Signals that may end a child."""
HARMLESS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGWINCH)
"""Signals that children leave to their supervisor."""


@dataclass
class Tree:
    """A supervisor, or a worker without children."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int
    solo: bool
    url: str
    started: float = field(default_factory=time.time)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def ready(self) -> bool:
        """Whether it has ever come so far as to serve."""
        return b" serves " in self.log.read_bytes()


class Workers:
    """So many supervisors, started again whenever one ends."""

    def __init__(
        self, urls: Sequence[str], folder: Path, count: int, options: list[str], parts: Collection[str]
    ) -> None:
        """*urls* are by turns those of the database, each as from another host."""
        self.urls, self.folder, self.options, self.parts = urls, folder, options, parts
        self.imports = folder / "imports"
        Pace().write(self.imports)
        self.bin = interpreter(folder)
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
            "CHAOS_LEDGER": str(folder / "ledger"),
            "CHAOS_IMPORTS": str(self.imports),
        }
        self.lock = threading.Lock()
        self.started = 0
        self.exits: list[Exit] = []
        self.record: Callable[[Fault], None] = lambda _fault: None
        self.solo: Tree | None = None
        self.running = [self.start() for _ in range(count)]

    def start(self, *, solo: bool = False) -> Tree:
        self.started += 1
        url = self.urls[self.started % len(self.urls)]
        path, port = self.folder / f"worker-{self.started}.log", free_port()
        command = [str(self.bin / "python"), "-m", "belayed", "work", "--app", "tests.chaos.app", *self.options]
        if "forks" in self.parts:
            command += ["--health", str(port)]
        if solo:
            # What vandals do to a worker's own process, nobody else could mend.
            command += ["--processes", "0", "--queue", f"!{VANDALS_QUEUE}"]
        with path.open("wb") as log:
            environment = {**self.environment, "BELAYED_URL": url}
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, env=environment
            )
        if "forks" in self.parts:
            limited(process.pid, FILES)
        return Tree(process, path, port, solo, url)

    def trees(self) -> list[Tree]:
        return [*self.running, *([self.solo] if self.solo else [])]

    def on_host(self, url: str) -> set[int]:
        """The supervisors that reach the database by this URL."""
        return {one.pid for one in self.trees() if one.url == url}

    def keep(self) -> None:
        """Start again what has ended."""
        with self.lock:
            self.running = [self.kept(one) or one for one in self.running]
            if self.solo is not None:
                self.solo = self.kept(self.solo) or self.solo

    def kept(self, one: Tree) -> Tree | None:
        """Another tree for one that has ended, which is noted."""
        code = one.process.poll()
        if code is None:
            return None
        self.exits.append(Exit(one.pid, code, one.started, time.time(), one.ready, one.solo, one.log))
        return self.start(solo=one.solo)

    def supervisor(self, rng: random.Random) -> int:
        return rng.choice(self.trees()).pid

    def child(self, rng: random.Random) -> int | None:
        """The process id of some child."""
        return rng.choice(found) if (found := children(rng.choice(self.running).pid)) else None

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
        return self.end(self.supervisor(rng))

    def end(self, pid: int) -> set[int]:
        kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 8
        while time.monotonic() < deadline and Path(f"/proc/{pid}").exists() and not zombie(pid):
            time.sleep(0.05)
        return {pid}

    def toggle_solo(self, _rng: random.Random) -> set[int]:
        """A worker without children comes, or goes."""
        with self.lock:
            if self.solo is None:
                self.solo = self.start(solo=True)
                return {-1}
            gone, self.solo = self.solo, None
        pids = self.end(gone.pid)
        gone.process.kill()
        gone.process.wait()
        return pids

    def starve_of_files(self, rng: random.Random) -> set[int]:
        """No file can be opened in a supervisor for a while, so nothing can be forked; and its children die."""
        pid = rng.choice(self.running).pid
        with contextlib.suppress(OSError):
            limited(pid, len(list(Path(f"/proc/{pid}/fd").iterdir())))
            self.kill_some(pid, rng, rng.uniform(1, 5))
            limited(pid, FILES)
        return {-1}

    def hide_interpreter(self, rng: random.Random) -> set[int]:
        """The program of a child is away for a while, or does not start; and children die."""
        python, hidden = self.bin / "python", self.bin / "hidden"
        with self.lock:
            # Nobody starts a supervisor now.
            python.rename(hidden)
            try:
                if rng.random() < 0.5:
                    python.write_text("#!/bin/sh\nexit 7\n")
                    python.chmod(rng.choice((0o755, 0o644)))
                self.kill_some(rng.choice(self.running).pid, rng, rng.uniform(0.5, 3))
            finally:
                hidden.replace(python)
        return {-1}

    def kill_some(self, pid: int, rng: random.Random, seconds: float) -> None:
        """Kill children of a supervisor, now and then, for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := children(pid):
                fault = Fault("kill_child", time.time(), float("inf"), {rng.choice(found)})
                self.record(fault)
                kill(min(fault.pids), signal.SIGKILL)
                fault.end = time.time()
            time.sleep(rng.uniform(0.3, 1.5))

    def flood_health(self, rng: random.Random) -> set[int]:
        """More connections to a health service than its process may have files, and each is slow."""
        port, sockets = rng.choice(self.trees()).port, []
        with contextlib.ExitStack() as stack:
            for _ in range(FILES + 50):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
                sockets.append(sock)
            deadline = time.monotonic() + rng.uniform(2, 6)
            while time.monotonic() < deadline:
                for sock in sockets:
                    with contextlib.suppress(OSError):
                        sock.send(b"G")
                time.sleep(0.3)
        return {-1}

    def signal_supervisor(self, rng: random.Random) -> set[int]:
        """A signal that is no request to end. Before it serves, a process has no say in what a signal does to it."""
        serving = [one for one in self.trees() if one.ready]
        if not serving:
            return {-1}
        pid = rng.choice(serving).pid
        number = rng.choice((*SIGNALS, signal.SIGCHLD, signal.SIGUSR2))
        kill(pid, number)
        if number == signal.SIGUSR2:
            time.sleep(rng.uniform(0, 2))
            kill(pid, signal.SIGCONT)
        return {-1}

    def signal_child(self, rng: random.Random) -> set[int]:
        pid, number = self.child(rng), rng.choice((*HARMLESS, *DEADLY))
        if pid is not None:
            kill(pid, number)
        return {pid or -1} if number in DEADLY else {-1}

    FAULTS: ClassVar = {
        "": {
            "kill_child": 6.0,
            "kill_supervisor": 2.0,
            "kill_tree": 1.0,
            "stop_child": 2.0,
            "stop_supervisor": 1.0,
            "stop_tree": 1.0,
            "ask_to_end": 1.0,
        },
        "forks": {"starve_of_files": 0.8, "hide_interpreter": 0.4, "flood_health": 0.8},
        "hostile": {"signal_supervisor": 0.5, "signal_child": 1.0},
        "solo": {"toggle_solo": 0.6},
    }

    def faults(self) -> dict[str, float]:
        """What can happen to them, and how often."""
        return {name: share for part in ("", *self.parts) for name, share in self.FAULTS.get(part, {}).items()}

    def close(self) -> None:
        """End them in good order."""
        with self.lock:
            for one in self.trees():
                one.process.terminate()
            for one in self.trees():
                try:
                    one.process.wait(40)
                except subprocess.TimeoutExpired:
                    one.process.kill()
                    one.process.wait()


def interpreter(folder: Path) -> Path:
    """A folder with a name of this Python's that can be taken away; it has the packages of this environment."""
    bin = folder / "environment" / "bin"
    bin.mkdir(parents=True)
    (bin / "python").symlink_to(os.path.realpath(sys.executable))
    own = Path(sys.prefix)
    if (own / "pyvenv.cfg").exists():
        (bin.parent / "pyvenv.cfg").write_bytes((own / "pyvenv.cfg").read_bytes())
        (bin.parent / "lib").symlink_to(own / "lib")
    return bin


def limited(pid: int, files: int) -> None:
    """Let a process have so many files open."""
    with contextlib.suppress(ProcessLookupError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (files, hard))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


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
