"""The kinds of jobs of a chaos run: how many there are, with which arguments, and how they may end."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PARTS = ("transactions", "leftovers", "imports", "forks", "hostile", "solo", "refusals", "network")
"""What a run can do without: `--without`."""
HOW = ("kill", "exit", "fault")
"""By what a job ends its process."""
WHEN = ("before", "within", "after")
"""When it does that, as to its transaction."""
VANDALS_QUEUE = "vandals"
STDERR = ("object", "descriptor", "none", "pipe")
FILTERS = ("logger", "handlers", "handler", "factory", "level")
SCRIBBLES = ("nan", "past", "infinity", "cells", "truncate", "extend")
SIGNALS = (signal.SIGUSR1, signal.SIGWINCH, signal.SIGURG, signal.SIGPIPE)
Arguments = Callable[[random.Random], tuple[Any, ...]]


@dataclass(frozen=True)
class Kind:
    """A task of the application."""

    module: str
    share: float
    """Of the steady load, in any unit; of the kinds of a part: how many come in a minute."""
    arguments: Arguments
    part: str = ""
    effects: bool = False
    """Whether it leaves an effect exactly when it succeeds; else it leaves none."""
    guilty: bool = False
    """Whether it may end its own process."""
    ends: tuple[str, ...] = ("succeeded",)


def nothing(_rng: random.Random) -> tuple[Any, ...]:
    return ()


def how(rng: random.Random) -> str:
    return rng.choice(HOW)


def briefly(rng: random.Random) -> float:
    """Seconds: nothing, or for so long that neighbours run."""
    return 0.0 if rng.random() < 0.3 else rng.uniform(0.02, 1.5)


APP, KILLERS, VANDALS = "app", "killers", "vandals"
ANY = ("succeeded", "failed", "cancelled")
KINDS = {
    # These two get their seconds from the load, which knows how long its longest jobs are.
    "works": Kind(APP, 50, nothing),
    "aworks": Kind(APP, 30, nothing),
    "trips": Kind(APP, 5, nothing),
    "transacts": Kind(APP, 10, lambda rng: (rng.uniform(0, 0.003),), effects=True),
    "begets": Kind(APP, 4, nothing, effects=True),
    "poisons": Kind(APP, 0.05, lambda rng: (rng.choice(("exit", "fault")),), guilty=True, ends=("failed",)),
    "canary": Kind(APP, 0, nothing),
    "completes_and_dies": Kind(
        KILLERS, 12, lambda rng: (how(rng), briefly(rng)), "transactions", effects=True, guilty=True
    ),
    "acompletes_and_dies": Kind(
        KILLERS, 12, lambda rng: (how(rng), briefly(rng)), "transactions", effects=True, guilty=True
    ),
    "dies_in_transaction": Kind(
        KILLERS, 2, lambda rng: (how(rng), rng.choice(WHEN)), "transactions", guilty=True, ends=("failed",)
    ),
    # Its thread may be taken for a part of it, and then it is charged for it: rightly so.
    "leaves_a_thread": Kind(
        KILLERS,
        3,
        lambda rng: (how(rng), rng.uniform(0.1, 2), rng.random() < 0.5),
        "leftovers",
        guilty=True,
        ends=("succeeded", "failed"),
    ),
    "leaves_a_task": Kind(
        KILLERS,
        3,
        lambda rng: (how(rng), rng.uniform(0.1, 2)),
        "leftovers",
        guilty=True,
        ends=("succeeded", "failed"),
    ),
    "sends": Kind(VANDALS, 4, lambda rng: (rng.randrange(10**6),), "hostile", guilty=True, ends=ANY),
    "scribbles": Kind(VANDALS, 2, lambda rng: (rng.choice(SCRIBBLES),), "hostile", guilty=True, ends=ANY),
    "silences": Kind(VANDALS, 2, lambda rng: (rng.choice(STDERR),), "hostile", guilty=True, ends=ANY),
    "filters": Kind(VANDALS, 2, lambda rng: (rng.choice(FILTERS),), "hostile", guilty=True, ends=ANY),
    "closes": Kind(VANDALS, 1, nothing, "hostile", guilty=True, ends=ANY),
    "signals": Kind(
        VANDALS, 2, lambda rng: (int(rng.choice(SIGNALS)), rng.random() < 0.7), "hostile", guilty=True, ends=ANY
    ),
}
MAYBE = {"leaves_a_thread"}
"""The kinds of which some leave an effect with their success, and some none."""


def kind_of(task: str) -> Kind | None:
    """The kind of a job, by the name of its task. None: it is none of the application's."""
    module, _, name = task.rpartition(".")
    kind = KINDS.get(name)
    return kind if kind is not None and module == f"tests.chaos.{kind.module}" else None
