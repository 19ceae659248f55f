"""Tracebacks that say where an error was raised, and hold nothing of what the functions held there.

An error is kept until its line is logged, and by a log handler perhaps for longer. A traceback has the frames of the
functions that it went through, and those have all that the functions held. Here they are replaced by frames that were
never run: of the same code and lines, and empty. Those of the job itself are not touched: it may still use them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any

from belayed.claim import Finished

MOST = 100
"""So many calls of one traceback are kept: of a recursion without an end the first and the last of them."""
MOST_OF_ALL = 1000
"""So many of an error and all that it came from: errors beyond that keep no traceback."""
TRACEBACK, CAUSE, CONTEXT = (vars(BaseException)[f"__{name}__"] for name in ("traceback", "cause", "context"))
MEMBERS = vars(BaseExceptionGroup)["exceptions"]
KEPT = 200
"""Errors that wait to be logged: with their attributes they may be large."""
KEPT_FOR = 60.0
"""Seconds that they wait for. Then the line about them has only the text of the traceback."""

Raised = tuple[type[BaseException], BaseException, TracebackType | None]
"""As the standard library's logging takes it."""


def cut_tracebacks(error: BaseException) -> None:
    """Let go of what the functions held that have raised *error*, and all that it came from.

    One of their frames mostly has the error: only the garbage collector would free them, which does not look at how
    large they are.
    """
    for one in chain(error):
        TRACEBACK.__set__(one, None)


def empty_tracebacks(error: BaseException) -> None:
    """Let go of the same, but keep where *error* was raised, and all that it came from."""
    left = MOST_OF_ALL
    for one in chain(error):
        calls = calls_of(one)[: max(left, 0)]
        left -= len(calls)
        try:
            trace = emptied(calls)
        except Exception:
            trace = None
        TRACEBACK.__set__(one, trace)


def raised(error: BaseException) -> Raised:
    """An error as a log record has it, whatever its class calls its traceback."""
    return type(error), error, TRACEBACK.__get__(error)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and all that it came from, each once."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        # Not the attributes of its own class, which is anybody's.
        left += CAUSE.__get__(one), CONTEXT.__get__(one)
        if issubclass(type(one), BaseExceptionGroup):
            left += MEMBERS.__get__(one)
        yield one


def of_the_job(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of ours that called the job."""
    while trace is not None and trace.tb_next is not None and is_ours(trace.tb_frame):
        trace = trace.tb_next
    return trace


def is_ours(frame: FrameType) -> bool:
    # Not by its own method: code may run in a dict of anybody's class.
    name = dict.get(frame.f_globals, "__name__", "")
    return type(name) is str and name.startswith("belayed.")


def calls_of(error: BaseException) -> list[TracebackType]:
    """The calls of an error's own traceback, the outermost first; of very many the first and the last."""
    found = []
    trace = of_the_job(TRACEBACK.__get__(error))
    while trace is not None:
        found.append(trace)
        trace = trace.tb_next
    return found if len(found) <= MOST else found[: MOST // 4] + found[-(MOST - MOST // 4) :]


def emptied(calls: list[TracebackType]) -> TracebackType | None:
    """A traceback of these calls that holds nothing."""
    made: TracebackType | None = None
    for one in reversed(calls):
        line = one.tb_lineno or one.tb_frame.f_code.co_firstlineno
        made = TracebackType(made, empty_frame(one.tb_frame), one.tb_lasti, line)
    return made


def never_run() -> Any:
    """Has a frame without a caller, as it is a generator."""
    yield


def empty_frame(frame: FrameType) -> FrameType:
    """A frame that looks like *frame* to whoever shows a traceback, with its file, names and lines, and is empty."""
    code, template = frame.f_code, never_run.__code__
    like: CodeType = template.replace(
        co_filename=code.co_filename,
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_firstlineno=code.co_firstlineno,
        # The columns that are underlined.
        co_linetable=code.co_linetable,
    )
    names = {name: dict.get(frame.f_globals, name) for name in ("__name__", "__file__", "__loader__")}
    made: FrameType = FunctionType(like, names)().gi_frame
    return made


class Unlogged:
    """The errors of outcomes that this process has sent to its supervisor, and may be told to log."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, str], tuple[float, BaseException]] = {}

    def keep(self, one: Finished) -> None:
        """Keep the error of an outcome that is about to be sent. From any thread."""
        if one.error is not None:
            self.kept[one.id, one.token] = time.monotonic(), one.error

    def put_back(self, one: Finished) -> None:
        """Give an outcome that is to be logged its error, if it is still there."""
        _, one.error = self.kept.pop((one.id, one.token), (0.0, None))

    def tend(self, now: float) -> float:
        """Forget what was not asked for: the claim had lapsed, or the database is away; when to come again.

        From the only thread that takes any out.
        """
        for key, (since, _) in list(self.kept.items()):
            if len(self.kept) <= KEPT and now < since + KEPT_FOR:
                return since + KEPT_FOR
            del self.kept[key]
        return float("inf")
