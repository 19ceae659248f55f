"""What processes have used, from /proc: CPU of a tree, memory of each, and how fast the machine is just now."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on, or None if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def tree(*roots: int) -> list[int]:
    """The processes of these trees that live, each root first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], list(roots)
    while todo:
        pid = todo.pop(0)
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu(*roots: int) -> float:
    """Seconds of CPU of these trees; children that have ended and were waited for count, too."""
    total = 0
    for pid in tree(*roots):
        if fields := stat(pid):
            total += sum(int(field) for field in fields[11:15])
    return total / TICK


def memory(root: int) -> tuple[int, int]:
    """Resident bytes of a process, and of the largest process below it (0 if it has none)."""
    sizes = []
    for pid in tree(root):
        try:
            sizes.append(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE)
        except OSError:
            sizes.append(0)
    return sizes[0], max(sizes[1:], default=0)


def calibration() -> float:
    """Milliseconds that a fixed loop takes: figures of lines in which it differs are not of the same machine."""
    begun = time.perf_counter()
    total = 0
    for number in range(200_000):
        total += number * number % 7
    return (time.perf_counter() - begun) * 1000
