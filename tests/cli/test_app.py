"""The application is found where it was named, imported, and its errors are shown as they are."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

BROKEN = "import json\n\ndef read():\n    return json.loads('{')\n\nread()\n"


@pytest.mark.dj(321)
@pytest.mark.parametrize("name", ["shop", "shop:jobs", "shop:send"])
def test_the_application_says_where_jobs_are(process, enqueue, name):
    enqueue("send.enqueue('ada')")

    ended = process("--app", name, "status")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[1].split()[:2] == ["mail", "1"]


def test_the_application_may_be_named_after_the_command(process, enqueue):
    enqueue("send.enqueue('ada')")

    ended = process("status", "--app", "shop")

    assert "mail" in ended.stdout


@pytest.mark.dj(321)
def test_the_application_comes_from_the_environment(process, enqueue):
    enqueue("send.enqueue('ada')")

    ended = process("status", BELAYED_APP="shop")

    assert "mail" in ended.stdout


@pytest.mark.dj(316)
def test_the_application_comes_from_the_nearest_pyproject_and_is_imported_from_beside_it(
    process, enqueue, folder, monkeypatch
):
    enqueue("send.enqueue('ada')")
    (folder / "shop.py").write_text((folder / "shop.py").read_text().replace("shop.db", f"/{folder}/shop.db"))
    (folder / "pyproject.toml").write_text('[tool.belayed]\napp = "shop"\n')
    (folder / "deeper").mkdir()
    monkeypatch.chdir(folder / "deeper")

    ended = process("status")

    assert "mail" in ended.stdout, ended.stderr


def test_the_command_line_counts_before_the_environment_and_empty_means_none(process, folder, sqlite_url, store):
    (folder / "pyproject.toml").write_text('[tool.belayed]\napp = "missing"\n')
    store.added(queue="mail")

    ended = process("--app", "", "status", "--url", sqlite_url, BELAYED_APP="broken")

    assert ended.returncode == 0, ended.stderr
    assert "mail" in ended.stdout


def test_the_url_moves_the_jobs_of_the_application(process, shop, store, sqlite_url):
    store.added(queue="elsewhere")

    ended = process("--app", "shop:jobs", "--url", sqlite_url, "status")

    assert "elsewhere" in ended.stdout
    assert not (shop.parent / "shop.db").exists()


def test_a_module_that_is_not_there_is_wrong_use_and_says_where_it_was_looked_for(process, folder):
    ended = process("--app", "nowhere", "status")

    assert ended.returncode == 2
    assert ended.stderr.startswith("Error: --app names 'nowhere', but there is no module nowhere: looked in ")
    assert str(folder) in ended.stderr


def test_a_name_that_the_module_has_not_is_wrong_use(process, shop):
    ended = process("--app", "shop:missing", "status")

    assert ended.returncode == 2
    assert "Error: --app names 'shop:missing': shop has no missing; --app shop is enough\n" in ended.stderr


def test_what_is_no_name_of_a_module_is_wrong_use(process, shop):
    ended = process("status", BELAYED_APP="shop.py/x")

    assert ended.returncode == 2
    assert "Error: BELAYED_APP names 'shop.py/x': write module or module:name" in ended.stderr


def test_an_application_that_raises_shows_its_own_frames_only(process, folder):
    (folder / "broken.py").write_text(BROKEN)

    ended = process("--app", "broken", "status")

    assert ended.returncode == 2
    assert "Error: --app names 'broken', which cannot be imported:" in ended.stderr
    assert ended.stderr.count('  File "') == 2
    assert ended.stderr.count("broken.py") == 2
    assert ended.stderr.rstrip().splitlines()[-1].startswith("json.decoder.JSONDecodeError: Expecting property name")


def test_a_missing_import_of_the_application_is_the_error_that_is_shown(process, folder):
    (folder / "broken.py").write_text("import nothing_like_it\n")

    ended = process("--app", "broken", "status")

    assert ended.returncode == 2
    assert 'broken.py", line 1' in ended.stderr
    assert "ModuleNotFoundError: No module named 'nothing_like_it'" in ended.stderr


def test_an_application_that_exits_when_imported_is_wrong_use(process, folder):
    (folder / "script.py").write_text("raise SystemExit(0)\n")

    ended = process("--app", "script", "status")

    assert ended.returncode == 2
    assert "SystemExit: 0" in ended.stderr


@pytest.mark.parametrize(
    ("text", "error"),
    [("[tool.belayed\n", "cannot be read"), ("[tool.belayed]\napp = 3\n", "app in [tool.belayed] is 3")],
)
def test_a_wrong_pyproject_is_wrong_use(run, folder, text, error):
    (folder / "pyproject.toml").write_text(text)

    result = run("status")

    assert result.exit_code == 2
    assert error in result.stderr


@pytest.mark.parametrize(
    ("trust", "state"), [("", "succeeded"), (", trust=[]", "failed"), (", trust=['tests']", "failed")]
)
def test_an_application_whose_trust_is_given_is_not_added_to_it(process, shop, enqueue, trust, state):
    code = shop.read_text().replace("'sqlite:///shop.db'", f"'sqlite:///shop.db'{trust}")
    shop.write_text(f"{code}\ndef erase(what):\n    return what\n")
    enqueue("send.enqueue('ada')")
    with closing(sqlite3.connect(shop.with_name("shop.db"))) as raw, raw:
        raw.execute("""UPDATE belayed_jobs SET payload = '{"v":1,"call":"shop:erase","args":["all"],"kwargs":{}}'""")

    ended = process("workoff", "--app", "shop")
    shown = process("jobs", 1, "--app", "shop")

    assert ended.returncode == 0, ended.stderr
    assert f"State      {state}" in shown.stdout
