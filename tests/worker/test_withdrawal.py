"""Jobs that were handed to a child which does not start them go back, whether the child answers or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from belayed.claim import Claimed
from belayed.config import Config
from belayed.job import Outcome, State
from belayed.worker import withdrawal
from belayed.worker.frames import finished_row
from belayed.worker.handed import Child, Role
from belayed.worker.page import Page
from belayed.worker.slots import released
from belayed.worker.verdict import untold
from belayed.worker.vigil import pool_watched
from tests.worker.puppets import Puppet, Stage, job, stage


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second look at a mark come at once: no store of a puppet is on its way."""
    monkeypatch.setattr(withdrawal, "LATER", 0.0)


def unstarted(one: Stage, child: Child, *jobs: Claimed) -> list[int]:
    """The cells of jobs that a child holds and has not started."""
    cells = one.given(child, *jobs)
    for cell in cells:
        child.process.page.clear(cell)
    return cells


def looks(one: Stage, seconds: float) -> None:
    """Look as often as in so many seconds."""
    for _ in range(round(seconds / one.nursery.look)):
        one.nursery.watch(0.0)


def withdrawn(one: Stage, *jobs: Claimed) -> tuple[Child, Puppet, list[int]]:
    """A child that has been handed jobs, which were taken back from it."""
    child, puppet = one.child()
    cells = unstarted(one, child, *jobs)
    looks(one, withdrawal.UNSTARTED + 2 * one.nursery.look)
    assert not child.handed
    return child, puppet, cells


def test_a_page_lets_an_attempt_start_unless_it_was_withdrawn() -> None:
    page = Page.made(3)

    page.withdraw(1)
    begun = [page.start(cell) for cell in range(3)]

    assert begun == [True, False, True]
    assert [bool(page.started(cell)) for cell in range(3)] == begun
    page.clear(1)
    assert page.start(1)
    page.close()


def test_what_a_child_does_not_start_goes_to_another() -> None:
    with stage() as one:
        child, _, cells = withdrawn(one, job(1), job(2))

        other, _ = one.child()
        one.children.hand_over()

        assert [handed.job.id for handed in other.handed.values()] == [1, 2]
        assert not child.working
        assert set(cells).isdisjoint(child.cells)
        assert all(child.process.page.start(cell) is False for cell in cells)
        assert one.children.outcomes() == []


def test_a_job_that_has_just_been_handed_over_stays() -> None:
    with stage() as one:
        child, _ = one.child()
        unstarted(one, child, job(1))

        looks(one, withdrawal.UNSTARTED - one.nursery.look)

        assert len(child.handed) == 1
        assert child.working


def test_a_job_that_starts_at_the_last_moment_stays_where_it_runs() -> None:
    with stage() as one:
        child, puppet = one.child()
        (cell,) = unstarted(one, child, job(1))
        looks(one, withdrawal.UNSTARTED)
        # It had looked before the mark was there.
        child.process.page.allow(cell)
        assert child.process.page.start(cell)
        child.process.page.withdraw(cell)

        looks(one, withdrawal.UNSTARTED)
        child.process.page.end(cell)
        puppet.says("succeeded", [[cell, 1]])
        one.nursery.listen(child)

        assert [finished.state for finished in one.children.outcomes()] == [State.SUCCEEDED]
        assert child.working


def test_a_child_takes_jobs_again_once_it_has_let_go_of_all_that_was_withdrawn() -> None:
    with stage() as one:
        child, puppet, cells = withdrawn(one, job(1), job(2))
        working = []

        for cell, id in zip(cells, (1, 2), strict=True):
            puppet.says("ended", [[cell, finished_row(released(job(id)))]])
            one.nursery.listen(child)
            working.append(child.working)

        assert working == [False, True]
        assert sorted(child.cells) == list(range(20))
        assert [handed.job.id for handed in one.children.waiting] == [1, 2]


def row(change: Callable[[list[Any]], Any]) -> list[Any]:
    found = finished_row(released(job(1)))
    change(found)
    return found


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("succeeded", [["CELL", 1]]),
        ("ended", [["CELL", finished_row(untold(job(1), 0.0, ValueError(), Config()))]]),
        ("ended", [["CELL", row(lambda parts: parts.__setitem__(1, "another token"))]]),
        ("ended", [["CELL", row(lambda parts: parts.__setitem__(0, 2))]]),
        ("ended", [["CELL", finished_row(released(job(1)))]] * 2),
        ("completed", ["CELL", finished_row(released(job(1)))]),
    ],
    ids=["success", "failure", "token", "id", "twice", "completion"],
)
def test_nothing_else_is_believed_of_a_job_that_was_withdrawn(kind: str, body: Any) -> None:
    with stage() as one:
        child, puppet, (cell,) = withdrawn(one, job(1))

        filled = [[cell if part == "CELL" else part for part in row] for row in body] if body[0] != "CELL" else body
        puppet.says(kind, [cell, *body[1:]] if body[0] == "CELL" else filled)
        one.nursery.listen(child)

        assert puppet.killed
        assert "not a valid frame" in puppet.reason
        assert [handed.job.id for handed in one.children.waiting] == [1]
        assert one.children.outcomes() == []


