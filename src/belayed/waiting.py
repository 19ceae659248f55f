"""Waiting for a job: how long to pause between looks at it, and why it has not ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from shlex import quote
from typing import Any, Self

from belayed.errors import WaitTimeout
from belayed.job import Job, State
from belayed.printable import line
from belayed.safelog import log
from belayed.store.answers import WorkerRow, servings

PATIENCE = 5.0
"""Seconds of waiting after which the log says if nothing runs the job: a new worker has long registered by then."""
AGAIN = 30.0
"""Seconds until the next look for that, until it has been logged once."""
LONGEST = 300
"""Characters of a job's error that are shown."""


class Waiting:
    """One wait for a job, for as long as *timeout* says; None: as long as it takes."""

    def __init__(self, job: Job, timeout: timedelta | float | None) -> None:
        self.job = job
        self.limit = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        self.began = time.monotonic()
        self.next_look: float | None = self.began + PATIENCE
        self.pauses = 0.005
        self.beside: Any = None
        """A connection other than the caller's, where it takes one to see what workers see; closed at the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.beside is not None:
            self.beside.close()

    @property
    def left(self) -> float | None:
        """Seconds until the time is up."""
        return None if self.limit is None else self.began + self.limit - time.monotonic()

    @property
    def is_over(self) -> bool:
        return self.left is not None and self.left <= 0

    @property
    def asks(self) -> bool:
        """Whether to find out why the job has not ended: its time is up, or it takes long."""
        return self.is_over or (self.next_look is not None and time.monotonic() >= self.next_look)

    def learn(self, obstacle: str) -> None:
        """Take the answer: raise WaitTimeout if the time is up, and else log, once, what keeps the job."""
        name = f"job {self.job.id} ({self.job.task})"
        state = f"it is {self.job.state.value}{f', {obstacle}' if obstacle else ''}"
        if self.is_over:
            raise WaitTimeout(f"{name} has not ended within {self.limit:g} s: {state}")
        self.next_look = None if obstacle else time.monotonic() + AGAIN
        if obstacle:
            waited = time.monotonic() - self.began
            log.warning("%s has not ended after %.0f s of waiting: %s", name, waited, state)

    def pause(self) -> float:
        """Seconds to pause before the next look, from 5 ms to a quarter of a second."""
        pause, self.pauses = self.pauses, min(self.pauses * 1.5, 0.25)
        return pause if self.left is None else max(0.0, min(pause, self.left))


def waits(job: Job) -> bool:
    """Whether a job is there for a worker to take, now or at its time."""
    return job.state in (State.READY, State.SCHEDULED)


def obstacle(job: Job, paused: Sequence[str], workers: Sequence[WorkerRow]) -> str:
    """What keeps a job that waits from being run, and what to do about it; empty: nothing that is known."""
    if job.queue in paused:
        return f"and its queue {job.queue!r} is paused: `belayed resume {quote(job.queue)}` lets it go on"
    if not any(serving.serves(job.queue) for serving in servings(workers)):
        return f"and no living worker serves its queue {job.queue!r}: start one with `belayed work`"
    if job.error is not None:
        error = line(job.error)
        return f"to be tried again after {error if len(error) <= LONGEST else f'{error[:LONGEST]}…'}"
    return ""
