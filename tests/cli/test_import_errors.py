"""An application that cannot be found or imported: what the commands say, and what there is to do about it."""

from __future__ import annotations

import sys

import pytest

NOT_INSTALLED = (
    f"nothing_like_it is not installed for {sys.executable}: install it there, or start this command from the "
    "application's own environment"
)


@pytest.fixture
def code(folder):
    """Files with code in the test's folder."""

    def code(**files: str) -> None:
        for name, text in files.items():
            path = folder / f"{name.replace('_in_', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    return code


@pytest.mark.parametrize("command", [("status",), ("workoff",), ("workoff", "--processes", "0")], ids=" ".join)
def test_the_trace_of_an_application_that_raises_keeps_its_lines(process, code, command):
    code(broken="import os\nx = os.environ['NO_SUCH_VARIABLE']\n")

    ended = process("--app", "broken", *command)

    lines = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert lines[:2] == ["Error: --app names 'broken', which cannot be imported:", ""]
    assert lines[2].endswith('broken.py", line 2, in <module>')
    assert lines[3] == "    x = os.environ['NO_SUCH_VARIABLE']"
    assert "KeyError: 'NO_SUCH_VARIABLE'" in lines


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("shop.py", "a module is named without .py: --app shop"),
        ("./shop.py", "a module is named without .py: --app shop"),
        ("shop.py:jobs", "a module is named without .py: --app shop:jobs"),
        ("pkg/mail.py", "a module is named with dots: --app pkg.mail"),
        ("pkg/mail", "a module is named with dots: --app pkg.mail"),
        ("shops", "did you mean --app shop?"),
        ("pkg.mails", "did you mean --app pkg.mail?"),
        ("inner", "it is in {folder}/src: cd {folder}/src"),
        ("nothing_like_it", "start where it can be imported"),
        ("what?", "write module or module:name, such as shop.jobs"),
        ("shop:jbos", "did you mean --app shop:jobs?"),
        ("shop:xyz", "--app shop is enough"),
        ("pkg:hello.jobs", "--app pkg is enough"),
        ("pkg.mail:Sender.jbos", "did you mean --app pkg.mail:Sender.jobs?"),
        ("pkg.mail.py", "a module is named without .py: --app pkg.mail"),
        ("pkg.mail.py:send", "a module is named without .py: --app pkg.mail:send"),
        ("bare/jobs.py", "a module is named with dots: --app bare.jobs"),
        ("{folder}/shop.py", "a module is named without .py: --app shop"),
        ("{folder}/pkg/mail.py:send", "a module is named with dots: --app pkg.mail:send"),
        ("src/../shop.py", "a module is named without .py: --app shop"),
        ("{folder}/../shop.py", "write module or module:name, such as shop.jobs"),
        ("pkg.mail.send", "send is in pkg.mail: --app pkg.mail"),
        ("pkg.mail.send.twice", "send is in pkg.mail: --app pkg.mail"),
        ("pkg.mail.nothing_like_it", "pkg.mail is a module, with no others in it: --app pkg.mail"),
        ("pkg.hello", "hello is in pkg: --app pkg"),
        ("json.dumps", "dumps is in json: --app json"),
        ("pkg:mail", "did you mean --app pkg.mail?"),
        ("pkg:mail.send", "did you mean --app pkg.mail:send?"),
        ("bare:jobs", "did you mean --app bare.jobs?"),
        ("my-app", "my-app.py is no name of a module: rename it my_app.py, then --app my_app"),
        ("my-app.py", "my-app.py is no name of a module: rename it my_app.py, then --app my_app"),
        ("pkg/2nd.py", "2nd.py is no name of a module: rename it _2nd.py, then --app pkg._2nd"),
    ],
)
def test_a_name_that_is_not_found_is_answered_with_the_right_one(process, code, shop, folder, written, advice):
    code(
        pkg_in___init__="hello = 1",
        pkg_in_mail="send = 1\nclass Sender:\n    jobs = 1",
        src_in_inner="",
        bare_in_jobs="",
    )
    for name in ("my-app.py", "pkg/2nd.py"):
        (folder / name).touch()
    written = written.format(folder=folder)

    ended = process("--app", written, "status")

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"Error: --app names '{written}'")
    assert ended.stderr.rstrip().endswith(advice.format(folder=folder))


