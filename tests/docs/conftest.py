"""How the examples of a page run: in order, in a directory of their own, with an empty store.

- The Python blocks of a page share their names, as the lines of one module would.
- A Python block whose first line is `# app.py` is saved as that file, imported, and its names are shared.
- `<!-- skip: next "the reason" -->` passes over a block; `skip: start` and `skip: end` over several.
- `<!-- run -->` on the line above a `bash` or `console` block runs it (of a `console` block, the lines after `$ `).
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from unittest import SkipTest

import pytest
from sybil import Document, Example, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from belayed.config import current

FILE = re.compile(r"# (?P<module>[a-z_]+)\.py\n")
RUN = re.compile(
    r"^(?P<indent> *)<!-- run -->\n(?P=indent)```(?P<language>bash|console)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture
def run_page(tmp_path, monkeypatch) -> Iterator[Callable[[Path], ModuleType]]:
    """Run the examples of a page, and return the module that its blocks have made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BELAYED_URL", f"sqlite:///{tmp_path / 'belayed.db'}")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(current, "jobs", None)
    known = set(sys.modules)

    def run(path: Path) -> ModuleType:
        document = Document.parse(str(path), parse_skips, CodeBlockParser("python", run_python), parse_runs)
        page = sys.modules["page"] = ModuleType("page")
        # With a place, so that the page counts as the application's own code.
        page.__spec__ = ModuleSpec("page", None, origin=str(tmp_path / "page.py"))
        page.__spec__.has_location = True
        document.namespace = vars(page)
        for example in document.examples():
            try:
                example.evaluate()
            except SkipTest:
                continue
        return page

    yield run
    if current.jobs is not None:
        current.jobs.close()
    for name in set(sys.modules) - known:
        file = getattr(sys.modules[name], "__file__", None)
        if name == "page" or (file and Path(file).is_relative_to(tmp_path)):
            del sys.modules[name]


def run_python(example: Example) -> None:
    if file := FILE.match(example.parsed):
        Path(f"{file['module']}.py").write_text(example.parsed)
        importlib.invalidate_caches()
        module = importlib.import_module(file["module"])
        example.namespace.update({name: value for name, value in vars(module).items() if not name.startswith("_")})
    else:
        PythonEvaluator()(example)


def parse_skips(document: Document) -> Iterable[Region]:
    for region in SkipParser()(document):
        action, reason = region.parsed
        if action != "end" and not reason:
            raise ValueError(
                f"{document.path}, {document.line_column(region.start)}: a block is skipped without a reason; "
                f'write <!-- skip: {action} "why" -->'
            )
        yield region


def parse_runs(document: Document) -> Iterable[Region]:
    for match in RUN.finditer(document.text):
        text = textwrap.dedent(match["text"])
        if match["language"] == "console":
            text = "".join(line.removeprefix("$ ") for line in text.splitlines(True) if line.startswith("$ "))
        yield Region(match.start(), match.end(), text, run_shell)


def run_shell(example: Example) -> None:
    command = ["bash", "-euo", "pipefail", "-c", example.parsed]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{example.path}:{example.line}: exit {done.returncode}\n{done.stdout}{done.stderr}")
