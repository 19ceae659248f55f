"""Makes a virtual environment for each Django that does not run on the oldest Python: `python environments.py .venv`.

Each has Belayed with the extra `site`, that Django, and Django's own tests of tasks from its sdist.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

DJANGOS = ("6.0", "6.1")
PYTHONS = ("3.13", "3.12", "3.14")
"""Those that run them, the preferred first."""
ROOT = Path(__file__).parents[2]


def python() -> str | None:
    """A Python that runs Django 6."""
    for version in PYTHONS:
        if found := shutil.which(f"python{version}"):
            # pyenv has shims for versions that are not chosen here.
            if subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0:
                return found
        built = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        if built:
            return str(built[-1])
    return None


def folder(base: Path, django: str) -> Path:
    return base / f"django-{django}"


def programs(django: str) -> Path:
    """Where python, pip and django-admin of that Django are. Skips the test where there is no Python for it."""
    if django not in DJANGOS:
        return Path(sys.executable).parent
    if python() is None:
        import pytest

        pytest.skip(f"Django {django} needs Python 3.12 or later, which is not here")
    # Of where the tests run from, which a link to its Python is not.
    place = folder(Path(sys.prefix), django) / "bin"
    assert place.exists(), "make .venv/.installed-djangos makes it"
    return place


def made(base: Path, django: str, interpreter: str) -> None:
    """Make the environment of one Django."""
    place = folder(base, django)
    subprocess.run([interpreter, "-m", "venv", place], check=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--editable", f"{ROOT}[site]", f"Django=={django}.*"], check=True)
    version = subprocess.run(
        [place / "bin" / "python", "-c", "import django; print(django.__version__)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    sources = place / "sdist"
    given = ["--no-deps", "--no-binary", ":all:", f"Django=={version}", "--dest", str(sources)]
    subprocess.run([*pip, "download", *given], check=True)
    (archive,) = sources.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        wanted = [one for one in tar.getmembers() if "/tests/tasks/" in one.name]
        tar.extractall(sources, members=wanted, filter="data")
    (tests,) = sources.glob("*/tests")
    tests.rename(place / "django-tests")


def main(base: Path) -> None:
    interpreter = python()
    if interpreter is None:
        print(f"no Python {', '.join(PYTHONS)} is here: Django {', '.join(DJANGOS)} are not tested", file=sys.stderr)
        return
    for django in DJANGOS:
        shutil.rmtree(folder(base, django), ignore_errors=True)
        made(base, django, interpreter)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
