"""A thread that runs `def` jobs."""

from __future__ import annotations

import contextvars
import ctypes
import threading
from typing import Any

from belayed.claim import Claimed, Running
from belayed.errors import AttemptStopped
from belayed.job import Outcome
from belayed.payload import Loaded
from belayed.worker.attempt import Ready
from belayed.worker.contract import Host
from belayed.worker.saying import Saying

set_async_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc


class ThreadSlot:
    """A thread that runs one `def` job after the other."""

    def __init__(self, slots: Host, number: int) -> None:
        self.slots = slots
        self.run: Running | None = None
        self.lock = threading.Lock()
        self.saying = Saying()
        # A daemon: a job that will not end must not keep the process from ending.
        self.thread = threading.Thread(target=self.work, name=f"belayed-slot-{number}", daemon=True)

    def work(self) -> None:
        """Take jobs until there is an end of them. A thread that ends by an error takes its worker along."""
        claimed: Claimed | None = None
        try:
            while not self.saying.given_up and (claimed := self.slots.waiting.take()) is not None:
                contextvars.Context().run(self.attempt, claimed)
                claimed = None
        except BaseException as error:
            self.saying.box.clear()
            self.slots.died(self.thread.name, claimed, error)
        else:
            if (rest := self.slots.attempts.jobs.resting) is not None:
                rest(True)

    def attempt(self, claimed: Claimed) -> None:
        """Run one job to its outcome. A stop that arrives after its end is swallowed here, never by the next job."""
        slots = self.slots
        # Before a stop can come: one that came within the logging would leave its lock taken for ever.
        if not slots.begins(claimed, self.saying):
            return
        run = slots.attempts.begun(claimed, in_thread=True)
        ready: Ready | None = None
        loaded: Loaded | None = None
        value: Any = None
        error: BaseException | None = None
        try:
            self.run = run
            if claimed.id in slots.stops:
                # It came while this was no run yet.
                self.stop(claimed.id, *slots.stops[claimed.id])
            slots.last_start = run.begun
            if run.deadline is not None and run.deadline < slots.look_at:
                slots.look()
            ready = slots.attempts.load(run)
            if not ready.is_async:
                loaded, value, error = slots.attempts.run(run, ready)
        except BaseException as raised:
            error = raised
        # No stop gets through from here on. One that was sent is caught here: another takes its place, or follows it if
        # it has come already. (To clear it with NULL leaves CPython looking for it for ever: 3.12 is slower from then
        # on, and 3.11 hangs as soon as anything traces.) Not a function of its own: the stop could come at its first
        # instruction, outside of its `try`, and end the thread.
        caught = False
        while True:
            try:
                with self.lock:
                    self.run = None
                if run.stopping is not None and not caught:
                    set_async_exception(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(AttemptStopped))
                    while True:
                        pass
                break
            except AttemptStopped:
                caught = True
        slots.end_copy(error)
        # The verdict comes after: a stop within it would change what has been decided.
        if ready is not None and ready.is_async and error is None:
            if run.stopping is None:
                slots.hand_over(run, ready)
                return
            error = AttemptStopped(run.stopping.value, run.reason)
        self.saying.judge(run)
        finished = slots.attempts.told(run, loaded, value, error)
        slots.done(claimed, finished, self.saying, is_async=False)

    def stop(self, id: int, outcome: Outcome, reason: str) -> bool:
        """Raise AttemptStopped in the job, if it is this one and was not stopped before."""
        with self.lock:
            run = self.run
            if run is None or run.claimed.id != id or run.stopping is not None:
                return False
            run.stopping, run.reason = outcome, reason
            set_async_exception(ctypes.c_ulong(self.thread.ident or 0), ctypes.py_object(AttemptStopped))
            return True
