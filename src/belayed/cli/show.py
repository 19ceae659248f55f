"""How things are shown: humane times, tables for people, JSON for programs. Rich is imported only to show a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
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

# What a job was given may hold sequences that steer a terminal.
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def safe(text: str) -> str:
    """*text* with its control characters written out."""
    return text.translate(CONTROLS)


def line(text: str | None) -> str:
    """*text* in one line."""
    return safe(" ".join((text or "").split()))


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


def rough(time: timedelta) -> str:
    """A time for people, in its largest unit: `0 s`, `3 min`, `2 days`."""
    seconds = max(0.0, time.total_seconds())
    # Up to two of a unit are told in the next smaller one: 90 min says more than 1 h.
    unit, size = next(((unit, size) for unit, size in UNITS if seconds >= 2 * size), UNITS[-1])
    return f"{seconds / size:.0f} {unit}{'s' if unit == 'day' else ''}"


def ago(time: datetime | None, now: datetime) -> str:
    """When it was or will be: `3 min ago`, `in 2 h`."""
    if time is None:
        return ""
    return f"{rough(now - time)} ago" if time <= now else f"in {rough(time - now)}"


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


def counted(count: int, noun: str = "job") -> str:
    """`1 job`, `1,234 jobs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


# Output.


def echo_json(value: Any) -> None:
    """Print *value* as JSON. Not all on one line: it is looked at too."""
    click.echo(json.dumps(value, indent=2))


def note(text: str) -> None:
    """Say something beside the result, which a pipe does not want."""
    click.echo(text, err=True)


def pretty(value: Any) -> str:
    """A JSON value to read: on one line if that is short."""
    short = json.dumps(value, ensure_ascii=False)
    return safe(short if len(short) <= 90 else json.dumps(value, ensure_ascii=False, indent=2))


def interactive() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def styled(text: str, style: str | None = None) -> Text:
    """*text* in the colour of its meaning, never read as markup."""
    from rich.text import Text

    return Text(safe(text), style=STYLES.get(text, "") if style is None else style)


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, elastic: Sequence[str] = ()) -> None:
    """Print a table. A column whose title begins with `>` holds numbers; *elastic* ones are cut where it is narrow."""
    from rich.table import Table

    made = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        title = column.removeprefix(">")
        made.add_column(
            title,
            justify="right" if column.startswith(">") else "left",
            no_wrap=True,
            overflow="ellipsis",
            # Only elastic columns may give way.
            min_width=None if title in elastic else max([len(title), *(len(row[len(made.columns)]) for row in rows)]),
        )
    for row in rows:
        made.add_row(*(styled(cell) if isinstance(cell, str) else cell for cell in row))
    show(lambda console: console.print(made))


def pairs(rows: Mapping[str, str | Text]) -> None:
    """Print what a thing is, a line for each of its properties that has a value."""
    from rich.table import Table

    made = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, show_header=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for title, value in rows.items():
        if value:
            made.add_row(title, styled(value, "") if isinstance(value, str) else value)
    show(lambda console: console.print(made))


def show(draw: Callable[[Console], None]) -> None:
    """Print what *draw* prints on a console: plain and as wide as it is where there is no terminal."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(width=10_000, no_color=True, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        draw(console)
    # Rich pads each line to the width of its table.
    for text in capture.get().splitlines():
        click.echo(text.rstrip(), color=console.is_terminal)
