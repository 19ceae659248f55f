"""A supervisor that is the first process of a container reaps what jobs leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from belayed import State
from belayed.jobs import Jobs
from tests.worker import forking
from tests.worker.helpers import ROOT, eventually
from tests.worker.tree import over, tree

# As the first process of a container is, by its number; this needs no permission. Of children it must not be true.
GETS_ORPHANS = """
import ctypes, sys
if "belayed.worker.child" not in sys.orig_argv:
    ctypes.CDLL(None).prctl(36, 1)
"""


def test_orphans_are_reaped_and_children_judged_by_how_they_ended(lite: Jobs, tmp_path: Path, effects: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    # Run at the start of each process of Python here.
    (site / "sitecustomize.py").write_text(GETS_ORPHANS)
    job = forking.leaves_an_orphan.enqueue(str(effects))

    with tree(
        lite, tmp_path / "log", app="tests.worker.forking", variables={"PYTHONPATH": f"{site}:{ROOT / 'src'}:{ROOT}"}
    ) as worker:
        over(job)
        orphan = int(eventually(lambda: effects.read_text("utf-8").strip(), 20))
        eventually(lambda: parent(orphan) in (worker.pid, None), 20)
        eventually(lambda: parent(orphan) is None, 20)
        os.kill(worker.children()[0], signal.SIGSEGV)
        worker.says(r"was killed by SIGSEGV")
        last = forking.forks.enqueue("codes")
        over(last)
        code = worker.stopped()

    assert (last.state, code) == (State.SUCCEEDED, 0)


def parent(pid: int) -> int | None:
    """The number of a process's parent, also of a zombie's; None: it is not in the table of processes."""
    output = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], check=False, capture_output=True, text=True).stdout
    return int(output) if output.strip() else None
