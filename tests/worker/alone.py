"""The slots of a child, without a supervisor: the test calls what its main thread would."""

from __future__ import annotations

import threading
import time

from belayed.job import State
from belayed.jobs import Jobs
from belayed.store.answers import Wanted
from belayed.store.lanes import Serving
from belayed.worker.attempt import Attempts
from belayed.worker.slots import Slots


class Alone:
    """The slots of a child, without a supervisor."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs, self.broke = jobs, threading.Event()
        self.slots = Slots(Attempts(jobs), threads=1, async_slots=1, read_ahead=10)
        self.slots.broke = self.broke.set
        self.done: list[int] = []
        self.slots.done_with = lambda finished: self.done.append(finished.id)

    def run_all(self) -> None:
        """Claim what is ready, and run it."""
        store = self.jobs.store
        wanted = Wanted("w1", 10, store.lanes(Serving()))
        claimed = self.jobs.do(lambda: store.turn([], wanted)).claimed
        if not self.slots.threads[0].thread.is_alive():
            self.slots.open()
        self.slots.start(claimed, time.monotonic())

    def ended(self) -> list[State]:
        self.slots.tend(time.monotonic())
        return [one.state for one in self.slots.ended]

    def told(self) -> bool:
        """Whether the page says of each outcome that is to be sent that its code has ended."""
        return self.done == [one.id for one in self.slots.ended if one.started]
