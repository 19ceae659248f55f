"""Has a supervisor log in the form of the application, which it does not import: a child tells it the form.

It can where the application's handler for the terminal has a formatter of the standard library's.
"""

from __future__ import annotations

import logging
import time
from typing import NamedTuple

from belayed import printable
from belayed.worker.logs import Formatter, log, say_to_log, terminals_of
from belayed.worker.output import OutputHandler

LONGEST = 1000
"""Characters of a form."""
STYLES: dict[type[object], str] = {
    logging.PercentStyle: "%",
    logging.StrFormatStyle: "{",
    logging.StringTemplateStyle: "$",
}


class Form(NamedTuple):
    """How an application logs, as far as a supervisor can do the same."""

    level: int = logging.NOTSET
    """Of the logger `belayed`, as the application has set it."""
    text: str | None = None
    """None: a formatter that is not known here."""
    dates: str | None = None
    style: str = "%"
    is_utc: bool = False


def log_of_child(level: str | None, format: str | None) -> Form:
    """Let this process log, in which the application is imported: in which form it has set up logging."""
    theirs = log.level
    say_to_log(level, format=format)
    for handler in terminals_of(log):
        found = handler.formatter or logging.Formatter()
        style = STYLES.get(type(found._style))  # noqa: SLF001
        text = found._style._fmt  # noqa: SLF001
        if type(found) is not logging.Formatter or style is None or len(text) > LONGEST:
            break
        return Form(theirs, text, found.datefmt, style, found.converter is time.gmtime)
    return Form(theirs)


def log_alike(form: Form, level: str | None, format: str | None) -> None:
    """Let a supervisor log in this form, but for the *level* and the *format* that it was given itself."""
    if level is None and form.level != logging.NOTSET:
        log.setLevel(form.level)
    if format is not None or form.text is None:
        return
    try:
        alike = Alike(form)
        # It may want what only a filter of the application's puts into a record.
        alike.format(logging.makeLogRecord({"name": "belayed", "levelname": "INFO", "msg": "a line"}))
    except Exception:
        return
    for handler in logging.getLogger().handlers:
        if isinstance(handler, OutputHandler):
            handler.setFormatter(alike)


class Alike(Formatter):
    """Formats as the application does; but no text can look like a record, nor steer a terminal."""

    def __init__(self, form: Form) -> None:
        super().__init__(form.text, form.dates, form.style)  # type: ignore[arg-type]
        if form.is_utc:
            self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        return printable.record(super().format(record))
