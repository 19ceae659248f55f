"""A short chaos run on each store; and that its judge does find what it is to find."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.load import Accepted
from tests.chaos.places import ALL, EFFECTS, NOBODY
from tests.chaos.verdict import Fault, Start, judged
from tests.servers import wanted, wheel

ROOT = Path(__file__).parents[2]
LAST = re.compile(r"accepted (\d+), ended (\d+), lost 0, repeated (\d+) \(all explained\), kills (\d+), seed 7$")


@pytest.mark.slow
@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_nothing_is_lost_in_a_short_chaos(store: str) -> None:
    with wanted():
        wheel()

    command = [
        sys.executable,
        "-m",
        "tests.chaos",
        "--minutes",
        "0.2",
        "--store",
        store,
        "--seed",
        "7",
        "--longest",
        "3",
    ]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=300)

    found = LAST.search(ended.stdout.rstrip())
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert found, ended.stdout
    assert found[1] == found[2]
    assert int(found[1]) > 1000
    assert int(found[4]) >= 10


TABLES = """
CREATE TABLE belayed_history (id, state, crashes, rescues);
CREATE TABLE belayed_jobs (id);
CREATE TABLE belayed_attempts (job_id, number, outcome);
"""


@pytest.fixture
def raw() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(f"{TABLES}{EFFECTS};")
    connection.execute("INSERT INTO belayed_history VALUES (1, 'succeeded', 0, 0)")
    return connection


def run(at: float, attempt: int = 1) -> Start:
    return Start("k1", 1, attempt, 200, 100, at)


def test_a_repeat_without_a_reason_is_found(raw: sqlite3.Connection) -> None:
    accepted = Accepted({1: ("works", "k1")})

    verdict = judged(accepted, {"k1": [run(10), run(12)]}, [Fault("kill_child", 11, 11, {201})], raw, 0)

    assert str(verdict) == "accepted 1, ended 1, lost 0, repeated 1 (1 unexplained), kills 0, seed 0"
    assert not verdict.good


@pytest.mark.parametrize(
    ("fault", "explains"),
    [
        (Fault("kill_child", 11, 11, {200}), True),
        (Fault("kill_supervisor", 11, 11, {100}), True),
        (Fault("restart", 11, 11.5, ALL), True),
        (Fault("cut", 11, 11, NOBODY), False),
        (Fault("kill_child", 13, 13, {200}), False),
        (Fault("kill_child", 9, 9, {200}), False),
    ],
)
def test_only_a_fault_that_hit_that_very_attempt_explains_its_repeat(
    fault: Fault, explains: bool, raw: sqlite3.Connection
) -> None:
    accepted = Accepted({1: ("works", "k1")})

    verdict = judged(accepted, {"k1": [run(10), run(12)]}, [fault], raw, 0)

    assert verdict.good is explains


@pytest.mark.parametrize(("crashes", "rescues", "good"), [(2, 9, False), (3, 0, True), (0, 10, True)])
def test_a_job_may_fail_only_by_what_was_done_to_it(
    crashes: int, rescues: int, good: bool, raw: sqlite3.Connection
) -> None:
    raw.execute("UPDATE belayed_history SET state = 'failed', crashes = ?, rescues = ?", (crashes, rescues))

    verdict = judged(Accepted({1: ("works", "k1")}), {"k1": [run(10)]}, [], raw, 0)

    assert verdict.good is good


def test_a_job_that_is_gone_or_still_live_is_lost(raw: sqlite3.Connection) -> None:
    raw.execute("INSERT INTO belayed_jobs VALUES (3)")
    accepted = Accepted({number: ("works", f"k{number}") for number in (1, 2, 3)})

    verdict = judged(accepted, {"k1": [run(10)]}, [], raw, 0)

    assert verdict.lost == ["works k2 #2: nowhere", "works k3 #3: still live"]


def test_an_effect_that_happened_twice_or_never_is_lost(raw: sqlite3.Connection) -> None:
    accepted = Accepted({1: ("transacts", "k1")})

    never = judged(accepted, {"k1": [run(10)]}, [], raw, 0)
    raw.executemany("INSERT INTO chaos_effects VALUES (?)", [("k1",), ("k1",)])
    twice = judged(accepted, {"k1": [run(10)]}, [], raw, 0)

    assert never.lost == ["transacts k1 #1: 0 effects"]
    assert set(twice.lost) == {
        "k1: 2 effects",
        "transacts k1 #1: 2 effects",
    }


def test_what_was_rolled_back_must_not_run(raw: sqlite3.Connection) -> None:
    accepted = Accepted({1: ("works", "k1")}, rolled_back={"k2"})

    verdict = judged(accepted, {"k1": [run(10)], "k2": [Start("k2", 2, 1, 200, 100, 10)]}, [], raw, 0)

    assert verdict.lost == ["k2: was rolled back, and ran"]
