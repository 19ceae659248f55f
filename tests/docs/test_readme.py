"""The program in README.md does what is said there."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A folder with the program of the README, and nothing else."""
    (code,) = re.findall(r"```python\n(# app\.py\n.*?)```", README.read_text("utf-8"), re.DOTALL)
    (tmp_path / "app.py").write_text(code)
    # Without it the jobs would be beside the nearest pyproject.toml, above or not.
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_job_that_the_program_saves_is_run_by_belayed_work(program):
    subprocess.run([sys.executable, "app.py"], check=True, timeout=30)
    command = [sys.executable, "-u", "-m", "belayed", "work", "--app", "app"]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    with worker:
        said = worker.stdout.readline()
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=30)

    assert said == "Hello, world!\n"
    assert worker.returncode == 0
    assert (program / "belayed.db").exists()


def test_the_readme_fits_on_a_screen():
    assert len(README.read_text("utf-8").splitlines()) <= 60
