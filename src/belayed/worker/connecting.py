"""What a supervisor's connections are opened with. Its children say it: it has neither settings nor engines of its own.

A password may be good for minutes only, so a child is asked before each connection.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from belayed.connections.parameters import ConnectionParameters
from belayed.safelog import log
from belayed.worker.frames import BadFrame
from belayed.worker.handed import Child
from belayed.worker.heard import Hello, parameters_from, refusal_from

PATIENCE = 5.0
"""Seconds to wait for a child that can say it: a job may keep the interpreter's lock there."""


class Asked(Protocol):
    """Those that can be asked."""

    lock: threading.RLock
    alarm: Callable[[], None]
    list: list[Child]


class Said:
    """What children have said last; called for a connection, it asks them first."""

    def __init__(self, children: Asked) -> None:
        self.children = children
        self.news = threading.Condition()
        self.parameters: ConnectionParameters | None = None
        """None: the URL says all, and nobody is asked."""
        self.url = ""
        self.said_at = float("-inf")
        self.complaint: str | None = None
        self.listener = 0
        """The thread that takes in what children say: it cannot wait for it."""

    def __call__(self) -> ConnectionParameters:
        """What a connection is to be opened with now; what was said last, where no child answers in time."""
        asked_at = time.monotonic()
        if threading.get_ident() != self.listener and (asked := self.ask()):
            with self.news:
                self.news.wait_for(
                    lambda: self.said_at >= asked_at or not any(child.asked for child in asked), PATIENCE
                )
        assert self.parameters is not None, "the first child has said it in its hello"
        return self.parameters

    def ask(self) -> Sequence[Child]:
        """Ask the children that can say it: all of them, as some may be busy. Which those are."""
        with self.children.lock:
            asked = [child for child in self.children.list if child.can_say]
            for child in asked:
                child.asked = True
                child.process.send("parameters")
        self.children.alarm()
        return asked

    def greeted(self, child: Child, hello: Hello) -> None:
        """Take in what a child has said of the database in its hello, if that is the one that is worked in."""
        self.listener = threading.get_ident()
        if hello.parameters is None:
            return
        self.url = self.url or hello.config.url
        # The settings may have changed since the first one was started.
        if hello.config.url == self.url:
            child.knows_database = True
            self.take(hello.parameters)

    def heard(self, child: Child, body: Any) -> None:
        """Take in what a child answers: parameters, or why it cannot say them. Raises BadFrame."""
        if not child.asked:
            raise BadFrame("parameters that it was not asked for")
        why = refusal_from(body) if type(body) is str else None
        parameters = None if why is not None else parameters_from(body)
        child.asked = False
        if parameters is not None:
            self.take(parameters)
            return
        with self.news:
            self.news.notify_all()
        if why != self.complaint:
            self.complaint = why
            log.error("%s cannot say how to connect to the database, the last that was said is tried: %s", child, why)

    def take(self, parameters: ConnectionParameters) -> None:
        with self.news:
            self.parameters, self.said_at, self.complaint = parameters, time.monotonic(), None
            self.news.notify_all()
