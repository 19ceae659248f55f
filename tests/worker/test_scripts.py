"""A script that defines its tasks, saves jobs and works them off itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from belayed.jobs import Jobs
from tests.patience import patient
from tests.worker.helpers import ROOT

SCRIPT = """
import sys
from dataclasses import dataclass
import belayed

@belayed.task
def double(number):
    return number * 2

@belayed.task
async def adouble(number):
    return number * 2

@dataclass
class Shout:
    text: str
    def perform(self):
        return self.text.upper()

if __name__ == "__main__":
    jobs = belayed.configure(sys.argv[1])
    saved = [double.enqueue(2), adouble.enqueue(3), belayed.enqueue(Shout("hey")), belayed.delay(double.function)(4)]
    if "with" in sys.argv:
        with belayed.Worker():
            for job in saved:
                job.wait()
    else:
        belayed.Worker().run(until_empty=True)
    print([job.refresh().result for job in saved])
    print(saved[0].task)
"""


@pytest.mark.parametrize("how", ["run", "with"])
@pytest.mark.parametrize("as_module", [False, True], ids=["script", "module"])
def test_a_script_runs_its_own_jobs(how: str, as_module: bool, lite: Jobs, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SCRIPT)
    start = ["-m", "shop"] if as_module else ["shop.py"]

    done = subprocess.run(
        [sys.executable, *start, lite.url, how],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[4, 6, 'HEY', 8]", "shop.double"]
