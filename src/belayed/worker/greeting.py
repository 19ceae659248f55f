"""What a child says of the application to its supervisor, which imports none of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

from belayed.addresses import without_secrets
from belayed.config import as_plain
from belayed.errors import BelayedError
from belayed.results import storable
from belayed.worker.frames import Channel
from belayed.worker.loglike import Form
from belayed.worker.verdict import TRACEBACK_LIMIT


class Parameters:
    """How to connect to the application's database from a process that does not import the application."""

    def __init__(self, jobs: Any, before: Mapping[str, str]) -> None:
        """*before* was the environment before the application was imported: the supervisor's."""
        self.jobs = jobs
        # Now, before any job runs: one may set variables for a program that it calls.
        self.variables = {name: text for name, text in os.environ.items() if before.get(name) != text}

    def now(self) -> dict[str, Any]:
        """What a connection is to be opened with, for a frame. Raises ConfigError and StoreUnavailable."""
        one = self.jobs.connections.parameters(self.variables)
        return {"given": dict(one.given), "role": one.role, "commands": list(one.commands)}

    def first(self) -> dict[str, Any] | None:
        """The same for a hello; None: the URL says all, as long as this process lives."""
        connections = self.jobs.connections
        if self.jobs.source is None and connections.parameters(self.variables) == connections.source():
            return None
        return self.now()


def hello(jobs: Any, kinds: dict[str, bool], form: Form, parameters: dict[str, Any] | None) -> dict[str, Any]:
    """The settings, which tasks are coroutines, how it logs, and how to connect to the database."""
    # The parameters last: of a frame that is spoilt the beginning is logged.
    said = {"url": jobs.url, "config": as_plain(jobs.config), "kinds": kinds, "log": form._asdict()}
    return {**said, "parameters": parameters}


class Answering:
    """Answers how to connect, in a thread of its own: it may take a request to another server."""

    def __init__(self, channel: Channel, parameters: Parameters) -> None:
        self.channel, self.parameters = channel, parameters

    def answer(self) -> None:
        """Begin to answer. Where there is no thread for it, the supervisor does without."""
        try:
            threading.Thread(target=self.work, name="belayed-parameters", daemon=True).start()
        except RuntimeError:
            self.channel.send("parameters", "there is no thread for it")

    def work(self) -> None:
        try:
            said: Any = self.parameters.now()
        except Exception as error:
            said = said_of(error)
        self.channel.send("parameters", said)


def said_of(error: Exception) -> str:
    """An error for the supervisor, without what may be a password."""
    text = str(error) if isinstance(error, BelayedError) else f"{type(error).__name__}: {error}"
    return storable(without_secrets(text), TRACEBACK_LIMIT)
