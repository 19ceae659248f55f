"""Programs that run as `__main__`: what workers know their functions by."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tests
from tests.patience import patient

SOURCE = Path(tests.__file__).parents[1] / "src"

SCRIPT = """
import sys
from dataclasses import dataclass
from belayed.codec import Codec
from belayed.trust import Trust, name_of, resolve

print("run as", __name__)

@dataclass
class Point:
    x: int

def function():
    pass

try:
    name = name_of(function)
    codec = Codec(Trust())
    again = codec.loads(codec.text(codec.encode([Point(1), function], "value")))
    print(name, resolve(name, Trust()) is function, again == [Point(1), function])
except Exception as error:
    print(type(error).__name__, error)
"""


def run(folder: Path, *command: str, text: str | None = None) -> str:
    program = [sys.executable, *command]
    environment = {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(
        program,
        cwd=folder,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=patient(60),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("file", "command", "name"),
    [
        ("script.py", ["script.py"], "script:function"),
        ("sub/script.py", ["sub/script.py"], "script:function"),
        ("script.py", ["-P", "script.py"], "script:function"),
        ("script.py", ["-m", "script"], "script:function"),
        ("pkg/mod.py", ["-m", "pkg.mod"], "pkg.mod:function"),
        ("pkg/__main__.py", ["-m", "pkg"], "pkg.__main__:function"),
    ],
    ids=["script", "below", "safe path", "-m module", "-m package.module", "-m package"],
)
def test_a_script_goes_by_its_file_and_is_not_run_twice(tmp_path, file, command, name):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(SCRIPT)

    output = run(tmp_path, *command)

    assert output == f"run as __main__\n{name} True True\n"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("my-script.py", "my-script.py; rename the file to a Python name that ends in .py"),
        ("script", "script; rename the file to a Python name that ends in .py"),
        ("pkg/__main__.py", "__main__.py by a name; put the code in another module of its package"),
    ],
)
def test_a_script_that_no_worker_can_import_is_told_why(tmp_path, file, message):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(SCRIPT)

    output = run(tmp_path, file)

    assert "NotImportable a worker cannot import" in output
    assert message in output


@pytest.mark.parametrize("command", [["-c", SCRIPT], ["-"]], ids=["-c", "standard input"])
def test_what_was_typed_in_is_told_to_go_into_a_module(tmp_path, command):
    output = run(tmp_path, *command, text=SCRIPT)

    assert re.search("NotImportable a worker cannot import what was typed in .*; put it in a module", output)


def test_a_worker_imports_the_script_by_the_same_name(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)

    output = run(
        tmp_path,
        "-c",
        "from belayed.trust import Trust, resolve; print(resolve('script:function', Trust()).__module__)",
    )

    assert output.splitlines()[-1] == "script"


def test_a_child_of_multiprocessing_names_the_script_as_its_parent_does(tmp_path):
    (tmp_path / "script.py").write_text(
        "import multiprocessing\n"
        "from belayed.trust import Trust, name_of, resolve\n"
        "def function(): print(name_of(function), resolve(name_of(function), Trust()) is function)\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=function)\n"
        "    process.start()\n"
        "    process.join()\n"
    )

    output = run(tmp_path, "script.py")

    assert output == "script:function True\n"
