"""Finds Chromium, and installs Debian's where there is none: `python tests/browser/install.py`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")
COMMANDS = (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"])


def chromium() -> str | None:
    """The path of the browser."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def main() -> None:
    """Install it; what goes wrong is said, and the tests that need it say so again."""
    if chromium() or not shutil.which("apt-get"):
        return
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    print("installing Chromium for the browser tests …", file=sys.stderr)
    for command in COMMANDS:
        ran = subprocess.run(
            [*root, *command],
            check=False,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
        if ran.returncode:
            print(f"{' '.join(command)} failed: install Chromium by hand", file=sys.stderr)
            return


if __name__ == "__main__":
    main()
