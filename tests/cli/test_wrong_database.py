"""A database that is not the one where jobs are enqueued: it is named, and nothing is made by looking at it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.cli.conftest import environment
from tests.patience import patient

LOOKS = [
    ["status"],
    ["jobs"],
    ["jobs", "1"],
    ["check"],
    ["doctor"],
    ["retry", "1"],
    ["cancel", "1"],
    ["delete", "1"],
    ["clear", "--all", "--yes"],
    ["pause", "mail"],
    ["resume", "mail"],
]
MANAGE = "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site.settings')\n"


def tables(path):
    with closing(sqlite3.connect(path)) as raw:
        return [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_a_look_without_a_url_makes_no_file_and_says_where_it_looked(run, folder, words):
    ended = run(*words, url=None)

    assert ended.exit_code == (1 if words == ["doctor"] else 3)
    assert f"there is no SQLite file {folder}/belayed.db, which is looked for by default, as no URL" in ended.output
    assert "name their database here too: BELAYED_URL, --url, or --app" in ended.output
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("words", LOOKS, ids=" ".join)
def test_a_look_makes_no_tables_in_the_file_of_somebody_else(run, folder, words):
    with closing(sqlite3.connect(folder / "theirs.db")) as raw:
        raw.execute("CREATE TABLE theirs (id)")

    ended = run(*words, url=f"sqlite:///{folder}/theirs.db")

    assert ended.exit_code == (1 if words == ["doctor"] else 2)
    assert f"belayed --url sqlite:///{folder}/theirs.db migrate" in ended.output
    assert tables(folder / "theirs.db") == ["theirs"]


def test_tables_that_are_missing_are_an_error_that_names_the_database(run, postgres_url, monkeypatch):
    monkeypatch.setenv("BELAYED_URL", postgres_url)

    ended = run("status", url=None)

    assert ended.exit_code == 2
    assert "run `belayed migrate`" in ended.stderr
    assert f"; the database is {postgres_url.partition('@')[0]}" in ended.stderr
    assert "(by BELAYED_URL)" in ended.stderr


def test_status_says_the_database_and_who_named_it(run, store, each_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", each_url)

    ended = run("status", url=None)

    last = ended.stdout.splitlines()[-1]
    assert last.startswith(f"Database: {each_url.partition('@')[0]}")
    assert last.endswith(" (by DATABASE_URL)")


def test_status_says_which_database_is_the_default(run, store, folder, told):
    ended = run("status", url=None)

    assert ended.stdout.splitlines()[-1] == f"Database: sqlite:///{folder}/belayed.db (by default, as no URL was given)"
    assert ended.stderr.count("\n") == 2


@pytest.mark.parametrize("processes", [0, 1])
def test_a_worker_that_makes_a_file_warns(process, folder, processes):
    ended = process("workoff", "--processes", processes)

    warning = next(line for line in ended.stderr.splitlines() if "WARN" in line and "made" in line)
    assert f"made sqlite:///{folder}/belayed.db (by default, as no URL was given), as there was no such file" in warning
    assert "BELAYED_URL, --url, or --app" in warning
    assert ended.stderr.count(" made sqlite:") == 1


def test_a_worker_with_children_does_not_serve_a_database_in_memory(process):
    ended = process("workoff", "--url", "sqlite://")

    assert ended.returncode == 2
    assert "Error: the jobs are kept in memory, where each process has its own: name a file" in ended.stderr


@pytest.mark.parametrize("processes", [0, 1])
def test_a_worker_that_finds_its_file_does_not_warn(process, store, processes):
    ended = process("workoff", "--processes", processes)

    assert "belayed.db" in ended.stderr
    assert "made sqlite" not in ended.stderr


def test_a_worker_in_another_folder_than_the_program_says_what_it_made(process, enqueue, folder, monkeypatch):
    enqueue("send.enqueue('ada')")
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")

    ended = process("workoff", "--app", "shop", PYTHONPATH=f"{folder}{os.pathsep}{environment()['PYTHONPATH']}")

    assert f"made sqlite:///{folder}/elsewhere/shop.db, as there was no such file: nothing has been" in ended.stderr


def test_a_worker_that_is_started_in_the_background_warns_on_the_terminal(process, folder):
    try:
        ended = process("start")

        assert "made sqlite:" in ended.stderr
    finally:
        process("stop")


@pytest.mark.parametrize("place", [".", "site", ".."])
def test_a_django_project_nearby_is_pointed_out(process, folder, monkeypatch, place):
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    (folder / "here" / place).mkdir(exist_ok=True)
    (folder / "here" / place / "manage.py").write_text(MANAGE)

    looked, worked, again = process("status"), process("workoff"), process("workoff", "--processes", "0")
    shown, checked = process("status"), process("doctor")

    assert looked.returncode == 3
    for ended in (looked, worked, again, shown):
        assert ended.stderr.count("belongs to a Django project") == 1, ended.stderr
    assert "fix: python " in checked.stdout
    assert checked.stdout.count("to a Django project") == 1, checked.stdout


def test_what_is_called_manage_py_need_not_be_of_django(run, folder):
    (folder / "manage.py").write_text("print('flask')\n")

    assert "Django" not in run("status", url=None).output


def test_nothing_is_pointed_out_where_the_url_is_named(run, store, sqlite_url, folder):
    (folder / "manage.py").write_text(MANAGE)

    ended = run("status", url=f"{sqlite_url}")

    assert ended.exit_code == 0


@pytest.mark.parametrize("url", ["mysql://u:secret@db/shop", "sqlite://:memory:", "nonsense"])
def test_a_database_url_of_another_kind_is_wrong_use_that_names_the_variable(process, folder, url):
    ended = process("status", DATABASE_URL=url)

    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: DATABASE_URL: database URL ")
    assert "BELAYED_URL counts for more than it" in ended.stderr
    assert "secret" not in ended.stderr
    assert list(folder.iterdir()) == []


PROGRAM = """
from belayed import task
@task
def send(to): ...
"""
DJANGO = """
import sys
from django.conf import settings
import django
database = {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}
settings.configure(INSTALLED_APPS=sys.argv[1:], DATABASES={"default": database}, USE_TZ=True)
"""


def program(folder, code, *words, **variables):
    (folder / "program.py").write_text(code)
    return subprocess.run(
        [sys.executable, "program.py", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=patient(60),
        env=environment(**variables),
    )


NOT_SET_UP = "call django.setup() before; or say where jobs are kept: BELAYED_URL, or belayed.configure(url)"


@pytest.mark.parametrize(
    ("code", "apps", "says"),
    [
        (f"{DJANGO}django.setup()\n{PROGRAM}send.enqueue('ada')", [], "add 'belayed.django' to INSTALLED_APPS"),
        (f"{DJANGO}{PROGRAM}send.enqueue('ada')", [], "add 'belayed.django' to INSTALLED_APPS"),
        (
            f"{DJANGO}{PROGRAM}send.enqueue('ada')",
            ["belayed.django"],
            f"not been set up yet in this program: {NOT_SET_UP}",
        ),
        (
            f"{DJANGO}django.setup()\nimport belayed\nbelayed.configure(max_attempts=3)",
            ["belayed.django"],
            "settings in BELAYED = {…}; or name a URL",
        ),
    ],
)
@pytest.mark.parametrize("variables", [{}, {"DATABASE_URL": "sqlite:///other.db"}])
def test_a_django_project_does_not_enqueue_into_a_file_beside_it(folder, code, apps, says, variables):
    ended = program(folder, code, *apps, **variables)

    assert ended.returncode == 1
    assert "belayed.errors.ConfigError: " in ended.stderr
    assert says in ended.stderr
    assert [path.name for path in folder.iterdir()] == ["program.py"]


def test_a_script_with_settings_but_without_django_does_not_enqueue_into_a_file_beside_it(folder):
    ended = program(folder, f"{PROGRAM}send.enqueue('ada')", DJANGO_SETTINGS_MODULE="site.settings")

    assert (
        f"DJANGO_SETTINGS_MODULE is set, but Django has not been set up in this program: {NOT_SET_UP}" in ended.stderr
    )
    assert [path.name for path in folder.iterdir()] == ["program.py"]


@pytest.mark.parametrize("how", ["variable", "configure"])
def test_a_django_project_may_keep_its_jobs_elsewhere(folder, how):
    url = "sqlite:///jobs.db"
    configure = f"import belayed\nbelayed.configure('{url}')\n" if how == "configure" else ""
    variables = {"BELAYED_URL": url} if how == "variable" else {}

    ended = program(folder, f"{DJANGO}django.setup()\n{configure}{PROGRAM}send.enqueue('ada')", **variables)

    assert ended.returncode == 0, ended.stderr
    assert (folder / "jobs.db").exists()


def test_a_worker_of_a_django_project_without_belayed_is_wrong_use(process, folder):
    (folder / "settings_of_site.py").write_text("SECRET_KEY = 'x'\nINSTALLED_APPS = []\n")

    for words in (["work"], ["status"], ["work", "--processes", "0"]):
        ended = process(*words, DJANGO_SETTINGS_MODULE="settings_of_site")

        assert ended.returncode == 2
        assert "add 'belayed.django' to INSTALLED_APPS" in ended.stderr
    assert not (folder / "belayed.db").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_may_not_be_written_is_an_error_that_says_so(folder, there):
    # What it imports is in a folder of root's.
    warm = "import os, belayed\nsend.using(jobs=belayed.Jobs('sqlite://')).enqueue('ada')\n"
    code = f"{PROGRAM}{warm}os.setuid(65534)\nsend.enqueue('ada')"
    folder.chmod(0o755)
    for above in folder.parents:
        if above.name.startswith(("pytest-", "popen-")):
            above.chmod(0o755)
    if there:
        (folder / "belayed.db").touch(0o644)

    ended = program(folder, code)

    assert ended.returncode == 1
    what = "it" if there else f"in the folder {folder}"
    assert "user 65534 may not write" in ended.stderr
    assert what in ended.stderr
    assert "BELAYED_URL" in ended.stderr
