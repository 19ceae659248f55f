"""A module that enqueues when it is imported does so at each start of a worker's process: the log says so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import environment

AT_IMPORT = "send.enqueue('ada')\n"


def warnings(text: str) -> list[str]:
    return [line for line in text.splitlines() if "when it is imported" in line or "while" in line and "import" in line]


@pytest.fixture
def at_import(shop):
    """Adds code to the application that runs when it is imported; returns the line of its first line."""

    def add(code: str) -> int:
        line = len(shop.read_text().splitlines()) + 1
        shop.write_text(shop.read_text() + code)
        return line

    return add


@pytest.mark.parametrize(
    "command",
    [("workoff", "--app", "shop"), ("workoff", "--app", "shop", "--processes", "0"), ("status", "--app", "shop")],
    ids=["child", "worker", "status"],
)
def test_an_enqueue_at_import_is_a_warning_that_names_the_task_and_the_place(process, at_import, folder, command):
    line = at_import(AT_IMPORT)

    ended = process(*command)

    (warning,) = warnings(ended.stderr)
    assert ended.returncode == 0, ended.stderr
    assert (
        f"shop.send was enqueued while shop was imported ({folder}/shop.py:{line}), and is again at each start of a "
        'worker\'s process: put it below `if __name__ == "__main__":`, or where it happens once, as in a command'
    ) in warning


def test_a_module_that_a_job_names_is_watched_too(process, at_import, enqueue, folder):
    at_import(AT_IMPORT)
    enqueue("None")

    ended = process("workoff", "--url", "sqlite:///shop.db")

    (warning,) = warnings(ended.stderr)
    assert "shop.send was enqueued while shop was imported" in warning


def test_it_is_said_once_for_each_place_and_in_which_function(process, at_import, folder):
    line = at_import(
        "class Config:\n    def ready(self):\n        send.enqueue('ada')\nfor _ in 1, 2: Config().ready()\n"
    )

    ended = process("workoff", "--app", "shop")

    (warning,) = warnings(ended.stderr)
    assert f"shop.send was enqueued 2 times while shop was imported ({folder}/shop.py:{line + 2}, in ready)" in warning


@pytest.mark.parametrize(
    "code",
    [
        "belayed.enqueue(send.draft('ada'))\n",
        "belayed.enqueue_many([send.draft('ada')])\n",
        "import asyncio\nasyncio.run(send.aenqueue('ada'))\n",
    ],
    ids=["enqueue", "enqueue_many", "aenqueue"],
)
def test_each_way_to_enqueue_is_noticed(process, at_import, code):
    at_import(code)

    ended = process("status", "--app", "shop")

    assert len(warnings(ended.stderr)) == 1


def test_what_jobs_and_programs_enqueue_is_no_matter(process, at_import, enqueue):
    at_import("@task\ndef parent():\n    send.enqueue('ada')\nif __name__ == '__main__':\n    send.enqueue('bob')\n")
    enqueue("parent.enqueue()")

    ended = process("workoff", "--app", "shop")

    assert "2 succeeded" in ended.stderr
    assert warnings(ended.stderr) == []


def test_an_enqueue_by_the_configuration_of_a_django_app_is_noticed(process, folder):
    (folder / "news").mkdir()
    (folder / "news" / "__init__.py").touch()
    (folder / "news" / "jobs.py").write_text("from belayed import task\n@task\ndef send(to): ...\n")
    (folder / "news" / "apps.py").write_text(
        "import os\nfrom django.apps import AppConfig\nclass News(AppConfig):\n    name = 'news'\n"
        "    def ready(self):\n"
        "        from news.jobs import send\n        if 'READY' in os.environ: send.enqueue('ada')\n"
    )
    (folder / "site_of_news.py").write_text(
        "SECRET_KEY = 'x'\nUSE_TZ = True\nINSTALLED_APPS = ['belayed.django', 'news.apps.News']\n"
        "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'news.db'}}\n"
    )
    site = {"DJANGO_SETTINGS_MODULE": "site_of_news", "PYTHONWARNINGS": ""}
    made = subprocess.run([sys.executable, "-m", "django", "migrate"], env=environment(**site), check=False)

    ended = process("workoff", READY="yes", **site)

    assert made.returncode == 0
    assert [f"({folder}/news/apps.py:7, in ready)" in warning for warning in warnings(ended.stderr)] == [True]
