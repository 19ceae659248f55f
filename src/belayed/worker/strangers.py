"""Jobs of another application in the same tables: a worker that claims one can only give it back."""

from __future__ import annotations

import re
from collections import Counter

from belayed.claim import Finished
from belayed.safelog import log
from belayed.worker.report import few

BOUNCED = 5
"""So many jobs of packages that are not here are more than one that was forgotten."""
TASKS = 20
"""So many tasks without code are more than a deploy brings, in which workers come last."""
ABSENT = re.compile(r"this worker finds no module \S+ \(ModuleNotFoundError: No module named '(\w+)'\)")
"""What is said of code whose top-level package is not here (belayed.trust); of a newer release it would be."""
APART = (
    "applications on the same tables hand each other's jobs back and forth. Give one its own, by BELAYED_PREFIX=%s_ "
    "for all its processes, or on PostgreSQL by BELAYED_SCHEMA=%s (with Django: BELAYED = {'SCHEMA': '%s'}), and "
    "migrate. If it is one application, start its workers where all of its code can be imported"
)


class Strangers:
    """The jobs that one worker has given back, as it has no code for them."""

    def __init__(self) -> None:
        self.packages: Counter[str] = Counter()
        self.tasks: set[str] = set()
        self.warned = False

    def given_back(self, one: Finished) -> None:
        """Take note of a job; warn, once, if it looks as if another application lived here."""
        if self.warned:
            return
        task = one.job.task if one.job is not None else "job"
        if found := ABSENT.search(one.message or ""):
            self.packages[found[1]] += 1
        self.tasks.add(task)
        if self.packages.total() >= BOUNCED:
            names = [name for name, _ in self.packages.most_common()]
            self.warn(f"jobs of packages that this worker does not have ({few(names)}) come to it", names[0])
        elif len(self.tasks) >= TASKS:
            self.warn(f"jobs of {len(self.tasks)} tasks that this worker does not have come to it", "other")

    def warn(self, what: str, name: str) -> None:
        self.warned = True
        log.warning(f"%s: {APART}", what, name.lower(), name.lower(), name.lower())
