"""How things are shown: humane times, tables for people, JSON for programs. Rich is imported only to show a table."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import click

from belayed import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

STYLES = {
    "scheduled": "dim",
    "ready": "",
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "dim",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
}
"""The colours of states and of the results of checks."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


LONGEST = 1000
"""Characters of a text that is shown in one line."""


def one_line(text: object) -> str:
    """*text* in one line, and not all of a very long one; None is an empty one."""
    shown = printable.line(text)
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"


# Times and numbers.

UNITS = (("day", 86400), ("h", 3600), ("min", 60), ("s", 1))


def span(time: timedelta) -> str:
    """A time for people, in its largest unit: `3 min`, `2 days`; below ten seconds more exactly: `1.2 s`, `40 ms`."""
    seconds = max(0.0, time.total_seconds())
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return rough(time)


def rough(time: timedelta, *, rest: float = 0.0) -> str:
    """A time for people, in its largest unit: `0 s`, `3 min`, `2 days`. *rest* is the part of a unit to be added."""
    seconds = max(0.0, time.total_seconds())
    # Up to two of a unit are told in the next smaller one: 90 min says more than 1 h.
    unit, size = next(((unit, size) for unit, size in UNITS if seconds >= 2 * size), UNITS[-1])
    return f"{int(seconds / size + rest)} {unit}{'s' if unit == 'day' else ''}"


def ago(time: datetime | None, now: datetime) -> str:
    """When it was or will be: `3 min ago`, `in 2 h`."""
    if time is None:
        return ""
    # What was is told in whole units that have passed; what will be is told to the nearest.
    return f"{rough(now - time)} ago" if time <= now else f"in {rough(time - now, rest=0.5)}"


def instant(time: datetime | None) -> str:
    """A point in time for people, in UTC."""
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(time: datetime | None) -> str | None:
    """A point in time for programs."""
    return None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def seconds(time: timedelta | None) -> float | None:
    return None if time is None else time.total_seconds()


def number(count: int, most: int | None = None) -> str:
    """`1,234`; a count that was ended at *most* is `1,000,000+`."""
    return f"{count:,}{'+' if most is not None and count >= most else ''}"


def counted(count: int, noun: str) -> str:
    """`1 job`, `1,234 jobs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


# Output.


@runtime_checkable
class Called(Protocol):
    """What knows how this command was called."""

    def called(self, program: str) -> str: ...


COMMAND = re.compile("(^|`)belayed (?=[a-z])")
"""How the library begins to name a command."""


def program() -> str:
    """What command lines that mean the same jobs begin with, as they are to be copied.

    `belayed`, `python manage.py belayed`, or `belayed --app shop`, as this command was called.
    """
    context = click.get_current_context(silent=True)
    root = context.find_root() if context else None
    name = (root.info_name if root else None) or "belayed"
    return root.obj.called(name) if root and isinstance(root.obj, Called) else name


def as_called(text: str) -> str:
    """A text of the library, with its command lines as they are to be copied: it does not know how this was called."""
    return COMMAND.sub(lambda found: f"{found[1]}{program()} ", text)


def echo(text: str = "", *, err: bool = False) -> None:
    """Print *text*. Commands print by this and the functions below only: nothing passes that steers a terminal."""
    click.echo(printable.lines(text), err=err)


DEEPEST = 40
"""Levels of a value that are shown: whatever a row holds, to show it must not end the command."""


def shallow(value: Any, levels: int = DEEPEST) -> Any:
    """A JSON value, without what is nested too deeply to be shown, and with numbers that JSON has."""
    if isinstance(value, dict | list) and not levels:
        return "…"
    if isinstance(value, dict):
        return {key: shallow(one, levels - 1) for key, one in value.items()}
    if isinstance(value, list):
        return [shallow(one, levels - 1) for one in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def echo_json(value: Any) -> None:
    """Print *value* as JSON. Not all on one line: it is looked at too."""
    echo(printable.json_line(json.dumps(shallow(value), indent=2)))


def note(text: str) -> None:
    """Say something beside the result, which a pipe does not want."""
    echo(text, err=True)


def section(title: str, text: str) -> None:
    """Print a title, and *text* of any number of lines below it."""
    echo()
    click.secho(printable.line(title), bold=True)
    # By line feeds only: splitlines() would also split where printable writes something out.
    echo("\n".join(f"  {row}".rstrip() for row in printable.lines(text).split("\n")))


def pretty(value: Any) -> str:
    """A JSON value to read: what is short stays on one line."""
    return laid_out(shallow(value), "")


def laid_out(value: Any, indent: str) -> str:
    short = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(short) <= 90 or not isinstance(value, dict | list):
        return printable.lines(short)
    deeper = indent + "  "
    if isinstance(value, dict):
        items = [
            f"{printable.lines(json.dumps(key, ensure_ascii=False))}: {laid_out(one, deeper)}"
            for key, one in value.items()
        ]
    else:
        items = [laid_out(one, deeper) for one in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return f"{opened}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{closed}"


def interactive() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def styled(text: str, style: str | None = None) -> Text:
    """*text* in the colour of its meaning, never read as markup."""
    from rich.text import Text

    return Text(printable.lines(text), style=STYLES.get(text, "") if style is None else style)


GAP = 3
NARROWEST = 12
"""Columns are cut to no less."""


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, elastic: Sequence[str] = ()) -> None:
    """Print a table. A column whose title begins with `>` holds numbers.

    Where the terminal is too narrow, the *elastic* columns are cut, one after the other.
    """
    from rich.table import Table

    titles = [column.removeprefix(">") for column in columns]
    cells = [[styled(one_line(cell)) if isinstance(cell, str) else cell.copy() for cell in row] for row in rows]
    widths = [max(len(title), *(row[nth].cell_len for row in cells)) for nth, title in enumerate(titles)]
    screen = console()
    excess = sum(widths) + GAP * (len(widths) - 1) - screen.width
    for nth in [titles.index(title) for title in elastic if title in titles]:
        cut = max(0, min(excess, widths[nth] - NARROWEST))
        excess -= cut
        for row in cells:
            row[nth].truncate(widths[nth] - cut, overflow="ellipsis")
    made = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for title, column in zip(titles, columns, strict=True):
        made.add_column(title, justify="right" if column.startswith(">") else "left", no_wrap=True)
    for row in cells:
        made.add_row(*row)
    show(screen, made)


def grid(rows: Iterable[Sequence[str | Text]]) -> None:
    """Print rows whose last cell is text, which may be long and of several lines."""
    from rich.table import Table

    made = Table.grid(padding=(0, GAP, 0, 0))
    for row in rows:
        while len(made.columns) < len(row):
            made.add_column(no_wrap=len(made.columns) < len(row) - 1, overflow="fold")
        made.add_row(*(styled(cell, "") if isinstance(cell, str) else cell for cell in row))
    show(console(), made)


def console() -> Console:
    """The terminal; or what is plain, and as wide as it needs to be, where there is none."""
    from rich.console import Console

    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    found = Console(**plain)
    return found if found.is_terminal else Console(width=10_000, no_color=True, **plain)


def show(screen: Console, what: Table) -> None:
    with screen.capture() as capture:
        screen.print(what)
    # Rich pads each line to the width of its table.
    for text in capture.get().split("\n")[:-1]:
        click.echo(text.rstrip(), color=screen.is_terminal)
