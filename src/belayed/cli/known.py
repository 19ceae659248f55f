"""Which queues anybody knows: a name that is only here may be a mistake."""

from __future__ import annotations

from belayed.jobs import Jobs
from belayed.mistakes import nearest
from belayed.payload import registry
from belayed.store.answers import named


def known_queues(jobs: Jobs) -> set[str]:
    """The queues in which jobs wait or run or that are paused, and those that workers, tasks and settings name."""
    names = {count.queue for count in jobs.counts(most=1).live} | set(jobs.paused())
    names |= named(jobs.workers())
    said = [getattr(task, "options", {}).get("queue") for task in registry.values()]
    names |= {name for name in said if isinstance(name, str)}
    return {name.removeprefix("!") for name in names} | set(jobs.names.queues) | {jobs.names.default_queue}


def stranger(queue: str, known: set[str], jobs: Jobs) -> str | None:
    """What to say of a queue that nobody knows; None: somebody does."""
    if queue in known or jobs.find(queues=[queue], limit=1):
        return None
    near = nearest(queue, known)
    there = f": did you mean {near}?" if near else f". There are {', '.join(sorted(known)[:20])}."
    return f"No job is or was in {queue}, and no worker, task or setting names it{there}"
