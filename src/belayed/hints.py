"""How often idle workers are told of new jobs, and how soon a worker that was told looks again by itself.

A hint takes a lock of the whole database at its commit, and wakes all workers: so one process sends few of them, and a
worker that has heard one looks for what its sender holds back.
"""

from __future__ import annotations

import random
import time

DEBOUNCE = 0.04
"""Seconds between two equal hints of a process."""
STRETCHED = 0.25
"""The same, while many jobs are enqueued."""
MANY = 200
"""Jobs in a second that are many: who works them off looks again and again anyway."""
QUICK, EAGER = 0.005, 2 * DEBOUNCE
"""Seconds between two looks after a hint, and for how long."""
SOON, ALERT = 0.05, 2 * STRETCHED
"""The same after that."""
FEW = 4
"""Workers that share these looks: of more each looks as often as of so many, as the others may be busy."""


class Hints:
    """What a process has told of, and until when it does not say so again."""

    def __init__(self) -> None:
        self.held: dict[str, list[float]] = {}
        """By hint: until when it is held back, for how many seconds that is, and how many were held back since."""

    def due(self, hint: str, *, stretch: bool) -> bool:
        """Whether it is time for *hint*; while many are asked for, seldom, if it may *stretch*."""
        now = time.monotonic()
        held = self.held.get(hint)
        if held is None:
            if len(self.held) >= 1000:
                self.held.clear()
            held = self.held[hint] = [0.0, DEBOUNCE, 0]
        elif now < held[0]:
            held[2] += 1
            return False
        many = stretch and held[2] > MANY * held[1] and now < held[0] + DEBOUNCE
        held[1] = min(2 * held[1], STRETCHED) if many else DEBOUNCE
        held[0], held[2] = now + held[1], 0
        return True

    def __enter__(self) -> None:
        """Save what is told of within this."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            # Perhaps nobody was told: the next job shall not wait for the next poll.
            self.held.clear()


def look_after(now: float, heard_at: float, workers: int = 1) -> float | None:
    """Seconds until the next look for jobs, if the last hint was heard lately; None: it was not.

    All *workers* have heard the same hint: so each looks the less often the more they are, and not when the others do.
    """
    since = now - heard_at
    pause = QUICK if since < EAGER else SOON if since < ALERT else None
    if pause is None or workers <= 1:
        return pause
    return pause * min(workers, FEW) * random.uniform(0.5, 1.5)
