"""Jobs of a project in a schema of their own."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from belayed.django.jobs import DjangoJobs

URL = os.environ.get("SITE_URL", "")
pytestmark = pytest.mark.skipif(not URL, reason="schemas are PostgreSQL's")
CODE = """
import json
from django.db import connection
from belayed.config import current
from belayed.django.models import LiveJob
from shop.tasks import greet
with connection.cursor() as cursor:
    cursor.execute("SET search_path = tenant")
greet.enqueue("ada"); greet.enqueue("bob")
with connection.cursor() as cursor:
    cursor.execute("SELECT schemaname, tablename FROM pg_tables WHERE tablename = 'belayed_jobs'")
    print(json.dumps([LiveJob.objects.filter(queue="default").count(), cursor.fetchall()]))
"""


@pytest.fixture
def other_url():
    """Another database on the same server."""
    name = f"{urlsplit(URL).path[1:]}_schemas"
    with psycopg.connect(URL, autocommit=True) as raw:
        raw.execute(f"CREATE DATABASE {name}".encode())
    url = urlunsplit(urlsplit(URL)._replace(path=f"/{name}"))
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("CREATE SCHEMA tenant")
    yield url
    with psycopg.connect(URL, autocommit=True) as raw:
        raw.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.django_db(databases=["default", "other"], transaction=True)
def test_each_way_to_complete_a_job_names_the_schema():
    jobs = DjangoJobs()
    before = jobs.store.pinned

    jobs.transaction_of(SimpleNamespace(claimed=SimpleNamespace(token="t")), None, "default")

    assert (before, jobs.store.pinned) == (False, True)


def test_jobs_are_in_the_schema_that_the_setting_names(manage, other_url):
    place = {"SITE_URL": other_url, "SITE_TEST": "", "SITE_SCHEMA": "work"}
    migrated = manage("migrate", **place)
    enqueued = manage("shell", "-v", "0", "-c", CODE, **place)
    worked = manage("belayed", "workoff", **place)
    changes = manage("makemigrations", "--check", "--dry-run", "belayed", **place)
    undone = manage("migrate", "belayed", "zero", **place)

    assert migrated.returncode == 0, migrated.stderr
    assert json.loads(enqueued.stdout.splitlines()[-1]) == [2, [["work", "belayed_jobs"]]], enqueued.stderr
    assert worked.returncode == 0, worked.stderr
    assert changes.returncode == 0, changes.stdout
    assert undone.returncode == 0, undone.stderr
