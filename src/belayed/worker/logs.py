"""The log of `belayed work`: lines for people, unless the application has set up logging itself."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from belayed import importing, printable
from belayed.results import storable
from belayed.worker.verdict import TRACEBACK_LIMIT

log = logging.getLogger("belayed")

SHORT = {"WARNING": "WARN", "CRITICAL": "FATAL"}
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
FIELDS = ("job_id", "task", "queue", "attempt", "outcome", "error_type", "seconds")
"""What a record of ours may have beside its text."""


def say_to_log(
    level: str | None, handler: logging.Handler | None = None, *, format: str | None = None, always: bool = False
) -> None:
    """Log to stderr or to *handler*, unless the application has set up logging itself: then its handlers count.

    Lines about jobs are shown from INFO on, unless *level* or the application says otherwise of the logger `belayed`.
    *format* is `text`, for people, or `json`: if it is given, all that goes to the terminal has this form. If *always*,
    the handler gets Belayed's lines in any case.
    """
    root = logging.getLogger()
    handler = handler or logging.StreamHandler(sys.stderr)
    formatter = JsonLines() if format == "json" else Lines()
    handler.setFormatter(formatter)
    # A project of Django's configures single loggers. A NullHandler shows nothing: libraries give it to their loggers.
    configured = any(not isinstance(one, logging.NullHandler) for one in (*root.handlers, *log.handlers))
    if format is not None:
        for one in all_terminals():
            one.setFormatter(formatter)
    if configured and always:
        log.addHandler(handler)
    if not configured:
        handler.addFilter(unsaid)
        root.addHandler(handler)
        # Libraries at DEBUG would drown the rest.
        root.setLevel(max(LEVELS[level or "info"], logging.INFO))
    if level is not None or log.level == logging.NOTSET or always:
        log.setLevel(LEVELS[level or "info"])
    # The application was imported before.
    importing.warn()


def unsaid(record: logging.LogRecord) -> bool:
    """Whether no handler of the record's own logger, or of one above it, writes it to the terminal already."""
    of_root = logging.getLogger().handlers
    found = (one for one in terminals_of(logging.getLogger(record.name)) if one not in of_root)
    return not any(record.levelno >= one.level and one.filter(record) for one in found)


def terminals_of(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    """The handlers that write what this logger logs to the terminal."""
    while logger is not None:
        yield from filter(is_terminal, logger.handlers)
        logger = logger.parent if logger.propagate else None


def all_terminals() -> Iterator[logging.Handler]:
    """The handlers of any logger that write to the terminal."""
    root = logging.getLogger()
    for logger in (root, *root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield from filter(is_terminal, logger.handlers)


def is_terminal(handler: logging.Handler) -> bool:
    return isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stderr, sys.stdout)


class Formatter(logging.Formatter):
    """Shows of a very long traceback the beginning and the end, as the record of the attempt does."""

    def formatException(self, ei: Any) -> str:  # noqa: N802
        text = super().formatException(ei)
        return text if len(text) <= TRACEBACK_LIMIT else storable(text, TRACEBACK_LIMIT)


class Lines(Formatter):
    """`12:00:01.123 INFO  text`. All but the first line of a record is indented: no text can look like a record."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(short)-5s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return printable.record(super().format(record))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return f"{time.strftime('%H:%M:%S', self.converter(record.created))}.{int(record.msecs):03d}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.short = SHORT.get(record.levelname, record.levelname)
        return super().formatMessage(record)


class JsonLines(Formatter):
    """A JSON object on each line: `time`, `level`, `logger`, `message`, and what is known of the job."""

    def format(self, record: logging.LogRecord) -> str:
        found: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        found |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        found |= {"process": record.process, "thread": record.threadName}
        if record.exc_info:
            found["error"] = self.formatException(record.exc_info)
        elif record.exc_text:
            found["error"] = record.exc_text
        # In ASCII, and so in one line: what steers a terminal, or is no Unicode, is written out.
        return printable.json_line(json.dumps(found, default=str))
