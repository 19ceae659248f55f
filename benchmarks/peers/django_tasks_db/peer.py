"""django-tasks-db: the database backend of Django's tasks; one job at a time."""

from __future__ import annotations

import os
import time
from urllib.parse import parse_qs, urlsplit

import django
from django.conf import settings

from benchmarks.peers.peer import URL, WAIT, Peer, mark


def database(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": parts.username,
        "HOST": parse_qs(parts.query)["host"][0],
        # https://docs.djangoproject.com/en/5.2/ref/databases/#persistent-connections
        "CONN_MAX_AGE": None if os.environ.get("BENCHMARK_PERSISTENT") else 0,
    }


if not settings.configured:
    settings.configure(
        DATABASES={"default": database(os.environ[URL])},
        INSTALLED_APPS=["django_tasks", "django_tasks_db"],
        TASKS={"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}},
        USE_TZ=True,
    )
    django.setup()

from django.core.management import call_command, execute_from_command_line  # noqa: E402 (wants the settings)
from django.db import connection, transaction  # noqa: E402
from django_tasks import task  # noqa: E402


@task()
def noop(number: int) -> None:
    mark(number)


@task()
def wait(number: int) -> None:
    mark(number)
    time.sleep(WAIT)


class Measured(Peer):
    packages = ("django-tasks-db", "django-tasks", "Django", "psycopg")

    async def setup(self) -> None:
        call_command("migrate", verbosity=0)
        connection.close()

    async def open(self) -> None:
        self.task = globals()[self.job]

    async def close(self) -> None:
        connection.close()

    async def enqueue(self, number: int) -> None:
        self.task.enqueue(number)

    async def fill(self, numbers: range) -> None:
        with transaction.atomic():
            for number in numbers:
                self.task.enqueue(number)

    def work(self) -> None:
        arguments = ["manage.py", "db_worker", "--queue-name", self.queue, "--no-startup-delay"]
        if seconds := self.options.get("interval"):
            arguments += ["--interval", str(seconds)]
        execute_from_command_line(arguments)
