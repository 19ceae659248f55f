"""`manage.py belayed`, with real processes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import HERE, environment, eventually
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, connections
from shop.models import Post
from shop.tasks import aadd, add, agreet, fails, greet, like_once

from belayed import State, delay
from belayed.config import current
from belayed.django.management.commands.belayed import wants_reload
from tests.patience import patient

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def working(*words: str, site: Path = HERE, env: dict[str, str] | None = None):
    """A worker, as manage.py starts it."""
    command = [sys.executable, str(site / "manage.py"), "belayed", "work", *words]
    process = subprocess.Popen(
        command, cwd=site, env=env or environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_worker_runs_jobs_of_all_kinds():
    post = Post.objects.create(title="news")
    other = Post.objects.create(title="other")
    jobs = [greet.enqueue("ada"), agreet.enqueue(post), delay(post).like(by=2), like_once.enqueue(other)]
    results = [add.enqueue(1, 2), aadd.enqueue(3, 4), fails.using(max_attempts=1).enqueue()]

    with working("--threads", "2") as worker:
        eventually(lambda: all(job.refresh().ended for job in jobs))
        eventually(lambda: all(result.refresh() or result.is_finished for result in results))
        worker.send_signal(signal.SIGTERM)
        text, _ = worker.communicate(timeout=patient(30))

    assert worker.returncode == 0, text
    assert [job.state for job in jobs] == [State.SUCCEEDED] * 4
    assert [result.status.value for result in results] == ["SUCCESSFUL", "SUCCESSFUL", "FAILED"]
    assert [one.likes for one in Post.objects.order_by("id")] == [2, 1]
    # Django's own receiver has told of its task, in the child.
    assert "path=shop.tasks.fails state=FAILED" in text


def test_workoff_ends_when_all_is_done(manage):
    job = greet.enqueue("ada")

    ended = manage("belayed", "workoff")

    assert ended.returncode == 0, ended.stderr
    assert job.refresh().result == "hello ada"


def test_the_supervisor_is_a_fresh_process_of_belayed():
    with working() as worker:
        eventually(lambda: current().workers())
        process = Path(f"/proc/{worker.pid}")
        if not process.exists():
            pytest.skip("there is no /proc to look into")
        words = (process / "cmdline").read_text().split("\0")

    assert words[1:4] == ["-m", "belayed", "work"]


def test_a_worker_in_the_background(manage, tmp_path):
    files = ["--pid-file", str(tmp_path / "w.pid"), "--log-file", str(tmp_path / "w.log")]
    begun = manage("belayed", "start", *files)
    job = greet.enqueue("ada")
    eventually(lambda: job.refresh().ended)
    ended = manage("belayed", "stop", "--pid-file", str(tmp_path / "w.pid"))

    assert (begun.returncode, ended.returncode) == (0, 0), begun.stderr
    assert job.result == "hello ada"


def test_commands_show_and_change_jobs(manage):
    job = fails.using(max_attempts=1).enqueue()
    manage("belayed", "workoff")
    listed = json.loads(manage("belayed", "jobs", "--json", "--state", "failed").stdout)
    retried = manage("belayed", "retry", job.id)
    status = manage("belayed", "status")
    checked = manage("belayed", "check", "--max-age", "1h")

    assert [one["id"] for one in listed["jobs"]] == [int(job.id)]
    assert (retried.returncode, retried.stdout) == (0, "Retried 1 job.\n")
    assert "default" in status.stdout
    assert checked.returncode == 0


def test_a_wrong_command_is_told(manage):
    ended = manage("belayed", "nosuch")

    assert ended.returncode == 2
    assert "No such command 'nosuch'" in ended.stderr


def test_migrate_is_django_s(manage):
    ended = manage("belayed", "migrate")

    assert ended.returncode == 2
    assert "the tables of jobs are made by Django's migrations here: python manage.py migrate" in ended.stderr


def test_help_is_belayed_s(manage):
    ended = manage("belayed", "work", "--help")

    assert ended.returncode == 0
    assert "--processes" in ended.stdout


def test_call_command_runs_one(capsys):
    call_command("belayed", "status")

    assert "No jobs wait or run." in "".join(capsys.readouterr())


def test_call_command_raises_what_went_wrong():
    with pytest.raises(CommandError, match="belayed jobs 99 failed"):
        call_command("belayed", "jobs", "99")


def test_call_command_does_not_repeat_a_password():
    with pytest.raises(CommandError) as caught:
        call_command("belayed", "--", "jobs", "99", "--url", "sqlite:///none.db?key=s3cret")

    assert str(caught.value) == "belayed jobs 99 failed"


def test_the_doctor_is_content(manage):
    ended = manage("belayed", "doctor", "--json")

    checks = {one["check"]: one["result"] for one in json.loads(ended.stdout)["checks"]}
    assert checks["tables"] == checks["code"] == checks["application"] == "ok"


def test_migrations_are_complete_and_can_be_undone(manage):
    complete = manage("makemigrations", "--check", "--dry-run")
    try:
        undone = manage("migrate", "belayed", "zero")
        missing = manage("belayed", "workoff")
        enqueued = manage("shell", "-c", "from shop.tasks import greet; greet.enqueue('x')")
        warned = manage("check", "--database", "default")
    finally:
        done = manage("migrate", "belayed")

    assert complete.returncode == 0, complete.stdout
    assert (undone.returncode, done.returncode) == (0, 0), undone.stderr
    assert missing.returncode == 2
    assert "run `python manage.py migrate`" in missing.stderr
    assert "run `python manage.py migrate`" in enqueued.stderr
    assert "belayed.W005" in warned.stderr
    assert current().check_schema() == 1


@pytest.fixture
def bakery(tmp_path):
    """Runs a command of a project of its own, whose application does something in its ready()."""

    def run(ready: str, *words: str) -> subprocess.CompletedProcess[str]:
        files = {
            "bakery/__init__.py": "",
            "bakery/models.py": "",
            "bakery/tasks.py": "from belayed import task\n@task\ndef bake(): pass\n",
            "bakery/apps.py": "from django.apps import AppConfig\nclass Bakery(AppConfig):\n    name = 'bakery'\n"
            f"    def ready(self):\n        from bakery.tasks import bake\n        {ready}\n",
            "ovens.py": "from site_settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'bakery.apps.Bakery']\n",
        }
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        variables = environment(DJANGO_SETTINGS_MODULE="ovens")
        variables["PYTHONPATH"] += f":{tmp_path}"
        command = [sys.executable, str(HERE / "manage.py"), *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=variables, timeout=patient(120))

    return run


def test_an_enqueue_in_ready_says_why_migrate_cannot_help(manage, bakery):
    manage("migrate", "belayed", "zero")
    try:
        refused = bakery("bake.enqueue()", "migrate")
    finally:
        manage("migrate", "belayed")

    assert refused.returncode == 1
    assert "they are used while Django starts, in an application's ready()" in refused.stderr
    assert "`migrate` too, before it can make them: enqueue where it happens once" in refused.stderr
    assert "run `python manage.py migrate`" not in refused.stderr


def test_a_receiver_of_post_migrate_may_enqueue(manage, bakery):
    manage("migrate", "belayed", "zero")
    post = "from django.db.models.signals import post_migrate"
    ready = f"{post}; post_migrate.connect(lambda **given: bake.enqueue(), sender=self, weak=False)"
    try:
        made = bakery(ready, "migrate", "belayed")
    finally:
        manage("migrate", "belayed")

    assert made.returncode == 0, made.stderr
    assert [job.task for job in current().find()] == ["bakery.tasks.bake"]


def test_tables_and_migrations_are_those_of_belayed_itself():
    from belayed import Jobs
    from belayed.django.conf import url_of

    own = Jobs(url_of("default"))
    version = own.check_schema()
    job = own.enqueue(greet.draft("ada"))
    own.close()

    assert (version, current().get(job.id).state) == (1, State.READY)


@pytest.mark.dj(242)
def test_a_worker_keeps_its_connection_between_jobs_and_survives_its_loss():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no server that ends connections")
    jobs = [greet.enqueue(number) for number in range(3)]
    post = Post.objects.create(title="news")
    with working("--threads", "1"):
        eventually(lambda: all(job.refresh().ended for job in jobs))
        first = delay(post).like()
        eventually(lambda: first.refresh().ended)
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        second = delay(post).like()
        eventually(lambda: second.refresh().ended or second.failures)
        third = delay(post).like()
        eventually(lambda: third.refresh().ended)

    assert (first.state, third.state) == (State.SUCCEEDED, State.SUCCEEDED)


def test_a_worker_goes_on_while_migrate_changes_tables(manage):
    jobs = []
    with working("--threads", "1") as worker:
        for state in ("0011", "0012", "0011", "0012"):
            jobs += [greet.enqueue(state) for _ in range(5)]
            changed = manage("migrate", "auth", state, "--verbosity", "0")
            jobs += [greet.enqueue(state) for _ in range(5)]
            assert changed.returncode == 0, changed.stderr
        eventually(lambda: all(job.refresh().ended for job in jobs))
        worker.send_signal(signal.SIGTERM)
        text, _ = worker.communicate(timeout=patient(30))

    assert {(job.state, job.attempt) for job in jobs} == {(State.SUCCEEDED, 1)}
    assert (worker.returncode, "ERROR" in text) == (0, False)


def test_users_of_the_project_are_references_in_a_worker(manage):
    user = User.objects.create(username="ada")
    job = greet.enqueue(user)

    manage("belayed", "workoff")

    assert job.refresh().result == "hello ada"


@pytest.mark.parametrize(
    ("debug", "words", "wanted"),
    [
        (True, ["work"], True),
        (True, ["work", "-p", "2"], True),
        (False, ["work"], False),
        (True, ["work", "--no-reload"], False),
        (True, ["work", "--processes", "0"], False),
        (True, ["work", "-p0"], False),
    ],
)
def test_a_worker_reloads_while_debug_is_on(settings, debug, words, wanted):
    settings.DEBUG = debug

    assert wants_reload(words) is wanted


def test_without_child_processes_there_is_nothing_to_reload(settings, monkeypatch):
    settings.DEBUG = True
    monkeypatch.setenv("BELAYED_PROCESSES", "0")

    assert not wants_reload(["work"])
    assert wants_reload(["work", "--processes", "1"])


def test_code_that_changes_is_taken_while_debug_is_on(tmp_path):
    site = tmp_path / "site"
    shutil.copytree(HERE, site, ignore=shutil.ignore_patterns("__pycache__"))
    env = environment(SITE_DEBUG="1", PYTHONPATH=f"{site}:{HERE.parents[1] / 'src'}")
    with working(site=site, env=env):
        before = greet.enqueue("ada").wait(timeout=patient(20))
        code = site / "shop" / "tasks.py"
        code.write_text(code.read_text().replace("hello", "good evening"))

        eventually(lambda: greet.enqueue("ada").wait(timeout=patient(20)).result == "good evening ada")

    assert before.result == "hello ada"


@pytest.mark.dj(236)
def test_tasks_and_jobs_of_installed_applications_are_known_from_the_start(manage):
    known = manage("shell", "-c", "import sys; print(sorted(sys.modules.keys() & {'shop.tasks', 'shop.jobs'}))")

    assert "['shop.jobs', 'shop.tasks']" in known.stdout


def test_a_project_without_belayed_is_told_what_to_do(tmp_path):
    (tmp_path / "bare.py").write_text("SECRET_KEY = 'x'\nDATABASES = {}\nINSTALLED_APPS = []\n")
    ended = subprocess.run(
        [sys.executable, "-m", "belayed", "status"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**environment(), "DJANGO_SETTINGS_MODULE": "bare"},
    )

    assert ended.returncode == 2
    assert "add 'belayed.django' to INSTALLED_APPS" in ended.stderr


def test_the_commands_of_belayed_itself_find_the_project():
    job = greet.enqueue("ada")
    ended = subprocess.run(
        [sys.executable, "-m", "belayed", "workoff"],
        check=False,
        cwd=HERE,
        capture_output=True,
        text=True,
        env={**environment(), "DJANGO_SETTINGS_MODULE": "site_settings"},
    )

    assert ended.returncode == 0, ended.stderr
    assert job.refresh().result == "hello ada"


def test_a_worker_starts_from_any_folder(tmp_path):
    job = greet.enqueue("ada")
    environ = environment()
    # The project is found by where manage.py is, as by each other command of Django.
    environ["PYTHONPATH"] = str(HERE.parents[1] / "src")
    ended = subprocess.run(
        [sys.executable, str(HERE / "manage.py"), "belayed", "workoff"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environ,
    )

    assert ended.returncode == 0, ended.stderr
    assert job.refresh().result == "hello ada"


def test_an_option_of_belayed_is_not_taken_for_the_beginning_of_one_of_django_s(tmp_path):
    (tmp_path / "Procfile").write_text("worker: something else")

    ended = subprocess.run(
        [sys.executable, str(HERE / "manage.py"), "belayed", "init", "procfile", "--force", "--no-color"],
        check=False,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "belayed work" in (tmp_path / "Procfile").read_text()


def test_a_worker_finds_code_by_pythonpath(tmp_path, manage):
    (tmp_path / "elsewhere.py").write_text("from site_settings import *  # noqa\n")

    ended = manage("belayed", "workoff", "--pythonpath", str(tmp_path), "--settings", "elsewhere")

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("command", ["work", "workoff", "start", "restart"])
def test_a_test_cannot_be_replaced_by_a_worker(command):
    with pytest.raises(CommandError, match=r"belayed\.testing\.drain"):
        call_command("belayed", command)


def test_call_command_goes_on_after_a_worker_that_ends(manage):
    job = greet.enqueue("ada")
    code = "from django.core.management import call_command; call_command('belayed', 'workoff'); print('went on')"

    ended = manage("shell", "-c", code)

    assert ended.returncode == 0, ended.stderr
    assert "went on" in ended.stdout
    assert job.refresh().result == "hello ada"


def test_call_command_raises_what_kept_a_worker_from_starting(manage):
    code = "from django.core.management import call_command; call_command('belayed', '--', 'workoff', '--nonsense')"

    ended = manage("shell", "-c", code)

    assert ended.returncode != 0
    assert "belayed workoff --nonsense failed" in ended.stderr
