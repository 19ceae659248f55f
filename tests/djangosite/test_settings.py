"""Settings, and what Django's system checks say of them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from conftest import HERE, environment
from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.db import connection, connections
from django.test import override_settings
from shop import tasks

from belayed.django import checks as ours
from belayed.django.jobs import DjangoJobs
from belayed.django.mail import EmailBackend
from belayed.errors import BelayedError

pytestmark = pytest.mark.django_db
SQLITE = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="of SQLite")


def found() -> set[str]:
    """The ids of what the checks say."""
    return {one.id for one in checks.run_checks(databases=["default"])}


@pytest.mark.parametrize(
    ("settings", "id"),
    [
        ({"TASKS": {"default": {"BACKEND": "belayed.django.TasksBackend", "OPTIONS": {"RETRY": 1}}}}, "belayed.E008"),
        ({"BELAYED": {"MAX_ATTEMTPS": 1}}, "belayed.E001"),
        ({"BELAYED": {"MAX_ATTEMPTS": "many"}}, "belayed.E001"),
        ({"BELAYED": {"DATABASE": "nowhere"}}, "belayed.E001"),
        ({"BELAYED": {"PLUGINS": ["shop.nothing"]}}, "belayed.E001"),
        ({"BELAYED": {"PLUGINS": "shop.plugins.One"}}, "belayed.E001"),
        ({"BELAYED": []}, "belayed.E001"),
        ({"BELAYED": {"DATABASE": "other"}}, "belayed.I001"),
    ],
)
def test_wrong_settings_are_found_by_the_checks(settings, id):
    with override_settings(**settings):
        found = [one.id for one in checks.run_checks()]

    assert id in found


def test_a_project_that_is_well_has_nothing_to_check():
    assert [one for one in checks.run_checks(databases=["default"]) if one.id.startswith("belayed")] == []


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("MAX_ATTEMTPS", "did you mean MAX_ATTEMPTS?"),
        ("max_attempts", "did you mean MAX_ATTEMPTS?"),
        ("THREADS", "it is a setting of workers: say --threads, or set the variable BELAYED_THREADS"),
        ("MAX_RSS", "it is a setting of workers: say --max-rss, or set the variable BELAYED_MAX_RSS"),
        ("QUEUES", "it is a setting of workers: say --queues, or set the variable BELAYED_QUEUES"),
        ("URL", "DATABASES says it"),
        ("PREFIX", "DATABASES says it"),
        (5, "there are DATABASE, PLUGINS"),
    ],
)
def test_a_setting_that_there_is_not_is_answered_with_what_was_meant(name, fix):
    with override_settings(BELAYED={name: 1}), pytest.raises(BelayedError) as caught:
        DjangoJobs()

    assert f"BELAYED[{name!r}]: there is no such setting" in str(caught.value)
    assert fix in str(caught.value)


def test_wrong_settings_are_told_at_the_first_use():
    with override_settings(BELAYED={"MAX_ATTEMTPS": 1}), pytest.raises(BelayedError, match="there is no such setting"):
        tasks.greet.enqueue("ada")


@SQLITE
@pytest.mark.parametrize(
    ("options", "id"), [({"transaction_mode": "DEFERRED"}, "belayed.W001"), ({"timeout": 1}, "belayed.W002")]
)
def test_an_sqlite_file_whose_transactions_collide_is_told(monkeypatch, options, id):
    monkeypatch.setitem(connections.databases["default"], "OPTIONS", options)

    assert id in found()


@pytest.fixture
def project(tmp_path):
    """Runs a command of manage.py in a project of its own, whose settings differ by *lines*."""

    def project(lines: str, *words: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "project.py").write_text(f"from site_settings import *\n{lines}\n")
        env = environment(DJANGO_SETTINGS_MODULE="project", SITE_TEST="", SITE_URL="", SITE_FOLDER=str(tmp_path))
        env["PYTHONPATH"] += f":{tmp_path}"
        command = [sys.executable, str(HERE / "manage.py"), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=env, cwd=HERE)

    return project


def test_an_sqlite_file_without_a_write_ahead_log_is_told(project):
    plain = "DATABASES['default']['OPTIONS'] = {'transaction_mode': 'IMMEDIATE'}"
    project(plain, "migrate", "--verbosity", "0")

    assert "belayed.W003" in project(plain, "check", "--database", "default").stderr


def test_a_driver_that_is_missing_is_told(monkeypatch):
    monkeypatch.setattr(ours, "find_spec", lambda name: None)

    assert [one.id for one in ours.driver()] == ["belayed.E002"]


def test_tables_of_a_newer_belayed_are_told():
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO belayed_versions (version) VALUES (99)")

    assert "belayed.E003" in found()


def test_a_database_that_cannot_be_reached_is_told(monkeypatch):
    def refused(*_args):
        raise ours.StoreError("no answer")

    monkeypatch.setattr("belayed.django.jobs.DjangoConnection.perform", refused)

    assert "belayed.W004" in found()


@pytest.fixture
def not_installed(monkeypatch):
    """A project that has forgotten to install Belayed."""
    known = apps.is_installed
    monkeypatch.setattr(apps, "is_installed", lambda name: name != "belayed.django" and known(name))


def test_tasks_of_a_project_without_belayed_are_refused(not_installed):
    with pytest.raises(ImproperlyConfigured, match=r"TASKS\['default'\] needs Belayed: add 'belayed.django'"):
        tasks.add.enqueue(1)

    assert "belayed.E005" in found()


def test_mails_of_a_project_without_belayed_are_refused(not_installed):
    with pytest.raises(ImproperlyConfigured, match=r"belayed\.django\.EmailBackend needs Belayed: add"):
        EmailBackend().send_messages([EmailMessage("x", "y", "shop@example.org", ["ada@example.org"])])


def test_jobs_may_live_in_another_database(project, tmp_path):
    # The router of the shop would keep them in the default one.
    other = "BELAYED = {'DATABASE': 'other'}; DATABASE_ROUTERS = []"
    for alias in ("default", "other"):
        project(other, "migrate", "--verbosity", "0", f"--database={alias}")

    project(other, "shell", "-c", "from shop.tasks import greet; greet.enqueue('ada')")
    project(other, "belayed", "workoff")
    shown = project(other, "belayed", "jobs", "1").stdout

    assert "succeeded" in shown
    with closing(sqlite3.connect(tmp_path / "default.sqlite3")) as default:
        tables = [name for (name,) in default.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert "shop_post" in tables
    assert "belayed_jobs" not in tables


def test_a_relative_file_stays_where_it_is_when_the_folder_changes(project, tmp_path):
    relative = f"DATABASES['default']['NAME'] = {os.path.relpath(tmp_path / 'default.sqlite3', HERE)!r}"
    project(relative, "migrate", "--verbosity", "0")
    (tmp_path / "deep" / "elsewhere").mkdir(parents=True)

    project(
        relative, "shell", "-c",
        "import os; from django.db import connection; from shop.tasks import greet; greet.enqueue('ada'); "
        f"os.chdir({str(tmp_path / 'deep' / 'elsewhere')!r}); connection.close(); greet.enqueue('bob')",
    )  # fmt: skip

    with closing(sqlite3.connect(tmp_path / "default.sqlite3")) as default:
        assert default.execute("SELECT count(*) FROM belayed_jobs").fetchone() == (2,)


def test_a_project_without_tasks_of_django_needs_none(project):
    """Django 5.2 has none, and the backport is one more package."""
    lines = (
        "import sys; sys.modules['django_tasks'] = None\n"
        "INSTALLED_APPS = ['django.contrib.auth', 'django.contrib.contenttypes', 'belayed.django']\n"
        "ROOT_URLCONF, urlpatterns, MIDDLEWARE, TASKS = 'project', [], [], {}"
    )
    project(lines, "migrate", "--verbosity", "0")

    assert "no issues" in project(lines, "check", "--database", "default").stdout


def test_a_prefix_from_the_environment_is_refused_as_djangos_tables_have_their_names(monkeypatch):
    monkeypatch.setenv("BELAYED_PREFIX", "shop_")

    with pytest.raises(BelayedError, match=r"BELAYED_PREFIX is set, but Django's migrations .*BELAYED\['SCHEMA'\]"):
        DjangoJobs()
