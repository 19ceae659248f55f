"""Jobs whose payload nobody's code has written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from belayed import Draft, Job, Jobs


@dataclass
class ByHand:
    """A payload whose text is given."""

    text: str
    task: str = "by.hand"

    def write(self, codec: Any) -> str:
        return self.text


def saved_by_hand(jobs: Jobs, text: str) -> Job:
    """A job with *text* as its payload."""
    return jobs.enqueue(Draft(ByHand(text), "by.hand"))
