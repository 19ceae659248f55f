"""What the pages about production show for other programs is right: commands, YAML, the unit of systemd."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache
from getpass import getuser
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from belayed.cli import main
from belayed.config import WorkerConfig
from belayed.parsing import duration

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    path.name: path.read_text("utf-8")
    for folder in ("production", "coming-from")
    for path in DOCS.glob(f"{folder}/*.md")
}
GRACE = WorkerConfig().grace.total_seconds()
BEYOND_GRACE = 3
"""Seconds after its grace at which a worker has ended."""
ENDS = {"&&", "||", "|", ";", ">", ">>", "2>", "<"}
"""What ends a command on its line."""


def blocks(language: str) -> list[tuple[str, str]]:
    """The blocks of code in a *language*, each with the page that it is on."""
    fence = re.compile(rf"^ *```{language}\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    return [(page, block) for page, text in PAGES.items() for block in fence.findall(text)]


def documents() -> list[tuple[str, Any]]:
    return [(page, document) for page, block in blocks("yaml") for document in yaml.safe_load_all(block)]


def services() -> list[dict[str, Any]]:
    """The services of the compose files."""
    return [service for _, one in documents() for service in one.get("services", {}).values()]


def pods() -> list[dict[str, Any]]:
    """The pods of Kubernetes."""
    return [one["spec"]["template"]["spec"] for _, one in documents() if one.get("kind") == "Deployment"]


def shown() -> Iterator[tuple[str, list[str]]]:
    """What looks like a command of ours, as its words: in blocks, in the middle of a text, in YAML and units."""
    for page, text in PAGES.items():
        fenced = re.findall(r"^ *```(?!yaml|python)\w+\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
        prose = re.sub(r"^ *```\w.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
        inline = re.findall(r"`([^`]+)`", re.sub(r"\s*\n\s*", " ", prose))
        for line in [*"\n".join(fenced).splitlines(), *inline]:
            if found := re.search(r"(?:^|[ /(])belayed ([a-z]+\b.*?)(?:\)\x22)?$", line.partition("  #")[0]):
                yield page, words(found[1])
    for service in services():
        yield "compose", words(service["command"].removeprefix("belayed "))
    for pod in pods():
        for container in [*pod["initContainers"], *pod["containers"]]:
            yield "Kubernetes", container["command"][1:]


def words(text: str) -> list[str]:
    """The words of a command, up to where a shell begins another."""
    return list(takewhile(lambda word: word not in ENDS, shlex.split(text)))


COMMANDS = [(page, line) for page, line in shown() if line[0] in main.commands]


@cache
def options_of(command: str) -> set[str]:
    """The options that the help of a command names."""
    done = CliRunner().invoke(main, [command, "--help"])
    assert done.exit_code == 0
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", done.output))


def test_there_are_commands_to_check():
    pages = {page for page, _ in COMMANDS}

    assert {"commands.md", "deploy.md", "monitoring.md", "compose", "Kubernetes"} <= pages


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_option_of_a_command_that_is_shown_exists(page, line):
    command, *rest = line
    options = [word.partition("=")[0].rstrip(".,;:)") for word in rest if re.match(r"--?[a-z]", word)]

    assert set(options) <= options_of(command)


@pytest.mark.parametrize(("page", "block"), blocks("yaml"))
def test_every_block_of_yaml_is_yaml(page, block):
    assert all(isinstance(document, dict) for document in yaml.safe_load_all(block))


def test_compose_waits_for_longer_than_the_grace():
    waits = [service["stop_grace_period"] for service in services() if "belayed work" in service["command"]]

    assert waits
    assert all(duration(wait).total_seconds() > GRACE + BEYOND_GRACE for wait in waits)


def test_kubernetes_waits_for_longer_than_the_grace():
    waits = [pod["terminationGracePeriodSeconds"] for pod in pods()]

    assert waits
    assert all(wait > GRACE + BEYOND_GRACE for wait in waits)


def test_supervisord_waits_for_longer_than_the_grace():
    ((_, text),) = [one for one in blocks("ini") if "[program:" in one[1]]
    program = ConfigParser(interpolation=None)
    program.read_string(text)

    assert program["program:belayed"].getint("stopwaitsecs") > GRACE + BEYOND_GRACE


WAITS = re.findall(r"^\| (.+?) \| (\d+) s(?:, always)? \| `(.+?)`", PAGES["deploy.md"], re.MULTILINE)


def test_there_are_waits_to_check():
    assert len(WAITS) >= 10


@pytest.mark.parametrize(("what", "default", "said"), WAITS)
def test_what_is_said_to_whoever_stops_a_worker_is_longer_than_the_grace(what, default, said):
    number = int(re.search(r"\d+", said)[0])
    longest, wait = (number, int(default)) if said.startswith("BELAYED_GRACE") else (GRACE, number)

    assert wait > longest + BEYOND_GRACE


def test_kubernetes_asks_where_the_worker_answers():
    for pod in pods():
        (worker,) = pod["containers"]
        health = worker["command"][worker["command"].index("--health") + 1]
        asked = [worker[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]

        assert [probe["path"] for probe in asked] == ["/healthz", "/readyz"]
        assert {f"0.0.0.0:{probe['port']}" for probe in asked} == {health}


def test_the_unit_of_systemd_is_what_init_writes(tmp_path):
    ((_, shown),) = [one for one in blocks("ini") if "[Unit]" in one[1]]
    (tmp_path / "shop.py").touch()

    command = [sys.executable, "-m", "belayed", "init", "--print", "systemd", "--app", "shop"]
    written = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    there = {str(Path(sys.executable).parent): "/srv/shop/.venv/bin", str(tmp_path): "/srv/shop"}
    for here, place in there.items():
        written = written.replace(here, place)
    written = written.replace(f"User={getuser()}", "User=shop").removeprefix("# belayed.service\n")
    assert written.strip() == shown.strip()
