"""What the supervisor hands to its children, whatever they do meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from belayed.claim import Claimed, micros
from belayed.config import WorkerConfig
from belayed.worker import handed
from belayed.worker.children import Children
from belayed.worker.handed import SILENCE, Child, Role
from belayed.worker.page import Page, clock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Silent:
    """A child's process that takes nothing of what it is sent."""

    def __init__(self) -> None:
        self.page = Page.made(20)
        self.pid, self.expected = 1, False
        self.sent: list[tuple[str, Any]] = []

    def send(self, kind: str, body: Any = None) -> None:
        self.sent.append((kind, body))

    hand = send


def job(id: int) -> Claimed:
    return Claimed(
        id, "q", 0, micros(NOON), "t", "{}", micros(NOON), 0, 0, 0, 0, 0, None, None, None, None, None, f"token {id}"
    )


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by these seconds whenever the children's are asked what it is."""
    step, now = [0.0], [clock()]

    def ticking() -> float:
        now[0] += step[0]
        return now[0]

    monkeypatch.setattr(handed, "clock", ticking)
    return step


@pytest.mark.parametrize("count", [1, 2])
def test_a_child_that_falls_silent_while_jobs_are_handed_out_loses_none(count: int, late: list[float]) -> None:
    children = Children(WorkerConfig(threads=5))
    processes = [Silent() for _ in range(count)]
    for process in processes:
        child = Child(process, Role.WORKER, ready=True)  # type: ignore[arg-type]
        children.list.append(child)
        child.sent_at = handed.clock()
        process.page.pulse = child.sent_at - 1
    children.start([job(number) for number in range(8)], clock())
    # It answers when it is asked first, and not the second time.
    late[0] = SILENCE * 0.9 / count

    children.hand_over()

    given = [row[2][0] for process in processes for kind, rows in process.sent if kind == "jobs" for row in rows]
    waiting = [one.job.id for one in children.waiting]
    assert sorted(given + waiting) == list(range(8))
    assert given
    assert children.known() == set(range(8))
    for process in processes:
        process.page.close()
