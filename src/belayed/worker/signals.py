"""The signals that a worker heeds, and those that must not end it."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from belayed.forking import at_fork

MEANINGLESS = ("SIGUSR1", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPIPE", "SIGIO", "SIGPWR", "SIGSTKFLT", "SIGXFSZ")
"""They would end the process, and say nothing to it. What reports a fault of its own (SIGSEGV, SIGABRT, SIGXCPU …)
still ends it, and what stops it (SIGTSTP, SIGTTIN …) still stops it."""
OF_SUPERVISOR = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2")
"""Sent to all processes of a worker, they are for its supervisor."""
PR_SET_PDEATHSIG = 1

replaced: dict[int, tuple[Any, Any]] = {}
"""The handlers of the worker's that are set, by their signals, and what was set before: a forked process gets that."""
masks: dict[int, Collection[int]] = {}
"""The signals that threads which fork had blocked before."""


@contextmanager
def heeding(
    stop: Callable[[bool, bool], None], pause: Callable[[bool], None], woken: Callable[[], None] | None = None
) -> Iterator[None]:
    """Call *stop*, with whether at once and whether patiently, *pause* with whether or not, and *woken* for a child.

    SIGTERM, SIGINT, SIGQUIT and SIGHUP stop, a second one of them at once; SIGQUIT leaves running jobs all the time
    that they take. SIGUSR2 pauses, and SIGCONT ends that. SIGHUP stays ignored where it was, as under nohup. Signals
    without a meaning do nothing, unless the program has a handler for them.
    """
    stops = 0

    def asked(number: int, _frame: FrameType | None) -> None:
        nonlocal stops
        stops += 1
        stop(stops > 1, number == signal.SIGQUIT)

    def held(number: int, _frame: FrameType | None) -> None:
        pause(number == signal.SIGUSR2)

    def child(_number: int, _frame: FrameType | None) -> None:
        if woken is not None:
            woken()

    handlers: dict[str, Any] = {"SIGTERM": asked, "SIGINT": asked, "SIGQUIT": asked, "SIGUSR2": held, "SIGCONT": held}
    if getattr(signal, "SIGHUP", None) and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handlers["SIGHUP"] = asked
    if woken is not None:
        handlers["SIGCHLD"] = child
    known: dict[int, Any] = dict.fromkeys(deadly(), ignored)
    # Windows has some of them only.
    known |= {
        found: handler for name, handler in handlers.items() if (found := getattr(signal, name, None)) is not None
    }
    before = {number: replace(number, handler) for number, handler in known.items()}
    try:
        yield
    finally:
        for number, (handler, replacement) in before.items():
            signal.signal(number, handler)
            if replacement is None:
                replaced.pop(number, None)
            else:
                replaced[number] = replacement


def replace(number: int, handler: Any) -> tuple[Any, tuple[Any, Any] | None]:
    """Set a handler of the worker's; what was set before, and what that had replaced itself."""
    replacement = replaced.get(number)
    before = signal.signal(number, handler)
    # One of ours stands for what it has replaced.
    is_ours = replacement is not None and replacement[0] is before
    replaced[number] = handler, replacement[1] if replacement is not None and is_ours else before
    return before, replacement


def ignore_signals() -> None:
    """In a child: let signals that are the supervisor's, or nobody's, do nothing."""
    for name in OF_SUPERVISOR:
        if (number := getattr(signal, name, None)) is not None:
            replace(number, ignored)
    ignore_meaningless()


def ignore_meaningless() -> None:
    """Let signals that would end this process, and say nothing to it, do nothing."""
    for number in deadly():
        replace(number, ignored)


def deadly() -> list[int]:
    """The signals without a meaning that would end this process."""
    named = [number for name in MEANINGLESS if (number := getattr(signal, name, None)) is not None]
    real_time = range(signal.SIGRTMIN, signal.SIGRTMAX + 1) if hasattr(signal, "SIGRTMIN") else ()
    caught = caught_in_c()
    return [
        number
        for number in (*named, *real_time)
        if signal.getsignal(number) is signal.SIG_DFL and not caught >> (number - 1) & 1
    ]


def caught_in_c() -> int:
    """The signals that have a handler which Python need not know of, as of `faulthandler.register`: a bit for each."""
    try:
        lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
        return int(next(line for line in lines if line.startswith("SigCgt:")).split()[1], 16)
    except (OSError, StopIteration, ValueError):
        return 0


def die_with_parent() -> None:
    """On Linux: be killed with the process that has started this one, even while a job keeps Python's lock."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def ignored(_number: int, _frame: object) -> None:
    """Not SIG_IGN: what a job starts would inherit that."""


# A forked process has the handlers that the program had before it was a worker: `multiprocessing` ends processes by
# SIGTERM, and waits until they have. What comes before they are set waits, and is not lost.


def before_fork() -> None:
    if replaced and threading.get_ident() not in masks:
        masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, replaced)


def after_in_parent() -> None:
    if (mask := masks.pop(threading.get_ident(), None)) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def after_in_child() -> None:
    for number, (handler, before) in replaced.items():
        # Unless a job has set another; what was set in C is None.
        if signal.getsignal(number) is handler and before is not None:
            signal.signal(number, before)
    replaced.clear()
    after_in_parent()
    masks.clear()


at_fork(before=before_fork, in_parent=after_in_parent, in_child=after_in_child)
