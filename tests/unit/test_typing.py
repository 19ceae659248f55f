"""What type checkers say of code that uses Belayed: tests/typing/*.py, line by line.

A line is an error exactly when a comment at its end says so: `# error` for both checkers, whatever they call it, or
`# error: mypy=arg-type pyright=reportArgumentType` with a regular expression for each checker that must report it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = sorted((ROOT / "tests" / "typing").glob("*.py"))
WRONG = ROOT / "tests" / "typing" / "harness" / "wrong_marks.py"

MARK = re.compile(r"# error(?P<codes>:( \w+=\S+)+)?$")

Reports = dict[tuple[Path, int], set[str]]
"""The codes of the errors, by file and line."""


def mypy(files: list[Path]) -> Reports:
    output = checked("mypy", "--output", "json", "--no-error-summary", *map(str, files))
    errors = [json.loads(line) for line in output.splitlines()]
    return collected((ROOT / error["file"], error["line"], error["code"]) for error in errors if error["code"])


def pyright(files: list[Path]) -> Reports:
    output = checked("pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, files))
    errors = [error for error in json.loads(output)["generalDiagnostics"] if error["severity"] == "error"]
    return collected(
        (Path(error["file"]), error["range"]["start"]["line"] + 1, error.get("rule", "")) for error in errors
    )


CHECKERS: dict[str, Callable[[list[Path]], Reports]] = {"mypy": mypy, "pyright": pyright}


# One run of a checker takes seconds, whatever the number of files.
@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in sorted(CHECKERS)]
)
def run(request) -> tuple[str, Reports]:
    return request.param, CHECKERS[request.param]([*CASES, WRONG])


@pytest.mark.dj(5, 19)
def test_exactly_the_marked_lines_are_errors(run):
    checker, reports = run

    wrong = [complaint for case in CASES for complaint in complaints(checker, case, reports)]

    assert wrong == []


def test_a_wrong_mark_is_found(run):
    checker, reports = run

    wrong = complaints(checker, WRONG, reports)

    lines = WRONG.read_text().splitlines()
    names = [lines[int(complaint.split(":")[1]) - 1].partition(":")[0] for complaint in wrong]
    assert names == ["unexpected", "missing", "other_code"] + (["only_mypy"] if checker == "pyright" else [])


def test_a_mark_of_an_unknown_checker_is_refused():
    line = "f(1)  # error: mipy=arg-type"

    with pytest.raises(ValueError, match="mipy"):
        expected("mypy", line)


def complaints(checker: str, case: Path, reports: Reports) -> list[str]:
    """What is wrong with *case*: each line that was to be an error and is not, or the other way round."""
    found = []
    for number, line in enumerate(case.read_text().splitlines(), start=1):
        wanted, codes = expected(checker, line), reports.get((case, number), set())
        place = f"{case.relative_to(ROOT)}:{number}"
        if wanted is None and codes:
            found.append(f"{place}: {checker} reports {sorted(codes)}, and nothing is marked")
        elif wanted is not None and not codes:
            found.append(f"{place}: {checker} reports nothing, and {wanted} is marked")
        elif wanted is not None and not all(re.fullmatch(wanted, code) for code in codes):
            found.append(f"{place}: {checker} reports {sorted(codes)}, and {wanted} is marked")
    return found


def expected(checker: str, line: str) -> str | None:
    """The regular expression of what *checker* must report of *line*; None: nothing."""
    mark = MARK.search(line)
    if mark is None:
        return None
    if mark["codes"] is None:
        return ".*"
    codes = dict(part.split("=", 1) for part in mark["codes"][1:].split())
    if unknown := set(codes) - set(CHECKERS):
        raise ValueError(f"{line!r}: there is no checker {', '.join(unknown)}; there are {', '.join(CHECKERS)}")
    return codes.get(checker)


def checked(*command: str) -> str:
    """What a checker writes: it found errors, or none; anything else is a failure of the checker."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
    return done.stdout


def collected(errors) -> Reports:
    reports: Reports = {}
    for file, line, code in errors:
        reports.setdefault((file, line), set()).add(code)
    return reports