def test_a_child_may_say_what_kind_of_task_it_has_been_handed_though_it_was_withdrawn() -> None:
    with stage() as one:
        child, puppet, _ = withdrawn(one, job(1, task="late"))

        puppet.says("kinds", {"late": True})
        one.nursery.listen(child)

        assert not puppet.killed


def test_a_child_that_starts_nothing_is_replaced_and_what_runs_there_goes_on() -> None:
    with stage() as one:
        child, puppet = one.child()
        one.given(child, job(1))
        unstarted(one, child, job(2))

        looks(one, withdrawal.UNSTARTED + withdrawal.SILENT + 2 * one.nursery.look)
        one.nursery.settle(0.0)

        assert "starts nothing" in child.leaving
        assert [handed.job.id for handed in child.handed.values()] == [1]
        assert not child.told_to_end
        assert not puppet.killed


def test_a_child_that_starts_nothing_and_runs_nothing_ends() -> None:
    with stage() as one:
        child, puppet, _ = withdrawn(one, job(1))

        looks(one, withdrawal.SILENT)
        one.nursery.settle(0.0)
        ends = child.told_to_end
        one.nursery.settle(child.kill_at)
        one.step()

        assert ends
        assert puppet.killed
        assert [handed.job.id for handed in one.children.waiting] == [1]
        assert one.children.outcomes() == []


def test_children_whose_jobs_keep_them_do_not_become_more_and_more() -> None:
    with stage(processes=2) as one:
        children = []
        for number in range(4):
            child, _ = one.child()
            one.given(child, job(10 * number))
            unstarted(one, child, job(10 * number + 1))
            children.append(child)

        looks(one, withdrawal.UNSTARTED + withdrawal.SILENT + 4 * one.nursery.look)

        assert [bool(child.leaving) for child in children] == [True, True, False, False]
        assert not any(child.working for child in children)
        assert [len(child.handed) for child in children] == [1] * 4


def test_nobody_is_charged_for_what_a_dead_child_had_been_withdrawn() -> None:
    with stage() as one:
        child, puppet, (cell,) = withdrawn(one, job(1))

        # It dies between two lines of the start of an attempt.
        child.process.page.numbers[8 + 2 * cell] = 1.0
        puppet.gone = True
        one.step()

        assert one.children.list == []
        assert one.children.outcomes() == []
        assert [handed.job.id for handed in one.children.waiting] == [1]


def test_a_suspect_that_its_child_does_not_start_waits_for_another() -> None:
    with stage() as one:
        child, _ = one.child(role=Role.ALONE)
        one.children.start([job(1, suspect=True, rescues=1)], 0.0)
        one.children.lease.valid_from = 0.0
        one.children.hand_over()
        assert len(child.handed) == 1

        looks(one, withdrawal.UNSTARTED + 2 * one.nursery.look)
        one.children.hand_over()

        assert [handed.job.id for handed in one.children.suspects] == [1]
        assert not child.handed
        looks(one, withdrawal.SILENT)
        assert child.leaving
        other, _ = one.child(role=Role.ALONE)
        one.children.hand_over()
        assert [handed.job.id for handed in other.handed.values()] == [1]


def test_a_cancelled_job_that_does_not_start_goes_back_to_the_store() -> None:
    with stage() as one:
        child, _ = one.child()
        unstarted(one, child, job(1))
        one.children.stop(1, Outcome.CANCELLED, "cancelled")

        looks(one, withdrawal.UNSTARTED + 2 * one.nursery.look)

        (finished,) = one.children.outcomes()
        assert (finished.started, finished.state) == (False, State.READY)


def test_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with stage() as one:
        child, _ = one.child()
        for number in range(3):
            unstarted(one, child, job(number))
            one.nursery.watch(0.0)
        looks(one, withdrawal.UNSTARTED + 4 * one.nursery.look)

        assert len([line for line in caplog.messages if "does not start" in line]) == 1


def test_a_pool_whose_children_start_nothing_is_not_ready() -> None:
    with stage() as one:
        ready = []
        one.child(role=Role.ALONE)
        child, _ = one.child()
        watched = pool_watched(one)  # type: ignore[arg-type]
        ready.append(watched.no_slots())

        unstarted(one, child, job(1))
        looks(one, withdrawal.UNSTARTED + 2 * one.nursery.look)
        ready.append(watched.no_slots())

        assert ready == ["", "no child process starts what it is handed"]
