"""The signals that a worker heeds."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def heeding(
    stop: Callable[[bool, bool], None], pause: Callable[[bool], None], woken: Callable[[], None] | None = None
) -> Iterator[None]:
    """Call *stop*, with whether at once and whether patiently, *pause* with whether or not, and *woken* for a child.

    SIGTERM, SIGINT, SIGQUIT and SIGHUP stop, a second one of them at once; SIGQUIT leaves running jobs all the time
    that they take. SIGUSR2 pauses, and SIGCONT ends that. SIGHUP stays ignored where it was, as under nohup.
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
    # Windows has some of them only.
    known = {found: handler for name, handler in handlers.items() if (found := getattr(signal, name, None)) is not None}
    before = {number: signal.signal(number, handler) for number, handler in known.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
