"""Each extra by itself does what its page promises: what the others bring cannot be imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.patience import patient

ROOT = Path(__file__).parents[2]
MODULES = {
    "psycopg": ("psycopg", "psycopg_binary", "psycopg_c", "psycopg_pool"),
    "asyncpg": ("asyncpg",),
    "aiosqlite": ("aiosqlite",),
    "pydantic": ("pydantic", "pydantic_core"),
    "django": ("django", "django_tasks"),
    "watchfiles": ("watchfiles",),
    "setproctitle": ("setproctitle",),
}
"""What can be imported of each package that an extra brings."""
OF_DEVELOPERS = {"all", "demo", "example", "site", "test", "lint", "docs"}
BLOCKER = """
import os, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["BLOCKED"].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""
BEGIN = """
import asyncio, os, sys
import belayed
from belayed import task
URL = os.environ["BELAYED_URL"]
@task
def send(to):
    return to
"""
END = """
assert belayed.Worker().run(until_empty=True).succeeded == 1
print("done")
"""
ENQUEUE = f"{BEGIN}\nbelayed.configure().migrate()\nsend.enqueue('ada')\n{END}"
ASYNCPG = f"""{BEGIN}
import asyncpg
belayed.configure().migrate()
async def main():
    connection = await asyncpg.connect(URL)
    async with connection.transaction():
        await send.using(connection=connection).aenqueue("ada")
    await connection.close()
asyncio.run(main())
{END}"""
AIOSQLITE = f"""{BEGIN}
import aiosqlite
belayed.configure().migrate()
async def main():
    async with aiosqlite.connect(URL.removeprefix("sqlite:///")) as connection:
        await send.using(connection=connection).aenqueue("ada")
        await connection.commit()
asyncio.run(main())
{END}"""
PYDANTIC = f"""{BEGIN}
from pydantic import BaseModel
class User(BaseModel):
    name: str
send.enqueue(User(name="ada"))
{END}"""
DJANGO = """
from django.conf import settings
database = {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.sqlite3"}
settings.configure(INSTALLED_APPS=["belayed.django"], DATABASES={"default": database}, USE_TZ=True)
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
import belayed
from belayed import task
@task
def send(to):
    return to
send.enqueue("ada")
assert belayed.Worker().run(until_empty=True).succeeded == 1
print("done")
"""
WORK = """
import sys
sys.argv[1:] = {words}
from belayed.cli import main
try:
    main(prog_name="belayed")
except SystemExit as ended:
    assert not ended.code, ended.code
print("done")
"""
PROGRAMS = {
    "": ("sqlite", ENQUEUE),
    "postgres": ("postgresql", ENQUEUE),
    "asyncpg": ("postgresql", ASYNCPG),
    "aiosqlite": ("sqlite", AIOSQLITE),
    "pydantic": ("sqlite", PYDANTIC),
    "django": ("sqlite", DJANGO),
    "reload": ("sqlite", WORK.format(words=["work", "--reload", "--exit-on-complete"])),
    "titles": ("sqlite", WORK.format(words=["workoff", "--prefix", "shop"])),
}


def extras():
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


def brought(extra):
    """The packages that an extra brings, by way of others too."""
    found = set()
    for line in extras().get(extra, ()):
        name, _, others = re.match(r"([\w-]+)(\[(.*)\])?", line).groups()
        for other in (others or "").split(",") if name == "belayed" else ():
            found |= brought(other)
        found.add(name.lower())
    return found


def test_every_extra_is_tried():
    assert set(PROGRAMS) - {""} == set(extras()) - OF_DEVELOPERS


@pytest.mark.parametrize("extra", PROGRAMS, ids=lambda extra: extra or "none")
def test_an_extra_alone_does_what_it_is_for(extra, request, tmp_path):
    dialect, program = PROGRAMS[extra]
    url = request.getfixturevalue("postgres_url") if dialect == "postgresql" else f"sqlite:///{tmp_path}/jobs.db"
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKER)
    (tmp_path / "shop.py").write_text(program)
    blocked = [name for package, names in MODULES.items() if package not in brought(extra) for name in names]
    environ = {**os.environ, "BELAYED_URL": url, "BLOCKED": ",".join(blocked)}
    environ["PYTHONPATH"] = f"{tmp_path / 'site'}{os.pathsep}{ROOT / 'src'}"

    ended = subprocess.run(
        [sys.executable, "shop.py"],
        check=False,
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=patient(60),
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "done"
