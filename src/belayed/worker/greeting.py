"""What a child says of the application to its supervisor, which imports none of it."""

from __future__ import annotations

import threading
from typing import Any

from belayed.addresses import without_secrets
from belayed.config import as_plain
from belayed.connections.parameters import ConnectionParameters
from belayed.errors import BelayedError
from belayed.results import storable
from belayed.worker.frames import Channel
from belayed.worker.loglike import Form
from belayed.worker.verdict import TRACEBACK_LIMIT


def hello(jobs: Any, kinds: dict[str, bool], form: Form, parameters: Any) -> dict[str, Any]:
    """The settings, which tasks are coroutines, how it logs, and how to connect to the database."""
    # The parameters last: of a frame that is spoilt the beginning is logged.
    said = {"url": jobs.url, "config": as_plain(jobs.config), "kinds": kinds, "log": form._asdict()}
    return {**said, "parameters": parameters}


def parameters_of(jobs: Any) -> dict[str, Any] | None:
    """What a connection to the database is opened with now, for a frame; None: the URL says all."""
    return None if jobs.source is None else parameters_row(jobs.source())


def parameters_row(one: ConnectionParameters) -> dict[str, Any]:
    return {"given": dict(one.given), "role": one.role, "commands": list(one.commands)}


class Answering:
    """Answers how to connect, in a thread of its own: it may take a request to another server."""

    def __init__(self, jobs: Any, channel: Channel) -> None:
        self.jobs, self.channel = jobs, channel

    def answer(self) -> None:
        """Begin to answer. Where there is no thread for it, the supervisor does without."""
        try:
            threading.Thread(target=self.work, name="belayed-parameters", daemon=True).start()
        except RuntimeError:
            self.channel.send("parameters", "there is no thread for it")

    def work(self) -> None:
        try:
            said: Any = parameters_of(self.jobs)
        except Exception as error:
            said = said_of(error)
        self.channel.send("parameters", said)


def said_of(error: Exception) -> str:
    """An error for the supervisor, without what may be a password."""
    text = str(error) if isinstance(error, BelayedError) else f"{type(error).__name__}: {error}"
    return storable(without_secrets(text), TRACEBACK_LIMIT)
