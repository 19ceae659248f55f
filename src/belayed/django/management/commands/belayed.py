"""`manage.py belayed COMMAND`: the same commands as `belayed`, of this project."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from belayed.application import DJANGO, FOLDER
from belayed.cli.handing import without

WORKERS = ("work", "workoff", "start", "restart")
"""The commands that start workers, whose supervisor must not have imported the project."""


class Command(BaseCommand):
    help = "Background jobs: work, workoff, start, stop, status, jobs, retry, cancel, check, doctor …"
    requires_system_checks: list[str] = []

    def run_from_argv(self, argv: list[str]) -> None:
        """Hand the words on, without those of Django's own that any command takes."""
        parser = ArgumentParser(add_help=False, allow_abbrev=False)
        for name in ("--settings", "--pythonpath"):
            parser.add_argument(name)
        parser.add_argument("--verbosity", "-v")
        for flag in ("--traceback", "--no-color", "--force-color", "--skip-checks"):
            parser.add_argument(flag, action="store_true")
        given, words = parser.parse_known_args(argv[2:])
        if given.pythonpath:
            # Django has put it on this process's path only.
            paths = [str(Path(given.pythonpath).resolve()), os.environ.get("PYTHONPATH", "")]
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self.execute_words(words)

    def handle(self, *words: str, **_options: Any) -> None:
        """For call_command("belayed", "status")."""
        command = command_of(words)
        if command in WORKERS and is_test():
            raise CommandError(
                f"belayed {command} starts a process of its own, which works in the project's database and not in that "
                "of the test: run jobs by belayed.testing.drain()"
            )
        try:
            self.execute_words(list(words), is_called=True)
        except SystemExit as ended:
            if ended.code:
                code = ended.code if isinstance(ended.code, int) else 1
                # Without the URL, which may hold a password.
                shown = " ".join(without(words, "--url")[0])
                raise CommandError(f"belayed {shown} failed", returncode=code) from None

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("args", nargs="*")

    def execute_words(self, words: list[str], is_called: bool = False) -> None:
        """Run a command. If it *is_called* by code, that goes on after a worker that ends."""
        os.environ["BELAYED_APP"] = DJANGO
        os.environ[FOLDER] = str(folder())
        command = command_of(words)
        helped = {"-h", "--help"} & set(words)
        if command in WORKERS and not helped:
            if command == "work" and wants_reload(words):
                words = [*words, "--reload"]
            sys.stdout.flush()
            # A fresh process: a supervisor of tens of megabytes, not of the whole project.
            line = [sys.executable, "-m", "belayed", *words]
            if is_called and command != "work":
                sys.exit(ended(line))
            # A process manager's signals are to reach the worker.
            os.execv(sys.executable, line)  # noqa: S606
        from belayed.cli import main

        main(words, prog_name=f"{program()} belayed")


def command_of(words: Sequence[str]) -> str | None:
    return next((word for word in words if not word.startswith("-")), None)


def is_test() -> bool:
    """Whether Django's tests run in this process, with databases of their own."""
    utils: Any = sys.modules.get("django.test.utils")
    return hasattr(getattr(utils, "_TestState", None), "saved_data")


def folder() -> Path:
    """Where Python finds the project: beside manage.py, from wherever it is called."""
    script = Path(sys.argv[0])
    return script.resolve().parent if script.suffix == ".py" and script.name != "__main__.py" else Path.cwd()


def ended(line: Sequence[str]) -> int:
    """The exit code of a process, once it has ended: also after Ctrl-C, which reaches that process too."""
    process = subprocess.Popen(line)  # noqa: S603
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def program() -> str:
    """How the project's commands are called."""
    name = Path(sys.argv[0]).name
    if name == "__main__.py":
        return "python -m django"
    return name if name == "django-admin" else f"python {name or 'manage.py'}"


def wants_reload(words: list[str]) -> bool:
    """Whether to replace children when code changes: while DEBUG is on, there are some, and nothing else was said."""
    if {"--reload", "--no-reload"} & set(words) or not settings.DEBUG or find_spec("watchfiles") is None:
        return False
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-p", "--processes", default=os.environ.get("BELAYED_PROCESSES", ""))
    return str(parser.parse_known_args(words)[0].processes).strip() != "0"
