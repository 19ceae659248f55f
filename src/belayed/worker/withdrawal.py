"""Takes back what a child was handed and does not start: through the page, so that the child need not answer.

A job may keep the interpreter's lock, or block the event loop, for hours, and what was handed to the same child would
wait for it while others are free. What starts at all starts within some ten milliseconds, or the child gives it back.
"""

from __future__ import annotations

from belayed.safelog import log
from belayed.worker.children import Children
from belayed.worker.handed import Child, Handed
from belayed.worker.page import clock

UNSTARTED = 2.0
"""Seconds after which a job that was handed over and has not started is marked as withdrawn."""
LATER = 0.25
"""Seconds until a mark, and a start that has not seen it, are known to both sides."""
SILENT = 5.0
"""Seconds after which a child is replaced that does not let go of what was withdrawn."""
WHY = "it starts nothing"


def withdrawn(children: Children, child: Child, every: float, *, is_blocked: bool) -> str:
    """Take back what a child does not start; why it is to be replaced, if it is. Called every so many seconds.

    Looks are counted, not seconds: those in which this process is suspended are not the child's. *is_blocked*: children
    wait with their lines, as nobody reads the log, and others would as well.
    """
    had = bool(child.withdrawn)
    for one in reversed([one for one in child.handed.values() if has_not_started(child, one, every)]):
        child.withdraw(one)
        if one.stop is None:
            children.returned(one)
        else:
            children.let_go(one)
    if child.withdrawn and not had:
        log.warning("%s does not start what it is handed, which goes back: it gets no more until it does", child)
    if not child.withdrawn or child.leaving or is_blocked:
        return ""
    child.silent += 1
    if child.silent * every < SILENT or (child.handed and kept(children) >= children.config.processes):
        return ""
    return WHY


def has_not_started(child: Child, one: Handed, every: float) -> bool:
    """Whether a job is sure not to start, as it was marked before and has not started since; else mark it in time."""
    page = child.process.page
    if child.started(one):
        if one.marked_at:
            page.allow(one.cell)
            one.marked_at = 0.0
        return False
    if one.marked_at:
        return clock() - one.marked_at >= LATER
    one.looks += 1
    if one.looks * every >= UNSTARTED:
        page.withdraw(one.cell)
        one.marked_at = clock()
    return False


def kept(children: Children) -> int:
    """How many children have been replaced for this and still run something: so many more processes there are."""
    return sum(bool(child.leaving == WHY and child.handed) for child in children.list)
