"""Database routers decide about the tables of jobs as about any others, and it is said what they keep from working."""

from __future__ import annotations

import os
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.test import override_settings

from belayed.config import current
from belayed.django import checks
from belayed.django.schema import wanted
from belayed.errors import ConfigError

URL = os.environ.get("SITE_URL", "")
REFUSED = "the database router NoJobs does not allow the tables of jobs in the database 'default'"
ENQUEUES = "from shop.tasks import greet; greet.enqueue('x')"
RECORDED = "python manage.py migrate --fake belayed zero"


@pytest.fixture
def elsewhere(tmp_path):
    """Other databases, without tables, for processes."""
    if not URL:
        yield {"SITE_FOLDER": str(tmp_path), "SITE_TEST": ""}
        return
    name = f"{urlsplit(URL).path[1:]}_routers"
    with psycopg.connect(URL, autocommit=True) as raw:
        raw.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        raw.execute(f"CREATE DATABASE {name}".encode())
    yield {"SITE_URL": urlunsplit(urlsplit(URL)._replace(path=f"/{name}")), "SITE_TEST": ""}
    with psycopg.connect(URL, autocommit=True) as raw:
        raw.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_router_that_refuses_the_tables_is_obeyed_and_named(manage, elsewhere):
    refusing = {**elsewhere, "SITE_ROUTERS": "shop.routers.NoJobs"}
    migrated = manage("migrate", "belayed", **refusing)
    told = [
        migrated,
        manage("check", **refusing),
        manage("belayed", "migrate", **refusing),
        manage("shell", "-c", ENQUEUES, **refusing),
        manage("belayed", "workoff", **refusing),
        manage("belayed", "doctor", **refusing),
    ]
    # The router has been mended, but the migrations are on record.
    recorded = [
        manage("shell", "-c", ENQUEUES, **elsewhere),
        manage("belayed", "workoff", **elsewhere),
        manage("check", "--database", "default", **elsewhere),
    ]
    faked = manage("migrate", "--fake", "belayed", "zero", **elsewhere)
    again = manage("migrate", "belayed", **elsewhere)
    worked = manage("belayed", "workoff", **elsewhere)

    assert migrated.returncode == 0, migrated.stderr
    assert [" ".join(one.stderr.split() + one.stdout.split()) for one in told if REFUSED not in told_by(one)] == []
    assert [one.args for one in recorded if RECORDED not in told_by(one)] == []
    assert (faked.returncode, again.returncode, worked.returncode) == (0, 0, 0), again.stderr + worked.stderr


def told_by(process):
    """What a command has said, without the breaks of its lines."""
    return " ".join((process.stdout + process.stderr).split())


def test_a_router_that_refuses_one_of_the_tables_is_an_error(manage, elsewhere):
    migrated = manage("migrate", "belayed", **elsewhere, SITE_ROUTERS="shop.routers.SomeJobs")

    assert migrated.returncode == 1
    assert "CommandError: the database router SomeJobs does not allow LiveJob in the database 'default'" in (
        migrated.stderr
    )
    assert "Traceback" not in migrated.stderr


@pytest.mark.parametrize(
    ("routers", "answer"), [([], True), (["shop.routers.Router"], True), (["shop.routers.NoJobs"], False)]
)
def test_the_tables_are_where_jobs_live_and_routers_allow_them(routers, answer):
    with override_settings(DATABASE_ROUTERS=routers):
        assert (wanted("default"), wanted("other")) == (answer, False)


@override_settings(DATABASE_ROUTERS=["shop.routers.NoJobs"])
def test_the_check_says_what_a_router_refuses():
    (found,) = [one for one in checks.settings(None) if one.id == "belayed.W008"]

    assert found.msg == REFUSED
    assert found.hint.startswith("let allow_migrate('default', 'belayed', …) return True or None, or keep jobs in")


@override_settings(DATABASE_ROUTERS=["shop.routers.NoJobs"])
def test_migrate_of_belayed_says_what_a_router_refuses():
    with pytest.raises(ConfigError, match=f"Django's migrations here: python manage.py migrate; but {REFUSED}: let"):
        current().migrate()
