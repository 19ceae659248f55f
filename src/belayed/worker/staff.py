"""Which children there should be, and how new ones are started: not too often where they do not get ready."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from belayed.config import WorkerConfig
from belayed.safelog import log
from belayed.worker.children import Children
from belayed.worker.handed import Child, Role
from belayed.worker.heard import LARGEST_HELLO
from belayed.worker.loglike import Form, log_alike
from belayed.worker.process import Process

BACK_OFF = 1.0, 30.0
"""Seconds between starts of children that do not get ready: the first wait and the longest."""
DOUBLINGS = 10
"""More of them would not make the wait longer."""
ADVICE = {
    errno.EMFILE: "this worker has too many files open: raise its limit (ulimit -n, LimitNOFILE= of systemd)",
    errno.ENFILE: "this machine has too many files open: raise its limit (fs.file-max)",
    errno.EAGAIN: "there are too many processes: raise the limit (ulimit -u, TasksMax= of systemd, a container's pids)",
    errno.ENOMEM: "there is too little memory: use fewer processes, or give the machine or the container more",
    errno.ENOSPC: "no space is left for temporary files, or for what fs.epoll.max_user_watches counts",
    errno.ENOENT: f"{sys.executable} is gone: start this worker again",
    errno.EACCES: f"{sys.executable} may not be run: start this worker again",
}


@dataclass(slots=True)
class BackOff:
    """How starts of children in one role have gone."""

    failures: int = 0
    """In a row."""
    start_at: float = 0.0
    complaint: str = ""
    """What has been logged of them."""

    def failed(self, now: float) -> None:
        shortest, longest = BACK_OFF
        self.start_at = now + min(longest, shortest * 2 ** min(self.failures, DOUBLINGS))
        self.failures += 1


class Staff:
    """Fills the roles of one supervisor's children."""

    def __init__(
        self, children: Children, config: WorkerConfig, first: Mapping[str, Any], watch: Callable[[Child], None]
    ) -> None:
        """*first* is the first frame of each child; *watch* is called with each new one, and may raise OSError."""
        self.children, self.config, self.first, self.watch = children, config, dict(first), watch
        # Apart: what fails one role, as a start that is too slow, must not keep another from being filled.
        self.back_offs = {role: BackOff() for role in Role}
        self.started = False
        """Whether any child has got ready so far."""
        self.given_up = ""
        """Why none will get ready: the first one did not."""

    def missing(self, now: float) -> list[Role]:
        """The roles that nobody has."""
        children = self.children
        staying = [child for child in children.list if not child.leaving]
        roles = [child.role for child in staying]
        missing = [Role.WORKER] * (self.config.processes - roles.count(Role.WORKER))
        missing += [Role.ALONE] * (self.wanted_alone(now) - roles.count(Role.ALONE))
        # Only once there is a first: it shows whether they start at all.
        if self.config.spare and Role.SPARE not in roles and self.started:
            missing.append(Role.SPARE)
        return missing

    def wanted_alone(self, now: float) -> int:
        """How many children for suspects there are to be: each runs one at a time."""
        children = self.children
        with children.lock:
            alone = sum(child.role is Role.ALONE and bool(child.handed) for child in children.list)
            wanted = min(self.config.processes, len(children.suspects) + alone)
            return max(wanted, int(children.suspects.expected(now)))

    def due(self, now: float) -> float:
        """When the next child is to be started."""
        return min((self.start_at(role) for role in self.missing(now)), default=float("inf"))

    def start_at(self, role: Role) -> float:
        """When a child may be started for a role: after a failure one at a time, until one gets ready."""
        back_off = self.back_offs[role]
        if back_off.failures and any(child.role is role and not child.ready for child in self.children.list):
            return float("inf")
        return back_off.start_at

    def fill(self, now: float) -> None:
        """Fill the roles: with the spare child, where it is ready, or with new ones."""
        children = self.children
        for role in self.missing(now):
            with children.lock:
                spare = next((child for child in children.list if child.role is Role.SPARE and not child.leaving), None)
                if role is not Role.SPARE and spare is not None and spare.ready:
                    spare.role = role
                    children.wake()
                    continue
            if now >= self.start_at(role):
                self.begin(role, now)

    def begin(self, role: Role, now: float) -> None:
        """Start a child. Where the system refuses it, it is tried again later: the others go on."""
        cells = self.config.read_ahead + self.config.threads + self.config.async_slots
        try:
            process = Process(cells, LARGEST_HELLO)
        except (OSError, MemoryError, subprocess.SubprocessError) as error:
            self.failed(role, reason(error), now, fatal=not self.children.list)
            return
        child = Child(process, role)
        self.children.adopt(child)
        process.send("begin", self.first)
        try:
            self.watch(child)
        except OSError as error:
            # It has begun, and nobody would hear of it: its death counts as a failed start.
            child.error = reason(error)
            process.kill(child.error)

    def failed(self, role: Role, why: str, now: float, *, fatal: bool = True) -> None:
        """A child did not get ready: log why once, wait for longer each time. *fatal*: the first one must get ready."""
        back_off = self.back_offs[role]
        back_off.failed(now)
        if fatal and not self.started:
            self.given_up = why
        elif why != back_off.complaint:
            back_off.complaint = why
            log.error("a child cannot start, trying again: %s", why)
        if role is Role.ALONE:
            # Another worker may be able to run them.
            self.children.release_suspects(now)

    def greeted(self, child: Child, now: float, form: Form) -> None:
        """A child has got ready: so others may. The first one says in which *form* the application logs."""
        if not self.started:
            log_alike(form, self.first.get("log_level"), self.first.get("log_format"))
        self.started = True
        self.back_offs[child.role] = BackOff()
        for back_off in self.back_offs.values():
            back_off.start_at = min(back_off.start_at, now + BACK_OFF[0])

    def start_anew(self) -> None:
        """Forget what has failed: it may be mended."""
        self.back_offs = {role: BackOff() for role in Role}


def reason(error: BaseException) -> str:
    """Why a process could not be started, and what to do about it."""
    number = error.errno if isinstance(error, OSError) else errno.ENOMEM if isinstance(error, MemoryError) else None
    why = f"{type(error).__name__}: {error}"
    return f"{why}; {ADVICE[number]}" if number in ADVICE else why
