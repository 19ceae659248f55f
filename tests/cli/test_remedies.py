"""What a command says to type can be copied: with the application or the URL that it was called with."""

from __future__ import annotations

import subprocess
import sys
from shlex import quote

import pytest

from tests.cli.conftest import environment


def test_a_remedy_has_the_application_that_was_named(process, shop, enqueue):
    enqueue("send.enqueue('ada')")

    for words in (("--app", "shop", "status"), ("status", "--app", "shop")):
        assert "start one with `belayed --app shop work`" in process(*words).stderr


def test_a_remedy_has_the_url_that_was_given(run, store, sqlite_url):
    assert f"start one with `belayed --url {sqlite_url} work`" in run("status").stderr
    assert f"wait for `belayed --url {sqlite_url} resume mail`" in run("pause", "mail").stdout


def test_a_remedy_says_no_password(run):
    result = run("status", url="postgresql://me:secret@127.0.0.1:1/app")

    assert "`belayed --url " in result.stderr
    assert "secret" not in result.stderr


def test_an_error_of_the_library_names_the_command_as_it_was_called(run, postgres_url):
    assert f"run `belayed --url {quote(postgres_url)} migrate`" in run("status", url=postgres_url).stderr


def test_what_the_environment_says_need_not_be_said_again(process, shop, enqueue):
    enqueue("send.enqueue('ada')")

    assert "start one with `belayed work`" in process("status", BELAYED_APP="shop").stderr


@pytest.mark.parametrize("there", [True, False], ids=["manage.py", "django-admin"])
def test_the_workers_of_a_django_project_name_its_own_command(folder, there):
    if there:
        (folder / "manage.py").touch()
    code = "import os, click\nfrom belayed.cli.app import Place\nprint(Place().called('belayed'))"

    said = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(BELAYED_APP="belayed.django.start:jobs"),
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout == f"{'python manage.py' if there else 'django-admin'} belayed\n"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("-A", "shop", "work"), "No such option '-A': write --app MODULE"),
        (("work", "-A", "shop"), "No such option '-A': write --app MODULE"),
        (("work", "--concurrency", "3"), "write --processes N, and --threads N in each"),
        (("work", "--burst"), "write the command workoff"),
        (("work", "shop"), "Got unexpected extra argument (shop): an application is named by --app shop"),
        (("status", "shop"), "an application is named by --app shop"),
        (("consume",), "No such command 'consume': did you mean 'work'?"),
        (("workr",), "id you mean"),
        (("work", "--thread", "3"), "--threads"),
    ],
)
def test_a_wrong_command_line_is_answered_with_the_right_one(run, words, advice):
    result = run(*words, url=None)

    assert result.exit_code == 2
    assert advice in result.stderr


def test_an_argument_too_many_beside_others_is_only_that(run):
    assert "--app" not in run("jobs", "1", "2", url=None).stderr.partition("Error: ")[2]
