"""`init`: files for whoever starts workers: a Procfile, a unit of systemd, a Dockerfile."""

from __future__ import annotations

import getpass
import json
import os
import sys
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from string import Template

import click

from belayed.application import DJANGO
from belayed.cli.app import Place, options
from belayed.cli.installing import install
from belayed.cli.show import echo, note, program
from belayed.errors import BelayedError, ConfigError
from belayed.files import only_files, opened

KINDS = {"procfile": "Procfile", "systemd": "belayed.service", "docker": "Dockerfile"}
"""The files by what they are for."""


@click.command()
@click.argument("kinds", metavar="[procfile|systemd|docker]...", nargs=-1, type=click.Choice(list(KINDS)))
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.option("--print", "printed", is_flag=True, help="Print them, write nothing.")
@options
@click.pass_obj
def init(place: Place, kinds: tuple[str, ...], force: bool, printed: bool) -> None:
    """Write a Procfile, a systemd unit, a Dockerfile.

    They start workers of this application. All three, or those named, go into this directory; what is there already is
    left alone, without --force.
    """
    application = place.application()
    name = application.name if application else None
    left = 0
    for kind in kinds or KINDS:
        path, text = Path(KINDS[kind]), filled(kind, name or "app", place)
        if printed:
            echo(f"# {path}\n{text}")
        elif os.path.lexists(path) and not force:
            left += 1
            note(
                f"{path} is there already, and was left alone: --force writes over it, --print shows what it would be."
            )
        else:
            write(path, text)
            echo(f"Wrote {path}.")
    if name is None:
        note(
            "No application is named: put yours where the files say `--app app`, "
            f"or see `{program()} --help` for --app."
        )
    if left:
        click.get_current_context().exit(1)


def filled(kind: str, application: str, place: Place) -> str:
    """The text of a file."""
    template = files("belayed.cli").joinpath("templates", KINDS[kind]).read_text("utf-8")
    words = command(application, here=kind == "systemd")
    if kind == "docker":
        lines = install(Path.cwd(), url_of(place), is_django=application == DJANGO)
        return Template(template).substitute(install=lines, command=json.dumps(words)[1:-1])
    folder = Path.cwd()
    project = folder.name if application == DJANGO else application
    return Template(template).substitute(project=project, folder=folder, user=user(), command=" ".join(words))


def command(application: str, *, here: bool) -> list[str]:
    """What starts a worker: with the programs' paths on this machine, if it is to run *here*."""
    programs = Path(sys.executable).parent
    belayed, python, env = (
        (str(programs / "belayed"), sys.executable, "/usr/bin/env") if here else ("belayed", "python", "env")
    )
    if application != DJANGO:
        return [belayed, "work", "--app", application]
    if Path("manage.py").is_file():
        return [python, "manage.py", "belayed", "work"]
    settings = f"DJANGO_SETTINGS_MODULE={os.environ.get('DJANGO_SETTINGS_MODULE', 'project.settings')}"
    return [env, settings, belayed, "work", "--app", application]


def user() -> str:
    """Who runs this; some containers have no name for them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def url_of(place: Place) -> str:
    """Where the application keeps its jobs, as far as can be known: it may be one that cannot be imported here."""
    with suppress(BelayedError):
        return str(place.jobs(create=True).url)
    return place.url or os.environ.get("BELAYED_URL") or os.environ.get("DATABASE_URL") or ""


def write(path: Path, text: str) -> None:
    try:
        # Only into a file: --force may meet a link that leads elsewhere.
        fd = opened(path, os.O_WRONLY | os.O_CREAT, 0o666, takes=only_files)
        os.ftruncate(fd, 0)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
