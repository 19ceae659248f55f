"""Programs whose tasks and jobs are defined in the script that runs as `__main__`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import belayed
from tests.patience import patient

SOURCE = Path(belayed.__file__).parents[1]

SCRIPT = """
import sys
from dataclasses import dataclass

import belayed
from belayed import Delayable, delay, handle_asynchronously, task

print("imported as", __name__)
jobs = belayed.configure("sqlite:///jobs.db")

@task
def hello(name):
    return f"hello {name}"

@handle_asynchronously
def tidy(folder):
    return f"tidied {folder}"

def plain(number):
    return number + 1

@dataclass
class User(Delayable):
    id: int

    def greet(self):
        return f"user {self.id}"

    @handle_asynchronously
    def activate(self):
        return type(self).__module__, self.id

@dataclass
class Newsletter:
    issue: int

    def perform(self):
        return f"issue {self.issue}"

class Plain:
    def __init__(self, x):
        self.x = x

    def perform(self):
        return f"plain {self.x}"

if __name__ == "__main__":
    made = [
        hello.enqueue("Ada"), tidy("/tmp"), delay(plain)(1), User(7).delay.greet(), User(8).activate(),
        belayed.enqueue(Newsletter(42)), belayed.enqueue(Plain(3)),
    ]
    print(*(job.task for job in made))
    if "work" in sys.argv:
        belayed.Worker().run(until_empty=True)
        print(*(job.refresh().result for job in made))
"""

WORK = """
import belayed
jobs = belayed.configure("sqlite:///jobs.db")
belayed.Worker().run(until_empty=True)
print(*(job.result for job in reversed(jobs.find())))
"""


TYPED = """
import belayed
from belayed import *

belayed.configure("sqlite:///jobs.db")

def f(x): ...

class News:
    def perform(self): ...

"""


def run(folder: Path, *command: str, fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=folder,
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(60),
    )
    assert (done.returncode != 0) is fails, done.stderr
    return done.stderr if fails else done.stdout


@pytest.mark.dj(240)
def test_a_worker_in_another_process_runs_the_jobs_of_a_script(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)

    enqueued = run(tmp_path, "script.py").splitlines()
    worked = run(tmp_path, "-c", WORK).splitlines()

    assert enqueued == [
        "imported as __main__",
        "script.hello script.tidy script.plain script.User.greet script.User.activate script.Newsletter script.Plain",
    ]
    assert worked == [
        "imported as script",
        "hello Ada tidied /tmp 2 user 7 ('script', 8) issue 42 plain 3",
    ]


def test_a_worker_in_the_script_itself_does_not_import_it_again(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)

    output = run(tmp_path, "script.py", "work").splitlines()

    assert output[0] == "imported as __main__"
    assert output[2:] == ["hello Ada tidied /tmp 2 user 7 ('__main__', 8) issue 42 plain 3"]


def test_a_module_run_by_its_name_works_too(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "script.py").write_text(SCRIPT)

    enqueued = run(tmp_path, "-m", "app.script").splitlines()
    worked = run(tmp_path, "-c", WORK).splitlines()

    assert enqueued[1].startswith("app.script.hello app.script.tidy")
    assert worked == ["imported as app.script", "hello Ada tidied /tmp 2 user 7 ('app.script', 8) issue 42 plain 3"]


@pytest.mark.parametrize(
    "act",
    [
        "task(f).enqueue(1)",
        "task(f).draft(1)",
        "delay(f)(1)",
        "handle_asynchronously(f)(1)",
        "belayed.enqueue(News())",
        "delay(News()).perform()",
    ],
)
def test_what_was_typed_in_is_refused_when_it_is_enqueued_with_the_fix(tmp_path, act):
    program = TYPED + act

    error = run(tmp_path, "-c", program, fails=True)

    assert "NotImportable" in error
    assert "a worker cannot import what was typed in (a prompt, a notebook, python -c" in error
    assert error.rstrip().endswith("put it in a module")
