"""Deploys: workers with older and with newer code side by side, and rows of the one under the other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from belayed import Job, State
from belayed.jobs import Jobs
from tests.worker.helpers import ROOT, due, eventually
from tests.worker.tree import over, tree

HEAD = """
import belayed
from dataclasses import dataclass
from belayed import task

jobs = belayed.configure(synchronous="normal")


def done(path, text):
    with open(path, "a") as file:
        file.write(text + "\\n")
"""
OLD = """
@task
def greet(path):
    done(path, "old greet")


@task
def sends(path):
    done(path, "old sends")


@dataclass
class Newsletter:
    path: str

    def perform(self):
        done(self.path, "old newsletter")


def plain(path):
    done(path, "old plain")
"""
NEW = """
@task
def greet(path, name="everybody"):
    done(path, f"new greet {name}")


# It was called so in the old code.
@task(aliases=["shop.sends"])
def delivers(path):
    done(path, "new delivers")


@task
def appears(path):
    done(path, "new appears")


@dataclass
class Bulletin:
    path: str
    title: str = "none"

    def perform(self):
        done(self.path, f"new bulletin {self.title}")


Newsletter = Bulletin


def renamed(path):
    done(path, "new renamed")


plain = renamed
"""


class Release:
    """The application as of one release, in a folder of its own."""

    def __init__(self, folder: Path, jobs: Jobs, code: str) -> None:
        folder.mkdir()
        (folder / "shop.py").write_text(HEAD + code)
        self.folder, self.jobs = folder, jobs
        self.variables = {"PYTHONPATH": f"{folder}:{ROOT / 'src'}"}

    def enqueue(self, expression: str) -> Job:
        """The job that a process of this release has enqueued."""
        code = f"import belayed, shop\nprint({expression}.id)"
        environment = {**os.environ, **self.variables, "BELAYED_URL": self.jobs.url}
        answer = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment, cwd=self.folder
        )
        return self.jobs.get(int(answer.stdout))

    def worker(self, **settings: Any) -> Any:
        log = self.folder / "log"
        return tree(self.jobs, log, app="shop", variables=self.variables, **settings)


@pytest.fixture
def release(tmp_path: Path, jobs: Jobs) -> Callable[[str, str], Release]:
    def release(name: str, code: str) -> Release:
        return Release(tmp_path / name, jobs, code)

    return release


@pytest.fixture
def old(release: Callable[[str, str], Release]) -> Release:
    return release("old", OLD)


@pytest.fixture
def new(release: Callable[[str, str], Release]) -> Release:
    return release("new", NEW)


def put_back(job: Job) -> bool:
    """Whether a worker has found that it does not know the job's code."""
    return job.refresh().state is State.SCHEDULED and job.error is not None


@pytest.mark.dj(77)
def test_a_new_task_goes_back_from_old_workers_uncharged_and_new_ones_run_it(
    old: Release, new: Release, effects: Path
) -> None:
    job = new.enqueue(f"shop.appears.using(max_attempts=1).enqueue({str(effects)!r})")
    neighbour = old.enqueue(f"shop.greet.enqueue({str(effects)!r})")

    with old.worker() as worker:
        eventually(lambda: put_back(job))
        over(neighbour)
        assert worker.says(f"shop.appears #{job.id} went back to its queue, not charged: belayed.errors.UnknownTask: ")
        assert (job.attempt, job.failures, job.crashes, job.attempts) == (0, 0, 0, ())
        assert "UnknownTask" in (job.error or "")

        with new.worker():
            eventually(lambda: due_again(job), within=20)

    assert (job.state, job.attempt, job.failures) == (State.SUCCEEDED, 1, 0)
    assert effects.read_text() == "old greet\nnew appears\n"


def due_again(job: Job) -> bool:
    """Whether it has ended; if it waits for its next try, it waits no longer."""
    if job.refresh().state is State.SCHEDULED:
        job.change(run_at=job.created_at)
    return job.ended


def test_what_nobody_knows_fails_at_the_limit(release: Callable[[str, str], Release], new: Release) -> None:
    limited = "import datetime\njobs = belayed.configure(unknown_task_limit=datetime.timedelta(seconds=1))\n"
    job = new.enqueue("shop.appears.enqueue('nowhere')")

    with release("limited", OLD + limited).worker() as worker:
        eventually(lambda: due_again(job), within=20)
        worker.says("FAILED permanently before it could start: .*UnknownTask: shop:appears")

    assert (job.state, job.attempt) == (State.FAILED, 0)
    assert "shop:appears" in (job.error or "")


@pytest.mark.dj(224, 356)
@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("shop.sends.enqueue({})", "new delivers"),
        ("shop.greet.enqueue({})", "new greet everybody"),
        ("belayed.enqueue(shop.Newsletter({}))", "new bulletin none"),
        ("belayed.delay(shop.plain)({})", "new renamed"),
    ],
    ids=["a renamed task", "a new parameter", "a renamed class with a new field", "a renamed function"],
)
def test_rows_of_the_old_code_run_under_the_new(
    expression: str, text: str, old: Release, new: Release, effects: Path
) -> None:
    job = old.enqueue(expression.format(repr(str(effects))))

    with new.worker():
        over(job)

    assert job.state is State.SUCCEEDED, job.error
    assert effects.read_text() == f"{text}\n"


@pytest.mark.dj(224, 356)
@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("shop.delivers.enqueue({})", "UnknownTask"),
        ("shop.greet.enqueue({}, 'you')", "SignatureChanged"),
        ("belayed.enqueue(shop.Bulletin({}))", "UnknownTask"),
    ],
    ids=["a renamed task", "a new parameter", "a renamed class"],
)
def test_rows_of_the_new_code_wait_for_the_new(
    expression: str, error: str, old: Release, new: Release, effects: Path
) -> None:
    job = new.enqueue(expression.format(repr(str(effects))))

    with old.worker() as worker:
        eventually(lambda: put_back(job))
        assert worker.stopped() == 0
    assert error in (job.error or "")
    assert (job.attempt, effects.read_text()) == (0, "")
    due(job)
    with new.worker():
        over(job)

    assert (job.state, job.attempt) == (State.SUCCEEDED, 1)


def test_a_child_that_starts_anew_has_the_new_code(old: Release, effects: Path) -> None:
    """A deploy in place: the supervisor stays, as it has none of the application's code."""
    with old.worker() as worker:
        (child,) = eventually(worker.children)
        (old.folder / "shop.py").write_text(HEAD + NEW)
        os.kill(child, 9)
        eventually(lambda: worker.children() not in ([], [child]))

        job = old.enqueue(f"shop.appears.enqueue({str(effects)!r})")

        over(job)
    assert effects.read_text() == "new appears\n"
