"""The judge of a chaos run finds what is lost, and what has run twice without a reason."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.chaos.ledger import Ledger, Start
from tests.chaos.load import Accepted
from tests.chaos.places import ALL, EFFECTS, NOBODY
from tests.chaos.rows import Odd
from tests.chaos.verdict import Fault, Verdict, judged

TABLES = """
CREATE TABLE belayed_history (id, task, state, crashes, rescues);
CREATE TABLE belayed_jobs (id, task, state, crashes, rescues);
CREATE TABLE belayed_attempts (job_id, number, outcome, error_type, message, worker, ended_at);
"""


@pytest.fixture
def raw() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(f"{TABLES}{EFFECTS};")
    connection.execute("INSERT INTO belayed_history VALUES (1, 'tests.chaos.app.works', 'succeeded', 0, 0)")
    return connection


def run(at: float, attempt: int = 1, key: str = "k1", id: int = 1, pid: int = 200) -> Start:
    return Start(key, id, attempt, pid, 100, at)


def ledger(*starts: Start, deaths: tuple[Start, ...] = (), harms: tuple[Start, ...] = ()) -> Ledger:
    made = Ledger()
    for start in starts:
        made.take("start", start)
    for one in deaths:
        made.take("dies", one)
    for one in harms:
        made.take("harms", one)
    return made


@pytest.mark.parametrize(
    ("fault", "explains"),
    [
        (Fault("kill_child", 11, 11, {200}), True),
        (Fault("kill_child", 11, 11, {201}), False),
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

    verdict = judged(accepted, ledger(run(10), run(12)), [fault], raw, 0)

    assert verdict.good is explains


@pytest.mark.parametrize(("pid", "at", "explains"), [(200, 11, True), (201, 11, False), (200, 13, False)])
@pytest.mark.parametrize("event", ["deaths", "harms"])
def test_a_job_that_ends_its_process_explains_the_repeats_there(
    event: str, pid: int, at: float, explains: bool, raw: sqlite3.Connection
) -> None:
    accepted = Accepted({1: ("works", "k1")})
    killer = run(at, key="k9", id=9, pid=pid)
    made = ledger(run(10), run(12), **{event: (killer,)})

    verdict = judged(accepted, made, [], raw, 0)

    assert verdict.good is explains


@pytest.mark.parametrize(("crashes", "rescues", "good"), [(2, 9, False), (3, 0, True), (0, 10, True)])
def test_a_job_may_fail_only_by_what_was_done_to_it(
    crashes: int, rescues: int, good: bool, raw: sqlite3.Connection
) -> None:
    raw.execute("UPDATE belayed_history SET state = 'failed', crashes = ?, rescues = ?", (crashes, rescues))

    verdict = judged(Accepted({1: ("works", "k1")}), ledger(run(10)), [], raw, 0)

    assert verdict.good is good


def test_a_job_that_is_gone_or_still_live_is_lost(raw: sqlite3.Connection) -> None:
    raw.execute("INSERT INTO belayed_jobs (id) VALUES (3)")
    accepted = Accepted({number: ("works", f"k{number}") for number in (1, 2, 3)})

    verdict = judged(accepted, ledger(run(10)), [], raw, 0)

    assert verdict.lost == ["works k2 #2: nowhere", "works k3 #3: still live"]


@pytest.mark.parametrize("kind", ["transacts", "completes_and_dies", "acompletes_and_dies"])
def test_an_effect_that_happened_twice_or_never_is_lost(kind: str, raw: sqlite3.Connection) -> None:
    accepted = Accepted({1: (kind, "k1")})

    never = judged(accepted, ledger(run(10)), [], raw, 0)
    raw.executemany("INSERT INTO chaos_effects VALUES (?)", [("k1",), ("k1",)])
    twice = judged(accepted, ledger(run(10)), [], raw, 0)

    assert never.lost == [f"{kind} k1 #1: 0 effects"]
    assert set(twice.lost) == {"k1: 2 effects", f"{kind} k1 #1: 2 effects"}


def test_an_effect_of_a_transaction_that_was_never_committed_is_lost(raw: sqlite3.Connection) -> None:
    raw.execute("UPDATE belayed_history SET state = 'failed', crashes = 3")
    raw.execute("INSERT INTO chaos_effects VALUES ('k1')")

    verdict = judged(Accepted({1: ("dies_in_transaction", "k1")}), ledger(run(10)), [], raw, 0)

    assert verdict.lost == ["dies_in_transaction k1 #1: 1 effects"]


def test_what_was_rolled_back_must_not_run(raw: sqlite3.Connection) -> None:
    accepted = Accepted({1: ("works", "k1")}, rolled_back={"k2"})

    verdict = judged(accepted, ledger(run(10), run(10, key="k2", id=2)), [], raw, 0)

    assert verdict.lost == ["k2: was rolled back, and ran"]


@pytest.mark.parametrize(("state", "good"), [("failed", True), ("succeeded", False), (None, False)])
def test_a_hostile_row_must_end_as_it_has_to(state: str | None, good: bool, raw: sqlite3.Connection) -> None:
    table = "belayed_history" if state else "belayed_jobs"
    raw.execute(f"INSERT INTO {table} (id, task, state) VALUES (2, 'any', ?)", (state or "ready",))
    accepted = Accepted(rows={2: Odd("payload: null", "payload", "null", ("failed",))})

    verdict = judged(accepted, ledger(), [], raw, 0)

    assert verdict.good is good
    assert verdict.lost == [] if good else [f"the row with payload: null #2: {state or 'still live'}"]


@pytest.mark.parametrize("name", ["lost", "unexplained", "innocents", "stalled", "ends"])
def test_anything_that_must_not_be_makes_a_run_bad(name: str) -> None:
    verdict = Verdict()
    assert verdict.good

    getattr(verdict, name).append("what it was")

    assert not verdict.good


def test_the_last_line_counts_all(raw: sqlite3.Connection) -> None:
    verdict = Verdict(10, 9, 2, ["a"], ["b"], ["c"], longest=3.21, longest_suspect=4.0, kills=5, seed=7)
    verdict.excused["kill_child"] = 6
    verdict.rows, verdict.refused, verdict.ends = 8, 3, ["d", "e"]

    line = str(verdict)

    assert line == (
        "accepted 10, ended 9, lost 1, repeated 2 (1 unexplained), "
        "innocents charged 1 (6 explained by our kills), hostile rows 8 (3 refused), "
        "stalled 0 (longest wait 3.2 s, of a suspect 4.0 s), "
        "workers that ended by themselves 2, kills 5, seed 7"
    )


def test_a_ledger_is_read_though_log_lines_lie_between(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    file.write_bytes(
        b"start k1 1 1 200 100 10.5\n12:00 INFO a line of the log\xff\nend k1 1 1 200 100 11.5\n"
        b"start k2 2 1 200 100 11.6\ndies k2 2 1 200 100 12.5\nscribbles k3 3 1 201 100 13.5\nstart k4 4"
    )

    read = Ledger.read(file)

    assert read.starts == {"k1": [run(10.5)], "k2": [run(11.6, key="k2", id=2)]}
    assert read.ends == {"k1": [11.5]}
    assert read.left == {(1, 1)}
    assert [one.key for one in read.deaths] == ["k2"]
    assert read.scribbled == {201}
