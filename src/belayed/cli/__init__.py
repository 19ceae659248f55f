"""The command line: the group of all commands, and how errors end it."""

from __future__ import annotations

import io
import sys
from typing import Any

import click

import belayed
from belayed import printable
from belayed.addresses import without_secrets
from belayed.application import InLines
from belayed.cli.app import Place, options
from belayed.cli.change import cancel, clear, delete, retry
from belayed.cli.check import check
from belayed.cli.completion import completion
from belayed.cli.daemon import restart, start, stop
from belayed.cli.doctor import doctor
from belayed.cli.init import init
from belayed.cli.jobs import jobs
from belayed.cli.meant import explained
from belayed.cli.migrate import migrate
from belayed.cli.show import as_called, note, one_line, program
from belayed.cli.status import pause, resume, status
from belayed.cli.work import work, workoff
from belayed.errors import BelayedError, ConfigError, OptionError, SchemaMissing, SchemaNewer, StoreUnavailable

__all__ = ["main"]

INTERRUPTED = 130


class Commands(click.Group):
    """The group: every error of Belayed becomes a line or two on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BelayedError as error:
            raise shown(error) from error
        except click.ClickException as error:
            if isinstance(error, click.UsageError):
                explained(error)
            # It may name what is in a row or a file, or a URL that was given in a wrong place.
            error.message = printable.lines(without_secrets(error.message))  # type: ignore[misc]
            raise
        except (KeyboardInterrupt, click.Abort):
            note("")
            raise click.exceptions.Exit(INTERRUPTED) from None

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*args, **options)
        except click.UsageError as error:
            explained(error)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        # In the order of use, not of the alphabet.
        return list(self.commands)


class WrongUse(click.ClickException):
    """The command line or the configuration is wrong."""

    exit_code = 2


class Unavailable(click.ClickException):
    """The database is not available."""

    exit_code = 3


def shown(error: BelayedError) -> click.ClickException:
    """*error* as click shows it, with its exit code."""
    if isinstance(error, InLines):
        return WrongUse(printable.lines(str(error)))
    text = without_secrets(as_called(one_line(error)))
    if isinstance(error, StoreUnavailable):
        return Unavailable(
            f"{text}\nIs it the right one? `{program()} doctor` looks closer; --url or BELAYED_URL names another."
        )
    if isinstance(error, ConfigError | OptionError | SchemaMissing | SchemaNewer):
        return WrongUse(text)
    return click.ClickException(text)


@click.group(
    "belayed",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Exit codes:
  0    fine
  1    something did not succeed: no such job, a failed check
  2    wrong use or configuration
  3    the database is not available
  130  interrupted (Ctrl-C)""",
)
@click.version_option(belayed.__version__, "-V", "--version", message="belayed %(version)s")
@options
@click.pass_context
def main(ctx: click.Context) -> None:
    """Background jobs in the database the application already has."""
    for stream in (sys.stdout, sys.stderr):
        # What a job was given may hold characters that this terminal has not.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    ctx.ensure_object(Place)


for command in (
    work, workoff, start, stop, restart, status, jobs, retry, cancel, delete, clear, pause, resume, migrate, doctor,
    check, init, completion,
):  # fmt: skip
    main.add_command(command)
