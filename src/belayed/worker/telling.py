"""Has the children of a supervisor log how their jobs have ended, once that is written.

The application may have set up logging, and it is in the children only. What a child has not read when it dies is
logged here.
"""

from __future__ import annotations

from collections import deque

from belayed.claim import Finished
from belayed.worker.children import Children
from belayed.worker.frames import unheard_row
from belayed.worker.handed import Child
from belayed.worker.page import clock

FEW = 20
"""Outcomes in a frame: each may have a traceback."""
MUCH = 1 << 20
"""Bytes that wait for a child that does not read them: no more are sent."""


class Telling:
    """Passes on outcomes that were written to the children that they came from."""

    def __init__(self, children: Children) -> None:
        self.children = children
        self.told: dict[Child, deque[tuple[float, Finished]]] = {}
        """What children were told and may not have read yet, and when, on the clock of leases."""

    def pass_on(self, outcomes: list[Finished]) -> list[Finished]:
        """Have these logged by their children.

        Those whose child has ended or does not answer are returned; so are earlier ones that a child has died without
        having read.
        """
        if not (outcomes or self.told):
            return []
        rows: dict[Child, list[Finished]] = {}
        with self.children.lock:
            left = self.unread()
            there = set(self.children.list)
            for one in outcomes:
                child = one.child
                if child in there and hears(child):
                    # No line shows it.
                    one.result = None
                    rows.setdefault(child, []).append(one)
                else:
                    left.append(one)
            for child, some in rows.items():
                now = clock()
                self.told.setdefault(child, deque()).extend((now, one) for one in some)
                for first in range(0, len(some), FEW):
                    child.process.send("written", [unheard_row(one) for one in some[first : first + FEW]])
        return left

    def unread(self) -> list[Finished]:
        """What children have died without having read. Forgets what was read."""
        found: list[Finished] = []
        there, now = set(self.children.list), clock()
        for child, lines in list(self.told.items()):
            pulse = child.process.page.pulse if child in there else child.last_pulse
            # A job may have written a pulse of the future.
            while lines and lines[0][0] < pulse <= now and not child.process.channel.unsent:
                lines.popleft()
            if child not in there:
                found += [one for _, one in lines]
                lines.clear()
            if not lines:
                del self.told[child]
        return found


def hears(child: Child) -> bool:
    """Whether a child takes what it is sent, as far as can be known."""
    channel = child.process.channel
    is_whole = channel.open and not channel.deaf
    return is_whole and not child.told_to_end and child.answers and len(channel.unsent) < MUCH
