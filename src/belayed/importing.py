"""Notices jobs that are enqueued while a worker imports the application: each start of its processes enqueues them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import NamedTuple

from belayed.safelog import log


class Place(NamedTuple):
    """Where a task was enqueued, and by the import of which module."""

    task: str
    module: str
    file: str
    line: int
    function: str


modules: dict[int, str] = {}
"""By thread: the module that it imports. Empty most of the time, which is all that an enqueue looks at."""
found: dict[Place, int] = {}
"""How often something was enqueued at a place, as far as it is not logged yet."""


@contextmanager
def watched(module: str) -> Iterator[None]:
    """Notice what this thread enqueues within: it is the import of *module*."""
    thread = get_ident()
    before = modules.get(thread)
    modules[thread] = before or module
    try:
        yield
    finally:
        if before is None:
            del modules[thread]


def notice(task: str) -> None:
    """Remember where a task was enqueued, if that is by an import of this thread."""
    module = modules.get(get_ident())
    if module is None:
        return
    frame = sys._getframe(1)  # noqa: SLF001
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("belayed."):
        frame = frame.f_back
    code = frame.f_code
    place = Place(task, module, code.co_filename, frame.f_lineno, code.co_name)
    found[place] = found.get(place, 0) + 1


def warn() -> None:
    """Log what was noticed: once for each place."""
    while found:
        place, count = found.popitem()
        where = "" if place.function == "<module>" else f", in {place.function}"
        log.warning(
            "%s was enqueued%s while %s was imported (%s:%d%s), and is again at each start of a worker's process: "
            'put it below `if __name__ == "__main__":`, or where it happens once, as in a command',
            place.task,
            "" if count == 1 else f" {count} times",
            place.module,
            place.file,
            place.line,
            where,
            extra={"task": place.task},
        )
