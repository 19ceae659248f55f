"""The logger of Belayed, and the last words of a process: neither can raise, whatever an application does to logging.

A filter, a handler or a formatter of the application's may raise, and a job may close `sys.stderr`. A job's outcome, a
slot and a worker must not depend on that.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
import traceback
from typing import Any, Protocol

from belayed.errors import AttemptStopped
from belayed.forking import at_fork

COMPLAIN_EVERY = 10.0
"""Seconds between two complaints that a line could not be logged."""
PIECE = 4000
"""Bytes that a pipe takes without blocking, when it takes any."""


class Lines(Protocol):
    """What takes lines to be logged later."""

    def put(self, record: logging.LogRecord) -> None: ...


class NeverDisabled(logging.Logger):
    """A logger that `dictConfig` and `fileConfig` leave on: by default they disable all that they do not name.

    Then a failed job's error would be in no log at all. Who wants no lines sets the level.
    """

    @property
    def disabled(self) -> bool:
        return False

    @disabled.setter
    def disabled(self, _value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Nothing can."""


class SafeLog:
    """The logger `belayed`. A call whose filters, handlers or formatters raise does nothing but complain on stderr."""

    def __init__(self, logger: logging.Logger) -> None:
        logger.__class__ = NeverDisabled
        vars(logger).pop("disabled", None)
        self.logger = logger
        self.isEnabledFor = logger.isEnabledFor
        self.complained_at = float("-inf")
        self.asides: dict[int, Lines] = {}
        """Takes the lines of threads that must not wait for handlers, by their ids."""
        # The threads that log them are not in the copy.
        at_fork(in_child=self.asides.clear)

    def debug(self, text: str, *args: Any, **given: Any) -> None:
        self.say(logging.DEBUG, text, args, given)

    def info(self, text: str, *args: Any, **given: Any) -> None:
        self.say(logging.INFO, text, args, given)

    def warning(self, text: str, *args: Any, **given: Any) -> None:
        self.say(logging.WARNING, text, args, given)

    def error(self, text: str, *args: Any, **given: Any) -> None:
        self.say(logging.ERROR, text, args, given)

    def exception(self, text: str, *args: Any, **given: Any) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        self.say(logging.ERROR, text, args, {"exc_info": True, **given})

    def say(self, level: int, text: str, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        try:
            trace = given.pop("exc_text", None)
            aside = self.asides.get(threading.get_ident()) if self.asides else None
            if aside is None and trace is None:
                # The caller of `info` is what a record is of.
                self.logger.log(level, text, *args, stacklevel=3, **given)
            elif self.logger.isEnabledFor(level):
                file, line, function, _ = self.logger.findCaller(False, 3)
                logger, raised = self.logger, given.get("exc_info")
                if raised is True:
                    raised = sys.exc_info()
                extra = given.get("extra")
                record = logger.makeRecord(logger.name, level, file, line, text, args, raised, function, extra)
                # Shown after the text, as that of an error is.
                record.exc_text = trace
                if aside is None:
                    logger.handle(record)
                else:
                    aside.put(record)
        except AttemptStopped:
            # A stop, sent to this thread while its job's hooks ran.
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise
            self.complain(error)

    def handle(self, record: logging.LogRecord) -> None:
        """Log a record that another thread has made. Raises nothing."""
        try:
            self.logger.handle(record)
        except BaseException as error:
            self.complain(error)

    def complain(self, error: BaseException) -> None:
        """Say on stderr that a line could not be logged. Raises nothing."""
        now = time.monotonic()
        if now - self.complained_at > COMPLAIN_EVERY:
            self.complained_at = now
            last_words.say(f"belayed: a log line was lost, as logging it raised {name_of(error)}; jobs go on")


class LastWords:
    """Stderr as it was when this process began to work: for lines that cannot be logged.

    A job may have closed file 2, which is then any other file: a database's, perhaps. So it is kept twice, and written
    to only while it is what it was.
    """

    def __init__(self) -> None:
        self.kept: tuple[int, os.stat_result] | None = None

    def keep(self) -> None:
        """Keep stderr as it is now, if it was not kept before."""
        if self.kept is None:
            try:
                fd = os.dup(2)
                self.kept = fd, os.fstat(fd)
            except OSError:
                pass

    def say(self, text: str) -> None:
        """Write a line, if that can be done at once. Raises nothing."""
        try:
            fd, stat = self.kept or (2, os.fstat(2))
            if os.path.samestat(os.fstat(fd), stat) and writable(fd):
                data = f"{text}\n".encode("utf-8", "backslashreplace")
                if len(data) > PIECE:
                    # What it is about, and the end of a traceback.
                    data = data[: PIECE // 4] + b"\n...\n" + data[-PIECE // 2 :]
                os.write(fd, data)
        except BaseException:  # noqa: S110 (there is nobody left to be told)
            pass


def writable(fd: int) -> bool:
    """Whether *fd* takes a few bytes without blocking."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(500))


def name_of(error: BaseException) -> str:
    """The name of an exception's class, whatever its metaclass does."""
    try:
        return str(type.__dict__["__name__"].__get__(type(error)))
    except BaseException:
        return "an exception"


def shown(error: BaseException) -> str:
    """An exception's traceback, or at least its name."""
    try:
        return "".join(traceback.format_exception(error)).rstrip()
    except BaseException:
        return name_of(error)


log = SafeLog(logging.getLogger("belayed"))
last_words = LastWords()
