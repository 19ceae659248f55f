"""Django's connections in a worker: kept between jobs while they are of use, and left clean by each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connections, reset_queries
from django.db.backends.base.base import BaseDatabaseWrapper

from belayed.connections.leftovers import is_open
from belayed.job import Job
from belayed.plugin import Plugin
from belayed.safelog import log

IDLE = 60.0
"""Seconds without a job after which a thread's connections are closed: a server may have dropped them."""


class Upkeep(Plugin):
    """Before a job: close what cannot be used or was idle. After it: roll back what it has left open."""

    def __init__(self) -> None:
        self.used = threading.local()

    @contextmanager
    def around_attempt(self, job: Job) -> Iterator[None]:
        self.freshen()
        try:
            yield
        finally:
            for one in connections.all(initialized_only=True):
                cleaned(one, job)
            self.used.at = time.monotonic()

    def freshen(self) -> None:
        """Close the connections that are of no use, and forget the queries that DEBUG keeps."""
        idle = time.monotonic() - getattr(self.used, "at", 0.0) > IDLE
        for one in connections.all(initialized_only=True):
            if one.in_atomic_block:
                # A test's, around a job that runs in it.
                continue
            if idle or one.errors_occurred:
                one.close_if_unusable_or_obsolete()
            if idle:
                one.close()
        if settings.DEBUG:
            reset_queries()


def cleaned(one: BaseDatabaseWrapper, job: Job) -> None:
    """Roll back a transaction that a job has left open; its next user would write into it."""
    if one.connection is None or one.in_atomic_block or (one.get_autocommit() and not is_open(one.connection)):
        return
    log.warning("%s #%d left a transaction open on the database %r: it is rolled back", job.task, job.id, one.alias)
    try:
        # Not by Django's own, which does nothing where it knows of no transaction: a job may have begun it in SQL.
        one.connection.rollback()
        one.set_autocommit(True)
    except Exception:
        one.close()
