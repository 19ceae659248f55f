"""An application in which what is called at the end of an attempt hangs."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import belayed
from belayed import Job, Plugin, task
from belayed.worker import saying


class Reports(Plugin):
    """As one that sends errors to a service that does not answer."""

    def on_error(self, job: Job, error: BaseException) -> None:
        if "plugin" in str(error):
            hang()


jobs = belayed.configure(synchronous="normal", plugins=[Reports()])
saying.VERDICT = float(os.environ.get("VERDICT", saying.VERDICT))


def hang() -> None:
    threading.Event().wait()


class Unspeakable(Exception):
    def __str__(self) -> str:
        hang()
        return ""


def no_wait(failures: int) -> timedelta:
    hang()
    return timedelta()


def raises(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


def leaves_a_handler() -> None:
    handler = logging.Handler()
    handler.lock = None
    handler.emit = lambda record: hang() if "the hook" in record.getMessage() else None  # type: ignore[method-assign]
    logging.getLogger("belayed").addHandler(handler)
    raise ValueError("the log handler of a hook's error")


WAYS = {"plugin": raises(ValueError("for the plugin")), "text": raises(Unspeakable())}


@task(max_attempts=1)
def ends(way: str) -> None:
    WAYS[way]()


@task(max_attempts=1)
async def aends(way: str) -> None:
    WAYS[way]()


@task(max_attempts=2, backoff=no_wait)
def waits() -> None:
    raise ValueError("whose backoff hangs")


@dataclass
class Hooked:
    """A job whose hook hangs, or raises something that is logged by a handler that hangs."""

    handler: bool = False
    max_attempts = 1

    def perform(self) -> None:
        if self.handler:
            leaves_a_handler()
        raise ValueError("no")

    def failure(self, job: Job) -> None:
        if self.handler:
            raise KeyError
        hang()


@task
def double(number: int) -> int:
    return 2 * number


@task
async def adouble(number: int) -> Any:
    return 2 * number
