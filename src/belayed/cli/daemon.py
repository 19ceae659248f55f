"""`start`, `stop` and `restart`: a worker in the background of this machine, found by its PID file."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from belayed.cli.app import Place, options
from belayed.cli.handing import HANDED, leave_out_url, without
from belayed.cli.pidfile import asked, holder, send
from belayed.cli.show import echo, echo_json, note, program, rough
from belayed.cli.times import time as duration
from belayed.cli.working import FILE, chosen, identifier, working
from belayed.config import nearest_project
from belayed.errors import ConfigError
from belayed.worker.health import check_address
from belayed.worker.output import opened_log
from belayed.worker.starting import MADE, check_tables

F = TypeVar("F", bound=Callable[..., Any])

POLL = 0.05
"""Seconds between two looks at a process."""
LAST_BYTES = 1 << 16
LAST_LINES = 20
"""So many lines of the log are shown when a worker does not start."""
RAW = "belayed.raw"
"""Where the words of the command line are kept."""
NOT_RUNNING = 3
"""The exit code of `status --local` without a worker: as the Linux Standard Base has it."""


class Worded(click.Command):
    """A command that remembers the words it was given, to hand them on."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[RAW] = list(args)
        return super().parse_args(ctx, args)


def home() -> Path:
    """Where PID files and logs are kept: beside the nearest pyproject.toml, or here."""
    project = nearest_project()
    return project.parent if project else Path.cwd()


def pid_path(pid_file: Path | None, ident: str | None) -> Path:
    """The PID file of a worker in the background."""
    return pid_file or home() / f"belayed{f'.{ident}' if ident else ''}.pid"


def which(command: F) -> F:
    """The options that say which worker of this machine is meant."""
    for option in (
        options,
        click.option("--pid-file", type=FILE, metavar="FILE", help="Its PID file."),
        click.option("--identifier", "-i", type=identifier, metavar="ID", help="The one that was started with this."),
    ):
        command = option(command)
    return command


WAIT = click.option(
    "--wait", "patience", type=duration, metavar="TIME", default="60s", help="How long a start may take. Default: 60 s."
)


@click.command(cls=Worded)
@WAIT
@click.option("--exit-on-complete", is_flag=True, default=None, help="End when no job is ready.")
@working
@click.pass_context
def start(ctx: click.Context, /, patience: timedelta, **given: Any) -> None:
    """Start a worker in the background.

    It returns when the worker is ready, and takes the options of `work`. The log goes to belayed.log and the process id
    to belayed.pid, beside the nearest pyproject.toml (or in this directory); with --identifier ID to belayed.ID.log and
    belayed.ID.pid.
    """
    place = ctx.ensure_object(Place)
    leave_out_url(place.url)
    ident = given["identifier"]
    path = pid_path(given["pid_file"], ident)
    if (pid := holder(path)) is not None:
        raise click.ClickException(f"a worker runs already: process {pid} has {path}; `{program()} stop` ends it")
    log = prepared(given, path)
    pid = started(words(ctx, path, log), place.url, log, patience)
    if pid is None:
        echo(f"The worker has run what there was, and has ended. Its log is {log}.")
    else:
        echo(f"Started: process {pid}. Its log is {log}, its PID file {path}.")


@click.command()
@which
@click.option("--now", is_flag=True, help="Do not let running jobs finish: they are run again later.")
@click.option(
    "--wait", "patience", type=duration, metavar="TIME", help="How long to wait. Default: until it has ended."
)
def stop(pid_file: Path | None, identifier: str | None, now: bool, patience: timedelta | None) -> None:
    """Stop a worker in the background.

    It returns when the worker has ended: running jobs may finish within the grace that it was started with. It is never
    killed.
    """
    path = pid_path(pid_file, identifier)
    if not stopped(path, now, patience):
        echo(f"No worker is running ({path} is not locked).")


@click.command(cls=Worded)
@WAIT
@click.option("--exit-on-complete", is_flag=True, default=None, help="End when no job is ready.")
@working
@click.pass_context
def restart(ctx: click.Context, /, **given: Any) -> None:
    """Stop a worker in the background, and start it anew.

    First it imports the application and looks at the database: if either is wrong, the worker that runs is left alone.
    If there is none, it is started. The options are not remembered from the last start: give them again.
    """
    place = ctx.ensure_object(Place)
    leave_out_url(place.url)
    path = pid_path(given["pid_file"], given["identifier"])
    opened(prepared(given, path)).close()
    check_tables(place.jobs(create=True))
    if not stopped(path, False, None):
        echo(f"No worker is running ({path} is not locked). Starting one.")
    ctx.invoke(start, **given)


def prepared(given: dict[str, Any], path: Path) -> Path:
    """The log of a worker with these options, whose folders are there.

    Raises ConfigError or UsageError for what no worker takes: before anything is stopped or started.
    """
    told = chosen({name: value for name, value in given.items() if name not in ("patience", "exit_on_complete")})
    if (health := told.configs[0].health) is not None:
        check_address(health)
    log: Path = given["log_file"] or path.with_suffix(".log")
    if log.absolute() == path.absolute():
        raise click.UsageError(f"the log and the process id cannot be in one file, {path}: name another by --log-file")
    for file in (path, log):
        made(file.parent)
    return log


