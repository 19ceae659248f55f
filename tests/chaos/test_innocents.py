"""The judge of a chaos run finds who was charged for another, what waited too long, and which worker gave up."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.chaos.innocents import charges, covered, endings, waits
from tests.chaos.ledger import Ledger, Start
from tests.chaos.load import Accepted, Canary
from tests.chaos.places import ALL, NOBODY
from tests.chaos.rows import SUSPECT
from tests.chaos.test_verdict import TABLES, ledger, run
from tests.chaos.verdict import Exit, Fault, Verdict

OURS = Fault("kill_child", 11, 11, {200})
DEATH = "its process 200 was killed by SIGKILL (signal 9); peak memory 40 MiB"


@pytest.fixture
def raw() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(TABLES)
    return connection


def job(raw: sqlite3.Connection, task: str = "app.works", *, crashes: int = 0, state: str = "succeeded") -> None:
    """Job 1 as it ended."""
    rescues = 10 if state == "failed" and not crashes else 0
    values = (f"tests.chaos.{task}", state, crashes, rescues)
    raw.execute("INSERT INTO belayed_history VALUES (1, ?, ?, ?, ?)", values)
    if crashes:
        raw.execute("INSERT INTO belayed_attempts VALUES (1, 1, 'crashed', 'AttemptCrashed', ?, 'w', 0)", (DEATH,))


def blamed(
    raw: sqlite3.Connection,
    made: Ledger,
    *faults: Fault,
    accepted: Accepted | None = None,
    exits: tuple[Exit, ...] = (),
) -> Verdict:
    verdict = Verdict()
    charges(verdict, accepted or Accepted(), made, faults, exits, raw)
    return verdict


def exit_of(pid: int, *, ready: bool = True, solo: bool = False) -> Exit:
    return Exit(pid, 1, 5.0, 20.0, ready, solo, Path("/nowhere.log"))


def test_an_innocent_that_was_charged_for_a_job_that_ended_its_process_is_found(raw: sqlite3.Connection) -> None:
    job(raw, crashes=1)
    killer = run(10, key="k2", id=2)

    verdict = blamed(raw, ledger(run(10), killer, deaths=(killer,)))

    assert verdict.innocents == [f"tests.chaos.app.works #1, attempt 1: charged, as {DEATH}"]
    assert not verdict.good


def test_who_ran_alone_in_a_process_that_we_killed_is_charged_by_design(raw: sqlite3.Connection) -> None:
    job(raw, crashes=1)

    verdict = blamed(raw, ledger(run(10)), OURS)

    assert verdict.good
    assert verdict.excused == {"kill_child": 1}


@pytest.mark.parametrize(("ended", "good"), [(False, False), (True, True)])
def test_our_kill_explains_no_charge_where_another_job_ran_too(
    ended: bool, good: bool, raw: sqlite3.Connection
) -> None:
    job(raw, crashes=1)
    neighbour = run(10, key="k2", id=2)
    made = ledger(run(10), neighbour)
    if ended:
        made.take("end", neighbour)

    verdict = blamed(raw, made, OURS)

    assert verdict.good is good


@pytest.mark.parametrize(
    "fault", [Fault("kill_child", 11, 11, {201}), Fault("cut", 11, 11, NOBODY), Fault("restart", 11, 11, ALL)]
)
def test_no_other_fault_explains_a_charge(fault: Fault, raw: sqlite3.Connection) -> None:
    job(raw, crashes=1)

    verdict = blamed(raw, ledger(run(10)), fault)

    assert len(verdict.innocents) == 1


def test_a_charge_without_a_record_is_found(raw: sqlite3.Connection) -> None:
    job(raw, crashes=2)

    verdict = blamed(raw, ledger(run(10)), OURS)

    assert verdict.innocents == ["tests.chaos.app.works #1: charged, and no record says why"]


def test_a_job_that_is_still_live_is_judged_too(raw: sqlite3.Connection) -> None:
    raw.execute("INSERT INTO belayed_jobs VALUES (1, 'tests.chaos.app.aworks', 'ready', 1, 0)")

    verdict = blamed(raw, ledger(run(10)))

    assert len(verdict.innocents) == 1


@pytest.mark.parametrize(
    "task", ["app.poisons", "killers.completes_and_dies", "killers.leaves_a_task", "vandals.sends"]
)
def test_a_job_that_ends_its_process_may_be_charged(task: str, raw: sqlite3.Connection) -> None:
    job(raw, task, crashes=1)

    verdict = blamed(raw, ledger(run(10)))

    assert verdict.good
    assert not verdict.excused


def test_foreign_counters_are_nobodys_charge(raw: sqlite3.Connection) -> None:
    job(raw, crashes=1)

    verdict = blamed(raw, ledger(run(10)), accepted=Accepted(rows={1: SUSPECT}))

    assert verdict.good


def rescued(raw: sqlite3.Connection, *pids: int) -> None:
    """Job 1 was put aside, after ten rescues from the workers with these process ids, 25 seconds into the run."""
    job(raw, state="failed")
    for pid in pids:
        row = (f"host:{pid}-0123456789abcdef", 25_000_000)
        raw.execute("INSERT INTO belayed_attempts VALUES (1, 1, 'lost', NULL, 'it stopped beating', ?, ?)", row)


@pytest.mark.parametrize(("last", "good"), [(77, True), (78, False)])
def test_a_job_is_put_aside_by_rescues_only_if_each_was_our_doing(
    last: int, good: bool, raw: sqlite3.Connection
) -> None:
    rescued(raw, *[77] * 9, last)

    verdict = blamed(raw, ledger(run(10)), Fault("kill_supervisor", 11, 11, {77}), Fault("kill_child", 11, 11, {78}))

    assert verdict.good is good
    assert verdict.excused["rescues"] == good


@pytest.mark.parametrize(
    ("fault", "good"),
    [
        (Fault("restart", 20, 22, ALL), True),
        (Fault("stop_tree", 20, 22, {77}), True),
        (Fault("stop_tree", 20, 22, {78}), False),
        (Fault("restart", 30, 32, ALL), False),
        (Fault("cut", 20, 22, ALL), False),
    ],
)
def test_what_hindered_a_worker_explains_that_its_jobs_were_rescued_then(
    fault: Fault, good: bool, raw: sqlite3.Connection
) -> None:
    rescued(raw, *[77] * 10)

    verdict = blamed(raw, ledger(run(10)), fault)

    assert verdict.good is good


def test_what_hindered_all_explains_no_rescue_from_a_worker_that_a_job_has_ended(raw: sqlite3.Connection) -> None:
    rescued(raw, *[77] * 10)

    verdict = blamed(raw, ledger(run(10)), Fault("restart", 20, 22, ALL), exits=(exit_of(77, solo=True),))

    assert len(verdict.innocents) == 1


def test_a_job_that_was_put_aside_without_a_rescue_is_found(raw: sqlite3.Connection) -> None:
    rescued(raw)

    verdict = blamed(raw, ledger(run(10)))

    assert len(verdict.innocents) == 1


PATIENCE = (10.0, 30.0)


def waited(canary: Canary, end: float | None, *faults: Fault) -> Verdict:
    verdict, made = Verdict(), Ledger()
    if end is not None:
        made.take("end", Start(canary.key, 1, 1, 200, 100, end))
    waits(verdict, Accepted(canaries=[canary]), made, faults, 200.0, PATIENCE)
    return verdict


@pytest.mark.parametrize(("end", "good"), [(109, True), (111, False), (None, False)])
def test_a_canary_that_waits_for_too_long_has_stalled(end: float | None, good: bool) -> None:
    verdict = waited(Canary("k1", 100.0), end)

    assert verdict.good is good
    assert verdict.longest == (end or 200) - 100


@pytest.mark.parametrize(("end", "good"), [(129, True), (131, False)])
def test_a_suspect_may_wait_for_others(end: float, good: bool) -> None:
    verdict = waited(Canary("k1", 100.0, suspect=True), end)

    assert verdict.good is good
    assert (verdict.longest, verdict.longest_suspect) == (0.0, end - 100)


@pytest.mark.parametrize(
    ("fault", "good"),
    [
        (Fault("lock", 101, 107, ALL), True),
        (Fault("lock", 101, 103, ALL), False),
        (Fault("lock", 90, 99, ALL), False),
        (Fault("kill_child", 101, 107, {200}), False),
    ],
)
def test_only_what_hinders_all_explains_a_wait(fault: Fault, good: bool) -> None:
    verdict = waited(Canary("k1", 100.0), 115, fault)

    assert verdict.good is good


def test_time_is_counted_once_however_many_faults_cover_it() -> None:
    spans = [(0.0, 12.0), (11.0, 14.0), (11.0, 13.0), (18.0, 99.0)]

    seconds = covered(spans, 10.0, 20.0)

    assert seconds == 6.0


def ended(*faults: Fault, ready: bool = True, solo: bool = False, made: Ledger | None = None) -> Verdict:
    verdict = Verdict()
    endings(verdict, [exit_of(100, ready=ready, solo=solo)], made or Ledger(), faults)
    return verdict


def test_a_worker_that_ends_by_itself_is_found() -> None:
    verdict = ended(Fault("signal_supervisor", 19, 19, NOBODY), Fault("starve_of_files", 10, 20, NOBODY))

    assert len(verdict.ends) == 1
    assert not verdict.good


def test_a_worker_that_was_killed_has_not_ended_by_itself() -> None:
    verdict = ended(Fault("kill_supervisor", 19, 19, {100}))

    assert verdict.good


@pytest.mark.parametrize(("ready", "good"), [(False, True), (True, False)])
def test_only_a_worker_that_has_never_served_may_give_up(ready: bool, good: bool) -> None:
    verdict = ended(Fault("imports fail", 10, 12, NOBODY), ready=ready)

    assert verdict.good is good


@pytest.mark.parametrize(("solo", "good"), [(True, True), (False, False)])
def test_only_a_worker_without_children_may_be_ended_by_a_job(solo: bool, good: bool) -> None:
    killer = run(10, key="k2", id=2, pid=100)

    verdict = ended(solo=solo, made=ledger(killer, deaths=(killer,)))

    assert verdict.good is good
