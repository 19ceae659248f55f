"""A short chaos run on each store; the judge of it is tested in test_verdict.py and test_innocents.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.chaos.__main__ import without
from tests.patience import patient
from tests.servers import wanted, wheel

ROOT = Path(__file__).parents[2]
LAST = re.compile(
    r"accepted (\d+), ended (\d+), lost 0, repeated (\d+) \(all explained\), "
    r"innocents charged 0 \(\d+ explained by our kills\), hostile rows 0 \(0 refused\), "
    r"stalled 0 \(longest wait [\d.]+ s, of a suspect [\d.]+ s\), "
    r"workers that ended by themselves 0, kills (\d+), seed 7$"
)


@pytest.mark.deep
@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_nothing_is_lost_in_a_short_chaos(store: str) -> None:
    with wanted():
        wheel()

    # Slow imports, and rows that wait for code that nobody has, would make it long.
    short = [
        "--minutes",
        "0.2",
        "--longest",
        "3",
        "--without",
        "imports,forks,hostile,solo",
        "--patience",
        str(patient(45)),
    ]
    command = [sys.executable, "-m", "tests.chaos", "--store", store, "--seed", "7", *short]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=patient(300))

    found = LAST.search(ended.stdout.rstrip())
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert found, ended.stdout
    assert found[1] == found[2]
    assert int(found[1]) > 1000
    assert int(found[4]) >= 10


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("", ("transactions", "leftovers", "imports", "forks", "hostile", "solo", "refusals", "network")),
        ("transactions, imports,forks,hostile", ("leftovers", "solo", "refusals", "network")),
        ("all", ()),
    ],
)
def test_a_run_does_without_what_is_named(given: str, left: tuple[str, ...]) -> None:
    context = click.Context(click.Command("chaos"))

    parts = without(context, click.Option(["--without"]), given)

    assert parts == left


def test_a_part_that_there_is_not_is_an_error() -> None:
    context = click.Context(click.Command("chaos"))

    with pytest.raises(click.BadParameter, match="'fork': there are transactions"):
        without(context, click.Option(["--without"]), "fork")