def local_status(path: Path, as_json: bool) -> None:
    """Say whether a worker of this machine runs; exit with 3 if not."""
    pid = holder(path)
    if as_json:
        echo_json({"running": pid is not None, "pid": pid, "pid_file": str(path)})
    else:
        echo(f"No worker is running ({path} is not locked)." if pid is None else f"Running: process {pid} has {path}.")
    if pid is None:
        click.get_current_context().exit(NOT_RUNNING)


def words(ctx: click.Context, path: Path, log: Path) -> list[str]:
    """The command line of the worker: the words of this one, and where its files are. The URL is handed over."""
    raw, _ = without(without(ctx.meta[RAW], "--wait")[0], "--url")
    # It may have been said before the command's name, and so not be among its words.
    app = ctx.ensure_object(Place).app
    said = ["--app", app] if app is not None and "--app" not in raw else []
    return [sys.executable, "-m", "belayed", *said, "work", *raw, "--pid-file", str(path), "--log-file", str(log)]


def started(command: list[str], url: str | None, log: Path, patience: timedelta) -> int | None:
    """Start it, detached, and wait until it says that it is ready; its process id, or None if it has ended well.

    Raises ClickException.
    """
    with listening() as (address, said), opened(log) as file:
        begun = os.fstat(file.fileno()).st_size
        environ = {name: value for name, value in os.environ.items() if name != "WATCHDOG_USEC"}
        process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**environ, "NOTIFY_SOCKET": address, **({} if url is None else {HANDED: url})},
        )
        deadline = time.monotonic() + patience.total_seconds()
        while time.monotonic() < deadline:
            if said("READY=1"):
                for line in written(log, file, begun).decode("utf-8", "replace").splitlines():
                    if MADE.split("%s")[1] in line:
                        note(line)
                # It goes on without us: nobody is to wait for it.
                process.returncode = 0
                return process.pid
            if process.poll() == 0:
                return None
            if process.poll() is not None:
                code = process.returncode
                raise not_started(f"the worker ended with exit code {code}", log, file, begun, max(1, code))
        process.terminate()
        raise not_started(f"the worker was not ready within {rough(patience)}, and was stopped", log, file, begun)


class NotStarted(click.ClickException):
    """It ends with the exit code of the worker that did not start."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        return self.code


def not_started(what: str, log: Path, file: IO[bytes], begun: int, code: int = 1) -> click.ClickException:
    """The error of a start, with what the worker has logged, and its exit code."""
    lines = written(log, file, begun).decode("utf-8", "replace").splitlines()[-LAST_LINES:]
    if not lines:
        # A full disk takes no log, and a pipe or a terminal shows none.
        return NotStarted(
            f"{what}; it wrote nothing to {log} that can be read here: `{program()} work` shows why", code
        )
    return NotStarted("\n".join([f"{what}; {log} says:", *(f"  {line}" for line in lines)]), code)


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, Callable[[str], bool]]]:
    """A socket to which the worker says how it is; and a function that waits a little for it to say something."""
    with (
        # Not in TMPDIR, which may be too long for a socket's address.
        tempfile.TemporaryDirectory(prefix="belayed-", dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        address = f"{folder}/notify"
        sock.bind(address)
        sock.settimeout(POLL)

        def said(text: str) -> bool:
            try:
                return text in sock.recv(4096).decode("utf-8", "replace").splitlines()
            except TimeoutError:
                return False

        yield address, said


def written(log: Path, file: IO[bytes], begun: int) -> bytes:
    """What has been written to the log since it was of the size *begun*, or the last of it."""
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return b""
    with log.open("rb") as reading:
        if not os.path.samestat(os.fstat(reading.fileno()), os.fstat(file.fileno())):
            return b""
        reading.seek(max(begun, os.fstat(reading.fileno()).st_size - LAST_BYTES))
        return reading.read(LAST_BYTES)


def opened(log: Path) -> IO[bytes]:
    """The log, to write at its end. Raises ConfigError."""
    try:
        return os.fdopen(opened_log(log), "ab")
    except OSError as error:
        raise ConfigError(f"the log file {log} cannot be written: {error.strerror}") from error


def stopped(path: Path, now: bool, patience: timedelta | None) -> bool:
    """Stop the worker that has the PID file, if there is one. Raises ClickException if it does not end."""
    pid = holder(path)
    if pid is None:
        return False
    # A second signal stops what runs at once: of another kind, as two of one at once would be one.
    signals = [*(() if asked(path, pid) else (signal.SIGTERM,)), *((signal.SIGINT,) if now else ())]
    try:
        send(path, pid, signals)
    except PermissionError:
        raise click.ClickException(f"process {pid} is another user's: stop it as that user, or as root") from None
    note(f"Stopping process {pid} …")
    deadline = float("inf") if patience is None else time.monotonic() + patience.total_seconds()
    while holder(path) == pid:
        if time.monotonic() > deadline:
            raise click.ClickException(
                f"process {pid} was asked to end, but still runs jobs: wait, or stop them by `{program()} stop --now`"
            )
        time.sleep(POLL)
    echo(f"Stopped: process {pid} has ended.")
    return True


def made(folder: Path) -> None:
    """Make a directory that is not there. Raises ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the directory {folder} cannot be made: {error.strerror}") from error
