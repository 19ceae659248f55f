"""How big the big tables are: as the targets say, or so that a run takes minutes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    small: int = 100_000
    """Ready jobs of the rate that others are compared with."""
    large: int = 1_000_000
    history: int = 5_000_000
    watched: int = 50_000
    """Starts from which the rate is taken."""
    held: float = 300
    """Seconds with an old transaction open."""
    beside: float = 600
    """Seconds of enqueuing beside a worker that drains."""
    claimers: int = 64
    contended: int = 200_000
    """Jobs that the claimers share."""
    memory: int = 1_000_000


FULL = Sizes()
REDUCED = Sizes(
    large=300_000, history=500_000, watched=40_000, held=20, beside=15, claimers=16, contended=60_000, memory=150_000
)
