"""Queues and who serves them, put together from the counts and the workers that a store tells of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from heapq import nsmallest
from math import inf

from belayed.job import State
from belayed.store.answers import QueueCount


@dataclass
class Queue:
    """What stands in a queue."""

    name: str
    ready: int = 0
    scheduled: int = 0
    running: int = 0
    oldest: datetime | None = None
    """Since when its oldest due job waits."""
    next_due: datetime | None = None
    paused: bool = False


def by_queue(counts: Iterable[QueueCount], paused: Iterable[str], now: datetime) -> list[Queue]:
    """The queues by name, those that are paused and empty too."""
    found = {name: Queue(name, paused=True) for name in paused}
    for count in counts:
        queue = found.setdefault(count.queue, Queue(count.queue))
        setattr(queue, count.state.value, count.jobs)
        # What is due and yet scheduled waits too: no worker is there to make it ready.
        if count.state is State.READY or (count.state is State.SCHEDULED and count.oldest <= now):
            queue.oldest = min(queue.oldest or count.oldest, count.oldest)
        elif count.state is State.SCHEDULED:
            queue.next_due = count.oldest
    return [found[name] for name in sorted(found)]


def foremost(queues: list[Queue], most: int) -> list[Queue]:
    """At most so many queues by name: those whose oldest job waits longest, and then the largest."""
    if len(queues) <= most:
        return queues

    def rank(queue: Queue) -> tuple[float, int]:
        waits = queue.oldest.timestamp() if queue.oldest else inf
        return waits, -(queue.ready + queue.scheduled + queue.running)

    return sorted(nsmallest(most, queues, key=rank), key=lambda queue: queue.name)
