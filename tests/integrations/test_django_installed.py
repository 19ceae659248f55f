"""A Django project that is installed into site-packages, as containers have it, among other people's applications."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.patience import patient

FILES = {
    "bakery/__init__.py": "",
    "bakery/settings.py": """
SECRET_KEY = "of the tests"
INSTALLED_APPS = ["django_tasks", "belayed.django", "bakery", "vendored"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "bakery.sqlite3"}}
TASKS = {"default": {"BACKEND": "belayed.django.TasksBackend"}}
SILENCED_SYSTEM_CHECKS = ["belayed.W001", "belayed.W003"]
USE_TZ = True
""",
    "bakery/jobs.py": """
from belayed import task
def bake(what): return f"baked {what}"
@task
def own(): return "own"
""",
    "vendored/__init__.py": "",
    "vendored/tasks.py": """
from belayed import task
from django_tasks import task as django_task
@task
def cleans(): return "cleaned"
@django_task(priority=5)
def reports(name): return f"reported {name}"
reports = reports.using(queue_name="default")
def wipes(): raise SystemExit("wiped")
""",
    "vendored/late.py": """
from django_tasks import task
@task
def unknown_to_workers(): return 1
""",
}
PROGRAM = """
import django; django.setup()
from django.core.management import call_command
from belayed import delay
from belayed.errors import NotTrusted
call_command("migrate", verbosity=0)
from bakery.jobs import bake, own
from vendored.tasks import cleans, reports, wipes
for job in (delay(bake)("bread"), own.enqueue(), cleans.enqueue(), reports.enqueue("it")): pass
from vendored.late import unknown_to_workers
for call in (delay(wipes), unknown_to_workers.enqueue):
    try: call()
    except NotTrusted as error: print(error)
"""


@pytest.mark.xdist_group("django")
def test_the_project_s_own_code_runs_and_other_people_s_does_only_where_it_is_registered(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    for name, text in FILES.items():
        (installed / name).parent.mkdir(parents=True, exist_ok=True)
        (installed / name).write_text(text)
    variables = {**os.environ, "PYTHONPATH": str(installed), "DJANGO_SETTINGS_MODULE": "bakery.settings"}

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        ran = subprocess.run(
            command, check=False, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=patient(120)
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    refusals = run("-c", PROGRAM).splitlines()
    with closing(sqlite3.connect(tmp_path / "bakery.sqlite3")) as connection, connection:
        (payload,) = connection.execute("SELECT payload FROM belayed_jobs WHERE task = 'bakery.jobs.bake'").fetchone()
        hostile = json.dumps({**json.loads(payload), "call": "vendored.tasks:wipes", "args": []})
        connection.execute(
            "INSERT INTO belayed_jobs (state, queue, task, priority, run_at, created_at, payload) "
            "SELECT state, queue, 'by hand', priority, run_at, created_at, ? FROM belayed_jobs LIMIT 1",
            [hostile],
        )
    run("-m", "belayed", "workoff")

    with closing(sqlite3.connect(tmp_path / "bakery.sqlite3")) as connection:
        ended = {
            task: state if state == "succeeded" else error.partition(": ")[0]
            for task, state, error in connection.execute("SELECT task, state, error FROM belayed_history")
        }
    assert ended == {
        "bakery.jobs.bake": "succeeded",
        "bakery.jobs.own": "succeeded",
        "vendored.tasks.cleans": "succeeded",
        "vendored.tasks.reports": "succeeded",
        "by hand": "belayed.errors.UntrustedPayload",
    }
    assert [line.partition(":")[0] for line in refusals] == ["vendored.tasks", "vendored.late"]
    assert all("BELAYED = {'TRUST': ['bakery', 'vendored']}" in line for line in refusals)
