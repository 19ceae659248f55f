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


PROJECT = "[project]\nname = 'shop'\nversion = '1'\n"


def installed(run, folder, *words, url=None):
    """The lines of the Dockerfile that install."""
    ended = run("init", "docker", *words, url=url)
    assert ended.exit_code == 0, ended.stderr
    lines = (folder / "Dockerfile").read_text().splitlines()
    return [line for line in lines if line.startswith(("COPY", "RUN pip"))]


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        ({}, ["COPY . .", "RUN pip install --no-cache-dir belayed"]),
        (
            {"requirements.txt": "belayed[postgres]>=0.1  # jobs\n"},
            ["COPY requirements.txt .", "RUN pip install --no-cache-dir -r requirements.txt", "COPY . ."],
        ),
        (
            {"pyproject.toml": f"{PROJECT}dependencies = ['belayed[postgres]']"},
            ["COPY . .", "RUN pip install --no-cache-dir ."],
        ),
        # A file of settings is no package.
        (
            {"pyproject.toml": "[tool.belayed]\napp = 'shop'"},
            ["COPY . .", "RUN pip install --no-cache-dir belayed"],
        ),
    ],
)
def test_the_dockerfile_installs_what_the_application_needs(run, folder, files, lines):
    for name, text in files.items():
        (folder / name).write_text(text)

    assert installed(run, folder) == lines


EXTRA = "RUN pip install --no-cache-dir 'belayed[{}]'"


@pytest.mark.parametrize(
    ("files", "extra"),
    [
        ({"pyproject.toml": f"{PROJECT}optional-dependencies = {{worker = ['belayed[postgres]']}}"}, "postgres"),
        ({"pyproject.toml": f"{PROJECT}[dependency-groups]\nprod = ['Belayed [postgres, reload]']"}, "postgres"),
        ({"pyproject.toml": "[tool.poetry.group.w.dependencies]\nbelayed = {extras = ['asyncpg']}"}, "asyncpg"),
        ({"Pipfile": "[packages]\nbelayed = {extras = ['titles'], version = '*'}"}, "titles"),
        ({"Pipfile.lock": '{"default": {"belayed": {"extras": ["pydantic"]}}}'}, "pydantic"),
        ({"uv.lock": "[[package]]\nname='shop'\ndependencies=[{name='belayed', extra=['postgres']}]"}, "postgres"),
        ({"poetry.lock": "[[package]]\nname='asyncpg'\n[[package]]\nname='psycopg'"}, "asyncpg"),
        ({"requirements-prod.txt": "belayed[postgres,titles]"}, "postgres,titles"),
        ({"requirements.txt": "flask\nbelayed\n", "requirements-w.txt": "belayed[aiosqlite]"}, "aiosqlite"),
    ],
)
def test_the_dockerfile_installs_extras_that_are_named_elsewhere(run, folder, files, extra):
    for name, text in files.items():
        (folder / name).write_text(text)

    lines = installed(run, folder)

    assert EXTRA.format(extra) in lines


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("postgresql://shop@db/shop", "postgres"),
        ("postgres://shop@db/shop", "postgres"),
        ("postgresql+psycopg://shop@db/shop", "postgres"),
        ("postgresql+asyncpg://shop@db/shop", "asyncpg"),
        ("sqlite+aiosqlite:///shop.db", "aiosqlite"),
    ],
)
def test_the_dockerfile_installs_the_driver_of_the_url(run, folder, url, extra):
    (folder / "requirements.txt").write_text("flask\nbelayed==0.1 --hash=sha256:00\n")

    lines = installed(run, folder, url=url)

    assert lines[1:] == [
        "RUN pip install --no-cache-dir -r requirements.txt",
        EXTRA.format(extra),
        "COPY . .",
    ]


def test_the_dockerfile_installs_the_driver_of_the_applications_own_url(run, folder):
    (folder / "bakery.py").write_text("import belayed\nbelayed.configure('postgresql://shop@db/shop')\n")

    assert EXTRA.format("postgres") in installed(run, folder, "--app", "bakery")


@pytest.mark.parametrize("variable", ["BELAYED_URL", "DATABASE_URL"])
def test_the_dockerfile_installs_the_driver_of_a_variable(run, folder, monkeypatch, variable):
    monkeypatch.setenv(variable, "postgresql://shop@db/shop")

    assert EXTRA.format("postgres") in installed(run, folder, "--app", "not_here")


def test_the_dockerfile_installs_no_extra_whose_packages_are_required_already(run, folder):
    (folder / "requirements.txt").write_text("-r base.txt\n")
    (folder / "base.txt").write_text("-r requirements.txt\nbelayed==0.1\npsycopg[binary]==3.2.4\n")

    assert len(installed(run, folder, url="postgresql://db/shop")) == 3


def test_the_dockerfile_of_a_django_project_installs_django(run, folder, monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "blog.settings")

    assert EXTRA.format("django") in installed(run, folder)


def test_a_project_file_that_cannot_be_read_is_wrong_use(run, folder):
    (folder / "uv.lock").write_text("[[")

    ended = run("init", "docker", url=None)

    assert ended.exit_code == 2
    assert "uv.lock cannot be read" in ended.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_unit(run, folder):
    run("init", "systemd", "--app", "shop", url=None)

    checked = subprocess.run(
        ["systemd-analyze", "verify", folder / "belayed.service"], check=False, capture_output=True, text=True
    )

    assert "belayed.service:" not in checked.stderr