def test_a_file_of_another_folder_is_answered_with_that_folder(process, code, folder, monkeypatch):
    code(src_in_inner="", pkg_in___init__="", pkg_in_mail="")
    (folder / "my-shop").mkdir()
    (folder / "my-shop" / "jobs.py").touch()

    below = process("--app", "my-shop/jobs.py", "status")
    monkeypatch.chdir(folder / "src")
    beside = process("--app", "../pkg/mail.py", "status")
    monkeypatch.chdir(folder / "pkg")
    elsewhere = process("--app", f"{folder}/src/inner.py", "status")

    assert below.stderr.rstrip().endswith(f"it is in another folder: cd {folder}/my-shop, then --app jobs")
    assert beside.stderr.rstrip().endswith(f"it is in another folder: cd {folder}, then --app pkg.mail")
    assert elsewhere.stderr.rstrip().endswith(f"it is in another folder: cd {folder}/src, then --app inner")


def test_a_file_is_not_imported_to_find_out_that_it_was_named_as_one(process, code):
    code(loud="print('imported')\n")

    ended = process("--app", "loud.py", "status")

    assert ended.stdout == ""


def test_the_right_name_is_shown_as_it_is_written_where_the_wrong_one_was(process, shop, folder):
    from_environment = process("status", BELAYED_APP="shop.py")
    (folder / "pyproject.toml").write_text('[tool.belayed]\napp = "shop.py"\n')
    from_file = process("status")

    assert from_environment.stderr.rstrip().endswith("a module is named without .py: BELAYED_APP=shop")
    assert from_file.stderr.rstrip().endswith('a module is named without .py: app = "shop"')


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (
            "import nothing_like_it\n",
            NOT_INSTALLED,
        ),
        (
            "from other import x\n",
            "modules import one another in a circle: let one of them import inside the function that needs it",
        ),
        (
            "raise SystemExit(0)\n",
            'it exits when it is imported: put what it does as a program below if __name__ == "__main__":',
        ),
        ("import os\nos.environ['NOPE']\n", "the variable NOPE is not set where this command runs: NOPE=… before it"),
    ],
)
def test_an_import_that_fails_is_answered_with_what_to_do(process, code, text, advice):
    code(broken=text, other="import broken\nbroken.x\nx = 1\n")

    ended = process("--app", "broken", "workoff")

    assert ended.returncode == 2
    assert ended.stderr.rstrip().splitlines()[-1] == advice


def test_models_of_django_outside_of_its_project_are_answered_with_its_command(process, code):
    code(broken="from django.contrib.auth.models import User\n")

    ended = process("--app", "broken", "workoff", DJANGO_SETTINGS_MODULE="")

    assert ended.stderr.rstrip().splitlines()[-1] == (
        "a Django project is not set up here: use its own command, python manage.py belayed work"
    )


@pytest.mark.parametrize(
    ("given", "missing", "meant"),
    [
        ("mysite.setting", "mysite.setting", "did you mean mysite.settings?"),
        ("mysiet.settings", "mysiet", "start where it is found, beside the project's manage.py"),
        ("setting", "setting", "did you mean settings?"),
    ],
)
@pytest.mark.parametrize("words", [("status",), ("workoff",), ("--app", "mysite", "workoff")], ids=" ".join)
def test_a_wrong_settings_module_is_told_as_such(process, code, folder, given, missing, meant, words):
    code(mysite_in___init__="import django; django.setup()\n", mysite_in_settings="", settings="")

    ended = process(*words, DJANGO_SETTINGS_MODULE=given)

    assert ended.returncode == 2
    assert ended.stderr.rstrip().splitlines()[-1] == (
        f"DJANGO_SETTINGS_MODULE is {given!r}, and there is no module {missing} in {folder} or among the installed "
        f"packages; {meant}"
    )


def test_a_package_that_the_settings_import_is_told_as_not_installed(process, code):
    code(settings="import nothing_like_it\n")

    ended = process("status", DJANGO_SETTINGS_MODULE="settings")

    assert ended.stderr.rstrip().splitlines()[-1] == NOT_INSTALLED


def test_a_syntax_error_shows_no_frames_of_the_import_system(process, code):
    code(broken="def f(:\n")

    ended = process("--app", "broken", "workoff")

    assert ended.stderr.count("  File ") == 1
    assert ended.stderr.rstrip().endswith("SyntaxError: invalid syntax")


def test_doctor_says_what_to_do_about_an_import_that_fails(process, code):
    code(broken="import nothing_like_it\n")

    ended = process("--app", "broken", "doctor")

    assert "fix: nothing_like_it is not installed for" in " ".join(ended.stdout.split())
