"""`--reload`: children are replaced when the application's code changes, and the supervisor stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from belayed import Jobs
from belayed.errors import ConfigError
from belayed.worker import reloading
from tests.patience import patient
from tests.worker.helpers import eventually
from tests.worker.tree import Tree, tree

APP = """
import pathlib, time
from belayed import task

@task
def which():
    return {answer!r}

@task
def slow():
    pathlib.Path("began").touch()
    while not pathlib.Path("go on").exists():
        time.sleep(0.01)
    return {answer!r}
"""


Enqueue = Callable[[str], int]


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module of an application, in a folder of its own."""
    folder = tmp_path / "code"
    folder.mkdir()
    file = folder / "shifting.py"
    file.write_text(APP.format(answer="old"))
    monkeypatch.chdir(folder)
    return file


@pytest.fixture
def enqueue(code: Path, lite: Jobs) -> Enqueue:
    def enqueue(task: str) -> int:
        """The id of a job that another process has saved: the task is of code that this one must not import."""
        program = f"import shifting; print(shifting.{task}.enqueue().id)"
        ran = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment(lite)
        )
        return int(ran.stdout)

    return enqueue


def environment(jobs: Jobs) -> dict[str, str]:
    return {**os.environ, "BELAYED_URL": jobs.url, "PYTHONDONTWRITEBYTECODE": "1"}


def reloaded(worker: Tree, children: list[int]) -> bool:
    """Whether all children are others, and ready."""
    return bool(worker.children()) and not set(children) & set(worker.children())


@pytest.mark.dj(139, 238, 357)
def test_children_are_replaced_when_code_changes(lite: Jobs, code: Path, enqueue: Enqueue, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with tree(lite, log, app="shifting", cwd=code.parent, reload=True) as worker:
        children, supervisor = eventually(worker.children), worker.pid
        before = lite.get(enqueue("which")).wait(timeout=patient(10))

        code.write_text(APP.format(answer="new"))
        eventually(lambda: reloaded(worker, children))
        after = lite.get(enqueue("which")).wait(timeout=patient(10))

        assert (before.result, after.result) == ("old", "new")
        assert worker.popen.pid == supervisor
        assert worker.popen.poll() is None
        assert worker.says("is replaced: shifting.py changed")


def test_a_running_job_ends_with_the_code_that_it_began_with(
    lite: Jobs, code: Path, enqueue: Enqueue, tmp_path: Path
) -> None:
    with tree(lite, tmp_path / "log", app="shifting", cwd=code.parent, reload=True) as worker:
        job = lite.get(enqueue("slow"))
        eventually((code.parent / "began").exists)

        code.write_text(APP.format(answer="new"))
        worker.says("is replaced")
        other = lite.get(enqueue("which")).wait(timeout=patient(10))
        (code.parent / "go on").touch()

        assert other.result == "new"
        assert job.wait(timeout=patient(10)).result == "old"
        assert (job.attempt, job.failures) == (1, 0)


def test_broken_code_is_told_and_mended_code_is_taken_at_once(
    lite: Jobs, code: Path, enqueue: Enqueue, tmp_path: Path
) -> None:
    with tree(lite, tmp_path / "log", app="shifting", cwd=code.parent, reload=True) as worker:
        eventually(worker.children)
        id = enqueue("which")
        lite.get(id).wait(timeout=patient(10))

        code.write_text("def broken(:\n")
        worker.says("SyntaxError")
        code.write_text(APP.format(answer="mended"))

        assert lite.get(enqueue("which")).wait(timeout=patient(10)).result == "mended"


def test_a_worker_without_watchfiles_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reloading, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"pip install 'belayed\[reload\]'"), reloading.reloading(tmp_path, print):
        pass


def test_many_changed_files_are_not_all_named(tmp_path: Path) -> None:
    paths = {tmp_path / f"{name}.py" for name in "abcde"} | {Path("/elsewhere/x.py")}

    assert reloading.described(tmp_path, paths) == "/elsewhere/x.py, a.py, b.py and 3 more changed"
