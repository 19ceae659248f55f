"""The tables of jobs, by the same numbered SQL as `belayed migrate`."""

from __future__ import annotations

from django.db import migrations, models

from belayed.django.conf import table
from belayed.django.models import Moment
from belayed.django.schema import Tables

COLUMNS = [
    ("id", models.BigIntegerField(primary_key=True, serialize=False)),
    ("state", models.TextField()),
    ("queue", models.TextField()),
    ("task", models.TextField()),
    ("priority", models.IntegerField()),
    ("run_at", Moment()),
    ("created_at", Moment()),
    ("claimed_at", Moment(null=True)),
    ("attempt", models.IntegerField()),
    ("failures", models.IntegerField()),
    ("crashes", models.IntegerField()),
    ("rescues", models.IntegerField()),
    ("max_attempts", models.IntegerField(null=True)),
    ("max_run_time", models.FloatField(null=True)),
    ("worker", models.TextField(null=True)),
    ("error", models.TextField(null=True)),
    ("meta", models.TextField(null=True)),
]


class Migration(migrations.Migration):
    initial = True
    dependencies: list[tuple[str, str]] = []
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[Tables(1)],
            state_operations=[
                migrations.CreateModel(
                    name="LiveJob",
                    fields=[*COLUMNS, ("payload", models.TextField())],
                    options={
                        "verbose_name": "job",
                        "db_table": table("belayed_jobs"),
                        "permissions": (("change_job", "Can retry, cancel and run jobs"),),
                        "default_permissions": ("view", "delete"),
                    },
                ),
                migrations.CreateModel(
                    name="EndedJob",
                    fields=[
                        *COLUMNS,
                        ("payload", models.TextField(null=True)),
                        ("finished_at", Moment()),
                        ("seconds", models.FloatField(null=True)),
                        ("result", models.TextField(null=True)),
                    ],
                    options={
                        "verbose_name": "ended job",
                        "db_table": table("belayed_history"),
                        "default_permissions": ("view", "delete"),
                    },
                ),
                migrations.CreateModel(
                    name="FailedAttempt",
                    fields=[
                        ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                        ("job_id", models.BigIntegerField()),
                        ("number", models.IntegerField()),
                        ("started_at", Moment(null=True)),
                        ("ended_at", Moment()),
                        ("outcome", models.TextField()),
                        ("worker", models.TextField(null=True)),
                        ("error_type", models.TextField(null=True)),
                        ("message", models.TextField(null=True)),
                        ("traceback", models.TextField(null=True)),
                    ],
                    options={"db_table": table("belayed_attempts"), "default_permissions": ()},
                ),
                migrations.CreateModel(
                    name="RunningWorker",
                    fields=[
                        ("id", models.TextField(primary_key=True, serialize=False)),
                        ("name", models.TextField()),
                        ("host", models.TextField()),
                        ("pid", models.IntegerField()),
                        ("beat_at", Moment()),
                    ],
                    options={"db_table": table("belayed_workers"), "default_permissions": ()},
                ),
                migrations.CreateModel(
                    name="PausedQueue",
                    fields=[
                        ("name", models.TextField(primary_key=True, serialize=False)),
                        ("paused_at", Moment(null=True)),
                    ],
                    options={"db_table": table("belayed_queues"), "default_permissions": ()},
                ),
            ],
        )
    ]
