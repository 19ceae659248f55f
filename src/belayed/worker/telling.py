"""Has the children of a supervisor log how their jobs have ended, once that is written.

The application may have set up logging, and it is in the children only.
"""

from __future__ import annotations

from belayed.claim import Finished
from belayed.worker.children import Children
from belayed.worker.frames import unheard_row
from belayed.worker.handed import Child

FEW = 20
"""Outcomes in a frame: each may have a traceback."""
MUCH = 1 << 20
"""Bytes that wait for a child that does not read them: no more are sent."""


class Telling:
    """Passes on outcomes that were written to the children that they came from."""

    def __init__(self, children: Children) -> None:
        self.children = children

    def pass_on(self, outcomes: list[Finished]) -> list[Finished]:
        """Have these logged by their children; those whose child has ended or does not answer are returned."""
        left: list[Finished] = []
        rows: dict[Child, list[Finished]] = {}
        with self.children.lock:
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
                for first in range(0, len(some), FEW):
                    child.process.send("written", [unheard_row(one) for one in some[first : first + FEW]])
        return left


def hears(child: Child) -> bool:
    """Whether a child takes what it is sent, as far as can be known."""
    channel = child.process.channel
    return not child.told_to_end and child.answers and not channel.deaf and len(channel.unsent) < MUCH
