"""How long to pause between looks at a job that is waited for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

from belayed.errors import WaitTimeout
from belayed.job import Job


def pauses(job: Job, timeout: timedelta | float | None) -> Iterator[float]:
    """Seconds to pause between looks at a job, from 5 ms to a quarter of a second; WaitTimeout when time is up."""
    limit = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    deadline = None if limit is None else time.monotonic() + limit
    pause = 0.005
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        yield pause if left is None else max(0.0, min(pause, left))
        if deadline is not None and time.monotonic() >= deadline:
            raise WaitTimeout(f"job {job.id} ({job.task}) has not ended within {limit:g} s: it is {job.state.value}")
        pause = min(pause * 1.5, 0.25)
