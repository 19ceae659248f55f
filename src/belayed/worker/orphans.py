"""Reaps processes that jobs have left behind, where this process gets them: as the first one of a container.

Without that each of them stays in the table of processes, which is full one day. Its own children are not touched: how
they have ended is asked for elsewhere (process.py).
"""

from __future__ import annotations

import os
import threading

own: set[int] = set()
"""The children that others wait for."""
lock = threading.Lock()
"""Held while a child is started: until its number is known it would look like an orphan."""


def reap() -> None:
    """Reap those that have ended, up to the first that is not an orphan: then there will be another call."""
    with lock:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None or ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)
