"""`belayed` with a kill switch at the seam: run as `python -m tests.crash.program work …` by the crash tests.

Every operation of a store goes through `perform` of a connection of ours, each of its requests through `send`, and
each COMMIT that is asked for apart through `commit` or `end`: so none can be left out. A point is named by its
operation, the number of the request within it, and the side: `turn.1 before`. CRASH_POINT says at which point this
process kills itself, CRASH_NTH at which time, CRASH_LOG where points that are reached are written down; with
CRASH_LOSE=turn the answers to the first outcomes and to the first claim are lost.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from belayed.cli import main
from belayed.connections.postgresql import OwnPsycopg
from belayed.connections.sqlite import OwnSqlite
from belayed.errors import StoreUnavailable
from belayed.worker import pruning

local = threading.local()
reached: dict[str, int] = {}
lost: set[str] = set()


def point(number: int, side: str) -> None:
    """A point is reached: write it down, and die if it is the one."""
    name = f"{local.operation}.{number} {side}"
    reached[name] = reached.get(name, 0) + 1
    if "CRASH_LOG" in os.environ:
        file = os.open(os.environ["CRASH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{name}\n".encode())
        os.close(file)
    if name == os.environ.get("CRASH_POINT") and reached[name] == int(os.environ.get("CRASH_NTH", "1")):
        os.kill(os.getpid(), signal.SIGKILL)


def wrap(kind: type[Any], *ways: str) -> None:
    """Put the switch into a kind of connection."""
    perform = kind.perform

    def performed(self: Any, steps: Any) -> Any:
        outer = getattr(local, "operation", None)
        local.operation, local.request = steps.gi_code.co_name, 0
        try:
            answer = perform(self, steps)
        finally:
            operation, local.operation = local.operation, outer
        if operation == os.environ.get("CRASH_LOSE") == "turn" and loses(answer):
            self.close()
            raise StoreUnavailable("the answer was lost", uncertain=True)
        return answer

    def switched(way: Any) -> Any:
        def switch(self: Any, *args: Any) -> Any:
            if getattr(local, "inside", False) or (way.__name__ == "commit" and not self.begun):
                return way(self, *args)
            local.request += 1
            number = local.request
            point(number, "before")
            local.inside = way.__name__ != "send"
            try:
                answer = way(self, *args)
            finally:
                local.inside = False
            point(number, "after")
            return answer

        return switch

    kind.perform = performed
    for way in ways:
        setattr(kind, way, switched(getattr(kind, way)))


def loses(answer: Any) -> bool:
    """Whether this answer is one to lose: the first that has outcomes, and the first that has claims."""
    found = {name for name in ("held", "claimed") if getattr(answer, name)} - lost
    lost.update(found)
    return bool(found)


if __name__ == "__main__":
    wrap(OwnSqlite, "send", "commit")
    wrap(OwnPsycopg, "send", "end")
    # Old history is looked for at once, and again and again.
    pruning.PRUNE_EVERY = 0.05
    main(prog_name="belayed")
