"""`init`: files for whoever starts workers."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

FILES = ["Procfile", "belayed.service", "Dockerfile"]


@pytest.mark.dj(336, 337)
def test_all_files_are_written_for_the_application(run, folder):
    ended = run("init", "--app", "shop.jobs", url=None)

    assert ended.exit_code == 0
    assert ended.stdout == "Wrote Procfile.\nWrote belayed.service.\nWrote Dockerfile.\n"
    assert (folder / "Procfile").read_text() == "worker: belayed work --app shop.jobs\n"
    unit = (folder / "belayed.service").read_text()
    assert f"WorkingDirectory={folder}\n" in unit
    assert "Type=notify\n" in unit
    assert "belayed work --app shop.jobs\n" in unit
    assert '"--app", "shop.jobs", "--health"' in (folder / "Dockerfile").read_text()


def test_one_file_alone_is_written(run, folder):
    run("init", "procfile", "--app", "shop", url=None)

    assert [path.name for path in folder.iterdir()] == ["Procfile"]


def test_a_file_that_is_there_is_left_alone(run, folder):
    (folder / "Procfile").write_text("web: mine\n")

    ended = run("init", "procfile", "--app", "shop", url=None)

    assert ended.exit_code == 1
    assert "Procfile is there already, and was left alone" in ended.stderr
    assert (folder / "Procfile").read_text() == "web: mine\n"


def test_a_file_that_is_there_is_written_over_by_force(run, folder):
    (folder / "Procfile").write_text("web: mine\n")

    ended = run("init", "procfile", "--force", "--app", "shop", url=None)

    assert ended.exit_code == 0
    assert "belayed work" in (folder / "Procfile").read_text()


def test_files_can_be_looked_at_first(run, folder):
    ended = run("init", "--print", "--app", "shop", url=None)

    assert all(f"# {name}\n" in ended.stdout for name in FILES)
    assert list(folder.iterdir()) == []


def test_without_an_application_it_says_where_to_put_it(run, folder):
    ended = run("init", "procfile", url=None)

    assert "No application is named" in ended.stderr
    assert "--app app" in (folder / "Procfile").read_text()


def test_a_django_project_gets_its_own_command(run, folder, monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "blog.settings")
    (folder / "manage.py").touch()

    run("init", url=None)

    assert (folder / "Procfile").read_text() == "worker: python manage.py belayed work\n"
    assert f"ExecStart={sys.executable} manage.py belayed work\n" in (folder / "belayed.service").read_text()
    assert f"Description=Background jobs of {folder.name}\n" in (folder / "belayed.service").read_text()
    assert 'CMD ["python", "manage.py", "belayed", "work", "--health"' in (folder / "Dockerfile").read_text()


def test_a_django_project_without_manage_py_gets_its_settings(run, folder, monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "blog.settings")

    run("init", "procfile", url=None)

    line = "worker: env DJANGO_SETTINGS_MODULE=blog.settings belayed work --app belayed.django.start:jobs\n"
    assert (folder / "Procfile").read_text() == line


def test_another_kind_of_file_is_refused(run):
    ended = run("init", "upstart", url=None)

    assert ended.exit_code == 2
    assert "'upstart' is not one of 'procfile', 'systemd', 'docker'" in ended.stderr


@pytest.mark.parametrize(
    ("given", "line"),
    [("requirements.txt", "COPY requirements.txt ."), ("pyproject.toml", "RUN pip install --no-cache-dir .")],
)
def test_the_dockerfile_installs_what_the_application_needs(run, folder, given, line):
    (folder / given).write_text("")

    run("init", "docker", url=None)

    assert line in (folder / "Dockerfile").read_text().splitlines()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_unit(run, folder):
    run("init", "systemd", "--app", "shop", url=None)

    checked = subprocess.run(
        ["systemd-analyze", "verify", folder / "belayed.service"], check=False, capture_output=True, text=True
    )

    assert "belayed.service:" not in checked.stderr
