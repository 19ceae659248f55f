"""A virtual environment for each peer, under .venv/peers, made again when its requirements change."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.djangosite import environments as pythons

ROOT = Path(__file__).parent.parent
STAMP = ".requirements"
BASE = Path(sys.prefix) / "peers"


class NotInstalled(Exception):
    """A peer cannot be measured here; says why."""


def made(name: str, requirements: Path) -> bool:
    """Whether the environment is there, as these requirements want it."""
    stamp = BASE / name / STAMP
    return stamp.exists() and stamp.read_text() == checksum(requirements)


def checksum(requirements: Path) -> str:
    return hashlib.sha256(requirements.read_bytes()).hexdigest()


def interpreter(name: str, requirements: Path, versions: list[str]) -> Path:
    """The Python of the environment in which *requirements* are installed, which takes a while the first time.

    *versions* are the Pythons that will do, the preferred first; none is this one. Raises NotInstalled.
    """
    place = BASE / name
    python = place / "bin" / "python"
    if made(name, requirements):
        return python
    base = sys.executable
    if versions:
        found = find_python(versions)
        if found is None:
            raise NotInstalled(f"no Python {' or '.join(versions)} is here, which it needs")
        base = found
    shutil.rmtree(place, ignore_errors=True)
    try:
        subprocess.run([base, "-m", "venv", str(place)], check=True, capture_output=True, text=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "install", "--requirement", str(requirements)], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", "") or str(error)
        raise NotInstalled(f"pip could not install {requirements.name}: {output.strip()[-500:]}") from error
    (place / STAMP).write_text(checksum(requirements))
    return python


def find_python(versions: list[str]) -> str | None:
    """The first of these Pythons that is here, where the tests look for theirs."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here in versions:
        return sys.executable
    return pythons.python()
