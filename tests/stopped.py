"""A thread that is stopped again and again, as a worker stops those of its jobs: at any step of what it does."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from belayed.errors import AttemptStopped

WITHIN = 30
"""Seconds for one stop to arrive."""
SWITCH = 1e-5
"""Seconds after which threads take turns: at nearly every step."""


@contextmanager
def stopped(call: Callable[[], None], times: int) -> Iterator[threading.Event]:
    """Have *call* made again and again in a thread that is stopped so many times; the event says that it has been."""
    over = threading.Event()
    made, stops = [0], [0]

    def work() -> None:
        while not over.is_set():
            try:
                while not over.is_set():
                    call()
                    made[0] += 1
            except AttemptStopped:
                stops[0] += 1

    def waited_for(counter: list[int], number: int) -> bool:
        until = time.monotonic() + WITHIN
        while counter[0] == number and not over.is_set():
            assert time.monotonic() < until, "the thread does not go on"
            time.sleep(0)
        return not over.is_set()

    def stop() -> None:
        try:
            for number in range(times):
                # It calls again: a stop is caught there.
                if not waited_for(made, made[0]):
                    return
                error = ctypes.py_object(AttemptStopped)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(working.ident or 0), error)
                waited_for(stops, number)
        finally:
            over.set()

    working, stopping = threading.Thread(target=work), threading.Thread(target=stop)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    working.start()
    stopping.start()
    try:
        yield over
        over.wait(WITHIN)
        assert stops[0] == times
    finally:
        over.set()
        stopping.join()
        working.join()
        sys.setswitchinterval(before)
