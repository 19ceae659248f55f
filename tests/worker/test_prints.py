"""What jobs print at the same time, in threads and in processes, is in whole lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from belayed.jobs import Jobs
from tests.worker.helpers import eventually
from tests.worker.printing import (
    aprints,
    forks,
    leaves_open,
    prints,
    prints_in_threads,
    shows_progress,
    uses_the_stream,
)
from tests.worker.tree import over, tree

APP = "tests.worker.printing"
LINE = re.compile(r"(\w+(?:-\d)?) (\d+)(?: x+){4} end")
UNBUFFERED = pytest.mark.parametrize("variables", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
PROCESSES = pytest.mark.parametrize("processes", [0, 2])


def printed(text: str) -> list[tuple[str, int]]:
    """The lines of jobs that are whole: whose they are, and which."""
    return [(found[1], int(found[2])) for line in text.splitlines() if (found := LINE.fullmatch(line))]


@PROCESSES
@UNBUFFERED
@pytest.mark.parametrize("to", ["out", "err"])
def test_lines_of_jobs_that_print_at_the_same_time_are_whole(
    to: str, variables: dict[str, str], processes: int, lite: Jobs, tmp_path: Path
) -> None:
    for nth in range(8):
        (prints, aprints)[nth % 2].enqueue(f"j{nth}", to)
    prints_in_threads.enqueue("t")

    with tree(
        lite, tmp_path / "log", "workoff", app=APP, variables=variables, processes=processes, wait=False, threads=4
    ) as worker:
        assert worker.ended(60) == 0

    names = [f"j{nth}" for nth in range(8)] + [f"t-{nth}" for nth in range(4)]
    assert sorted(printed(worker.text)) == sorted((name, number) for name in names for number in range(30))


@UNBUFFERED
def test_long_lines_of_processes_are_whole_on_stderr(variables: dict[str, str], lite: Jobs, tmp_path: Path) -> None:
    for nth in range(6):
        prints.enqueue(f"j{nth}", "err", lines=40, width=5000)

    with tree(
        lite, tmp_path / "log", "workoff", app=APP, variables=variables, processes=3, wait=False, threads=2
    ) as worker:
        assert worker.ended(60) == 0

    assert sorted(printed(worker.text)) == sorted((f"j{nth}", number) for nth in range(6) for number in range(40))


@PROCESSES
@UNBUFFERED
def test_what_a_job_leaves_without_an_end_of_line_is_a_line_once_the_job_has_ended(
    variables: dict[str, str], processes: int, lite: Jobs, tmp_path: Path
) -> None:
    jobs = [leaves_open.enqueue(f"j{nth}") for nth in range(4)]

    with tree(lite, tmp_path / "log", app=APP, variables=variables, processes=processes, threads=1) as worker:
        over(*jobs)
        lines = eventually(lambda: len(found := worker.logged("^j")) == 4 and found)

    assert sorted(lines) == [f"j{nth} without an end" for nth in range(4)]


@UNBUFFERED
def test_what_a_job_flushes_is_shown_at_once(variables: dict[str, str], lite: Jobs, tmp_path: Path) -> None:
    shows_progress.enqueue(str(tmp_path / "release"))

    with tree(lite, tmp_path / "log", app=APP, variables=variables, processes=1) as worker:
        worker.says("at 50%")
        worker.says("to go: 50%")
        (tmp_path / "release").touch()

        worker.says(" done$")


@PROCESSES
@UNBUFFERED
def test_the_streams_of_jobs_are_still_files(
    variables: dict[str, str], processes: int, lite: Jobs, tmp_path: Path
) -> None:
    job = uses_the_stream.enqueue()

    with tree(
        lite, tmp_path / "log", "workoff", app=APP, variables=variables, processes=processes, wait=False
    ) as worker:
        assert worker.ended(60) == 0

    assert job.refresh().result == [False, 1, "utf-8", "backslashreplace", True, "<stdout>"]
    for line in ("by the buffer", "by writelines", "by its file", r"käse \\udc80", "by the first one"):
        assert worker.logged(f"^{line}$"), line


def test_a_copy_of_a_job_does_not_write_what_the_job_had_begun(lite: Jobs, tmp_path: Path) -> None:
    forks.enqueue()

    with tree(lite, tmp_path / "log", "workoff", app=APP, wait=False, threads=1) as worker:
        assert worker.ended(60) == 0

    assert worker.logged("^by the copy$")
    assert worker.logged("^begun and ended$")


def test_a_worker_of_the_program_leaves_its_streams_alone(lite: Jobs, capfd: Any) -> None:
    import sys

    from tests.worker.helpers import worked

    before = sys.stdout, sys.stderr
    prints.enqueue("j", lines=1)

    worked(lite)

    assert (sys.stdout, sys.stderr) == before
    assert capfd.readouterr().out == "j 0 xxx xxx xxx xxx end\n"
