"""An application that looks at each log record as error trackers do: for workers in processes of their own."""

from __future__ import annotations

import json
import logging
import os
import traceback
from typing import Any

from belayed import Fail, Retry, task
from tests.worker.tasks import note


class Tracker(logging.Handler):
    """Writes down what an error tracker groups by."""

    def emit(self, record: logging.LogRecord) -> None:
        raised = record.exc_info[1] if record.exc_info else None
        found: dict[str, Any] = {
            "level": record.levelname,
            "template": record.msg,
            "job": getattr(record, "job_id", None),
            "type": type(raised).__name__ if raised is not None else None,
            "same": raised is not None and raised in raising,
            "calls": [],
            "pid": record.process,
        }
        if record.exc_info:
            found["calls"] = [[one.name, one.line] for one in traceback.extract_tb(record.exc_info[2])]
        note.function(os.environ["TRACKED"], json.dumps(found))


raising: list[BaseException] = []
logging.getLogger().addHandler(Tracker())
logging.getLogger().addHandler(logging.StreamHandler())


class Declined(Exception):
    pass


def deep(what: str) -> None:
    error: Exception
    if what == "fail":
        error = Fail("by itself")
    elif what == "retry":
        error = Retry("again")
    else:
        error = Declined(what)
    raising.append(error)
    raise error


@task
def raises(what: str) -> None:
    deep(what)


@task
async def araises(what: str) -> None:
    deep(what)


@task
def dies() -> None:
    os._exit(3)
