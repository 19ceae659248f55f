"""The channel of a child, where the thread of a job sends by itself: what it sends is whole, whatever stops it."""

from __future__ import annotations

import ctypes
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from belayed.errors import AttemptStopped
from belayed.worker.frames import Channel
from tests.worker.helpers import eventually

STOPS = 200


@pytest.fixture
def often() -> Iterator[None]:
    """Threads take turns at nearly every step."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often")
def test_a_thread_that_is_stopped_while_it_sends_spoils_no_frame():
    ours, theirs = (Channel(one) for one in socket.socketpair())
    stopped, sent, over = [], [0], threading.Event()

    def send() -> None:
        while not over.is_set():
            try:
                while not over.is_set():
                    ours.send("completed", "x" * 50)
                    sent[0] += 1
            except AttemptStopped as stop:
                stopped.append(stop)

    def stop_once() -> None:
        count, number = len(stopped), sent[0]
        # It is sending again, and not where it has been stopped.
        eventually(lambda: sent[0] > number or over.is_set())
        if not over.is_set():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(sending.ident), ctypes.py_object(AttemptStopped))
            eventually(lambda: len(stopped) > count or over.is_set())

    def stop_it() -> None:
        while len(stopped) < STOPS and not over.is_set():
            stop_once()
        over.set()

    sending, stopping = threading.Thread(target=send), threading.Thread(target=stop_it)
    sending.start()
    stopping.start()
    try:
        while not over.is_set():
            assert all(one == ("completed", "x" * 50) for one in theirs.frames())
    finally:
        over.set()
        stopping.join()
        sending.join()
        ours.close()
        theirs.close()

    assert len(stopped) >= STOPS
