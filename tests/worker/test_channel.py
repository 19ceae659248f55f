"""The channel of a child, where the thread of a job sends by itself: what it sends is whole, whatever stops it."""

from __future__ import annotations

import socket

from belayed.worker.frames import Channel
from tests.stopped import stopped


def test_a_thread_that_is_stopped_while_it_sends_spoils_no_frame():
    ours, theirs = (Channel(one) for one in socket.socketpair())

    with stopped(lambda: ours.send("completed", "x" * 50) and None, times=2000) as over:
        while not over.is_set():
            assert all(one == ("completed", "x" * 50) for one in theirs.frames())

    ours.close()
    theirs.close()
