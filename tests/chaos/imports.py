"""Slow and failing imports of the application: the run writes a file, and each process that imports it obeys."""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pace:
    """How an import goes: a *share* of them takes a time between *least* and *most* seconds; or they all fail."""

    share: float = 0.0
    least: float = 0.0
    most: float = 0.0
    fails: bool = False

    def write(self, file: Path) -> None:
        """Let the imports from now on go like this."""
        new = file.with_suffix(".new")
        new.write_text(json.dumps(asdict(self)), "utf-8")
        new.replace(file)


ALL_SLOW = Pace(1.0, 5.5, 6.5)
"""Longer than a child for suspects stays without work."""
PACES = [(Pace(), 4), (Pace(0.5, 0.0, 8.0), 3), (ALL_SLOW, 2), (Pace(fails=True), 1)]
"""What imports are like for a while, and how often."""


class ImportFailed(Exception):
    """What an import raises while imports fail."""


def obey() -> None:
    """Take the time that the file of the run says. Raises ImportFailed. Without a file, do nothing."""
    file = os.environ.get("CHAOS_IMPORTS")
    if not file:
        return
    pace = Pace(**json.loads(Path(file).read_text("utf-8")))
    if pace.fails:
        raise ImportFailed("the chaos run lets no import succeed now")
    if random.random() < pace.share:
        time.sleep(random.uniform(pace.least, pace.most))
