"""The tables of jobs as models, for the admin and for queries of one's own. They are read; Belayed writes them.

Django takes them for its own, so that it empties them between tests; the SQL that makes them is Belayed's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import models

from belayed.claim import micros, moment
from belayed.django.conf import table
from belayed.store.reading import micros_of


class Moment(models.DateTimeField):
    """A time. On SQLite the tables have microseconds since 1970."""

    def get_db_converters(self, connection: Any) -> list[Any]:
        # Not Django's own for SQLite, which reads texts.
        own = [from_microseconds] if connection.vendor == "sqlite" else super().get_db_converters(connection)
        return [*own, within_all_zones]

    def get_internal_type(self) -> str:
        return "BelayedMoment"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        value = self.get_prep_value(value) if not prepared else value
        if connection.vendor == "sqlite" and isinstance(value, datetime):
            return micros(value)
        return value


FIRST, LAST = datetime(1, 1, 3, tzinfo=UTC), datetime(9999, 12, 29, tzinfo=UTC)


def within_all_zones(value: Any, _expression: Any, _connection: Any) -> datetime | None:
    """A time that can be shown in any time zone: at the ends of the calendar some have none."""
    return value if value is None else min(max(value, FIRST), LAST)


def from_microseconds(value: Any, _expression: Any, _connection: Any) -> datetime | None:
    return None if value is None else moment(micros_of(value))


class Columns(models.Model):
    """What live and ended jobs have alike."""

    id = models.BigIntegerField(primary_key=True)
    state = models.TextField()
    queue = models.TextField()
    task = models.TextField()
    priority = models.IntegerField()
    run_at = Moment()
    created_at = Moment()
    claimed_at = Moment(null=True)
    attempt = models.IntegerField()
    failures = models.IntegerField()
    crashes = models.IntegerField()
    rescues = models.IntegerField()
    max_attempts = models.IntegerField(null=True)
    max_run_time = models.FloatField(null=True)
    worker = models.TextField(null=True)
    error = models.TextField(null=True)
    meta = models.TextField(null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.task} #{self.id}"


class LiveJob(Columns):
    """A job that is scheduled, ready or running."""

    payload = models.TextField()

    class Meta:
        db_table = table("belayed_jobs")
        verbose_name = "job"
        permissions = (("change_job", "Can retry, cancel and run jobs"),)
        default_permissions = ("view", "delete")


class EndedJob(Columns):
    """A job that has succeeded, failed or been cancelled."""

    payload = models.TextField(null=True)
    finished_at = Moment()
    seconds = models.FloatField(null=True)
    result = models.TextField(null=True)

    class Meta:
        db_table = table("belayed_history")
        verbose_name = "ended job"
        default_permissions = ("view", "delete")


class FailedAttempt(models.Model):
    """An attempt that did not succeed."""

    id = models.BigIntegerField(primary_key=True)
    job_id = models.BigIntegerField()
    number = models.IntegerField()
    started_at = Moment(null=True)
    ended_at = Moment()
    outcome = models.TextField()
    worker = models.TextField(null=True)
    error_type = models.TextField(null=True)
    message = models.TextField(null=True)
    traceback = models.TextField(null=True)

    class Meta:
        db_table = table("belayed_attempts")
        default_permissions = ()


class RunningWorker(models.Model):
    """A worker."""

    id = models.TextField(primary_key=True)
    name = models.TextField()
    host = models.TextField()
    pid = models.IntegerField()
    beat_at = Moment()

    class Meta:
        db_table = table("belayed_workers")
        default_permissions = ()


class PausedQueue(models.Model):
    """A queue that is, or was, paused."""

    name = models.TextField(primary_key=True)
    paused_at = Moment(null=True)

    class Meta:
        db_table = table("belayed_queues")
        default_permissions = ()
