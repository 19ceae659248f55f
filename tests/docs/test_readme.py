"""The program in README.md does what is said there."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hatch_build import for_an_index
from tests.patience import patient

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
    subprocess.run([sys.executable, "app.py"], check=True, timeout=patient(30))
    command = [sys.executable, "-u", "-m", "belayed", "work", "--app", "app"]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    with worker:
        said = worker.stdout.readline()
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=patient(30))

    assert said == "Hello, world!\n"
    assert worker.returncode == 0
    assert (program / "belayed.db").exists()


def test_the_readme_fits_on_a_screen():
    assert len(README.read_text("utf-8").splitlines()) <= 60


LINKS = re.compile(r"\]\((?P<target>[^)\s]+)\)")
PYPROJECT = tomllib.loads((README.parent / "pyproject.toml").read_text("utf-8"))
DECLARED = PYPROJECT["project"]


def test_each_link_of_the_readme_leads_to_a_file_of_the_repository():
    for target in LINKS.findall(README.read_text("utf-8")):
        assert "://" in target or (README.parent / target.partition("#")[0]).is_file(), target


@pytest.mark.parametrize("repository", [None, "https://example.org/ada/belayed", "https://example.org/ada/belayed/"])
def test_on_a_package_index_no_link_of_the_readme_is_relative(repository):
    text = for_an_index(README.read_text("utf-8"), repository)

    targets = LINKS.findall(text)
    assert [target for target in targets if not target.startswith("https://")] == []
    if repository is not None:
        assert "https://example.org/ada/belayed/blob/main/docs/index.md" in targets


def test_links_that_lead_elsewhere_stay_as_they_are():
    text = "[a](https://a.example/b) [c](#below) [d](mailto:d@a.example) [e](docs/e.md#f)"

    assert for_an_index(text, None) == text.replace("[e](docs/e.md#f)", "e")


def test_the_package_is_built_with_the_readme_for_an_index(tmp_path):
    pytest.importorskip("hatchling")
    code = (
        "from hatchling.metadata.core import ProjectMetadata\nfrom hatchling.plugin.manager import PluginManager\n"
        f"print(ProjectMetadata({str(README.parent)!r}, PluginManager()).core.readme)"
    )

    built = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=patient(60)
    )

    repository = DECLARED.get("urls", {}).get("Repository")
    assert built.stdout.rstrip("\n") == for_an_index(README.read_text("utf-8"), repository).rstrip("\n")


def test_what_the_project_says_of_where_it_is_kept_is_absolute():
    assert [url for url in DECLARED.get("urls", {}).values() if not url.startswith("https://")] == []


def test_the_source_package_has_the_readme_and_what_turns_it():
    included = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]

    assert {"README.md", "hatch_build.py"} <= set(included)
