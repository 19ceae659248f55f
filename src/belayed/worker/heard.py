"""Checks what a child has sent. Each frame is checked as a whole, and nothing is changed by one that is not valid.

A child runs anybody's code, so any frame may come. Jobs of one child share its memory: one may lie about another there.
It cannot speak of a job that another child holds, and what it says fits into the database.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, get_type_hints

from belayed.claim import Claimed, Finished
from belayed.config import AT_ENQUEUE, Config, typed
from belayed.connections.parameters import ConnectionParameters
from belayed.errors import ConfigError
from belayed.job import Outcome, State
from belayed.results import MESSAGE_LIMIT, storable
from belayed.worker.frames import FINISHED, BadFrame, finished_from, finished_row
from belayed.worker.handed import Child, Handed
from belayed.worker.loglike import LONGEST as LONGEST_FORM
from belayed.worker.loglike import STYLES, Form
from belayed.worker.verdict import LONGEST_WAIT, TRACEBACK_LIMIT, released

LARGEST_HELLO = 1 << 22
"""Bytes of a frame of a child that has not said hello yet."""
BESIDE_RESULT = 1 << 21
"""Bytes that a frame may have beside a result: children send large outcomes in several frames."""
BYTES = 4
"""Bytes that a character of a result may take in a frame."""
TYPE_LIMIT = 255
MOST_PARAMETERS = 200
PARAMETER_LIMIT = 1 << 16
"""Characters: a token may be long, and so may the texts of certificates."""
LONGEST_MICROS = int(LONGEST_WAIT * 1e6)


class Hello(NamedTuple):
    """What a child says once it has imported the application."""

    config: Config
    kinds: dict[str, bool]
    """Which tasks are coroutines, by name."""
    parameters: ConnectionParameters | None
    """What connections are opened with; None: the URL says all."""
    form: Form
    """How it logs."""


Success = tuple[Handed, int, str | None, bool]
"""A job, its microseconds, its result, and whether it is kept: a tuple without names, as it is made for each job."""


def largest_of(config: Config) -> int:
    """How many bytes a frame of a child of this application may have."""
    return BESIDE_RESULT + BYTES * result_limit(config)


def result_limit(config: Config) -> int:
    """The most characters of a result; one that is larger is only named."""
    return max(config.payload_limit, MESSAGE_LIMIT)


# Most of what comes are successes, 10,000 of them in a second: one loop, and no call for each.


def successes_from(body: Any, child: Child) -> list[Success]:
    """The successes that a child has sent. Raises BadFrame."""
    if type(body) is not list or not body:
        raise BadFrame("no list of successes")
    found: list[Success] = []
    cells = set()
    held, ends, limit = child.handed, child.process.page.ends, child.result_limit
    result: str | None
    for row in body:
        if type(row) is not list:
            raise BadFrame("a success that is not a list")
        if len(row) == 2:
            (cell, micros), result, keep = row, None, True
        elif len(row) == 4:
            cell, micros, result, keep = row
            if result is not None:
                text("result", result, limit)
            if type(keep) is not bool:
                raise BadFrame("a success that says neither that it is kept nor that it is not")
        else:
            raise BadFrame(f"a success of {len(row)} parts")
        if type(micros) is not int or not 0 <= micros <= LONGEST_MICROS:
            raise BadFrame("a success without a time")
        if type(cell) is not int or cell not in held:
            raise BadFrame("a success of a job that it does not hold")
        if not ends[cell]:
            # The cell may have been another job's, whose success comes for the second time.
            raise BadFrame("a success of a job that has not ended")
        cells.add(cell)
        found.append((held[cell], micros, result, keep))
    if len(cells) != len(found):
        raise BadFrame("two successes of one job")
    return found


def ended_from(body: Any, child: Child) -> list[tuple[Handed, Finished]]:
    """The other outcomes that a child has sent. Raises BadFrame."""
    if type(body) is not list or not body:
        raise BadFrame("no list of outcomes")
    found = [withdrawn_from(row, child) or outcome_from(row, child) for row in body]
    for handed, finished in found:
        if finished.started and not child.process.page.ended(handed.cell):
            raise BadFrame("an outcome of a job that has not ended")
    if len({handed.cell for handed, _ in found}) != len(found):
        raise BadFrame("two outcomes of one job")
    return found


def completed_from(body: Any, child: Child) -> tuple[Handed, Finished]:
    """The completion of a job by its own transaction. Raises BadFrame."""
    handed, finished = outcome_from(body, child)
    if not finished.written:
        raise BadFrame("a completion that is not a success")
    if handed.completed is not None:
        raise BadFrame("a job that has been completed before")
    return handed, finished


def kinds_from(body: Any, child: Child) -> dict[str, bool]:
    """Which tasks a child has found to be coroutines: of jobs that it holds, and each once, so that there is an end.

    Raises BadFrame.
    """
    kinds = names_from(body)
    if not kinds or not kinds.keys() <= {one.job.task for one in (*child.handed.values(), *child.withdrawn.values())}:
        raise BadFrame("the kinds of tasks that it does not run")
    if not child.taught.isdisjoint(kinds):
        raise BadFrame("the kind of a task for the second time")
    return kinds


def hello_from(body: Any) -> Hello:
    """Raises BadFrame."""
    if type(body) is not dict or set(body) != {"url", "config", "kinds", "log", "parameters"}:
        raise BadFrame("not a hello")
    parameters = None if body["parameters"] is None else parameters_from(body["parameters"])
    config, kinds = config_from(body["url"], body["config"]), names_from(body["kinds"])
    return Hello(config, kinds, parameters, form_from(body["log"]))


def form_from(body: Any) -> Form:
    """How the application logs. Raises BadFrame."""
    if type(body) is not dict or set(body) != set(Form._fields):
        raise BadFrame("not a form of a log")
    for name in ("text", "dates"):
        if body[name] is not None:
            text(name, body[name], LONGEST_FORM)
    if type(body["level"]) is not int or type(body["is_utc"]) is not bool or body["style"] not in STYLES.values():
        raise BadFrame("not a form of a log")
    return Form(**body)


def parameters_from(body: Any) -> ConnectionParameters:
    """What a connection is opened with. Raises BadFrame, without what may be a password."""
    if type(body) is not dict or set(body) != {"given", "role", "commands"}:
        raise BadFrame("not the parameters of a connection")
    given, role, commands = body["given"], body["role"], body["commands"]
    if type(given) is not dict or type(commands) is not list or len(given) + len(commands) > MOST_PARAMETERS:
        raise BadFrame("parameters of a connection that are not a few names and commands")
    for one in (*given, *given.values(), *commands, *([] if role is None else [role])):
        text("a parameter of the connection", one, PARAMETER_LIMIT)
    return ConnectionParameters(given, role, tuple(commands))


def refusal_from(body: str) -> str:
    """Why a child cannot say them."""
    return storable(body, MESSAGE_LIMIT)


def failure_from(body: Any) -> str:
    """Why a child cannot start. Raises BadFrame."""
    if type(body) is not str:
        raise BadFrame("a failure without a text")
    return storable(body, TRACEBACK_LIMIT)


# The parts.


def text(name: str, value: Any, limit: int) -> None:
    """Check that *value* is a text as every database takes it, of at most so many characters."""
    if type(value) is not str or len(value) > limit:
        raise BadFrame(f"{name} is not a text of at most {limit:,} characters")
    if "\0" in value:
        raise BadFrame(f"{name} has a NUL")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadFrame(f"{name} has a lone surrogate") from error


def names_from(body: Any) -> dict[str, bool]:
    if type(body) is not dict or not all(type(value) is bool for value in body.values()):
        raise BadFrame("not the kinds of tasks")
    return body


def config_from(url: Any, body: Any) -> Config:
    """The settings that config.as_plain wrote."""
    hints = get_type_hints(Config)
    if type(url) is not str or type(body) is not dict:
        raise BadFrame("settings that are not a dict, or without a URL")
    if unknown := body.keys() - hints.keys() | body.keys() & set(AT_ENQUEUE):
        raise BadFrame(f"unknown settings: {', '.join(sorted(unknown))[:MESSAGE_LIMIT]}")
    try:
        values = {name: typed(name, setting(value), hints[name]) for name, value in body.items()}
        return Config(**{**values, "url": url})
    except (ConfigError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise BadFrame(f"a setting that cannot be: {error}") from error


def setting(value: Any) -> Any:
    if type(value) is dict:
        return timedelta(seconds=value["s"])
    if type(value) is list:
        if not all(type(one) is str for one in value):
            raise TypeError("a list of other things than texts")
        return tuple(value)
    return value


Check = Callable[[Any, Claimed], bool]


def is_bool(value: Any, _: Claimed) -> bool:
    return type(value) is bool


def is_false(value: Any, _: Claimed) -> bool:
    return value is False


def is_time(value: Any, _: Claimed) -> bool:
    # NaN is in no range.
    return type(value) in (int, float) and 0 <= value <= LONGEST_WAIT


def is_text(limit: int) -> Check:
    def check(value: Any, _: Claimed) -> bool:
        if value is not None:
            text("a text", value, limit)
        return True

    return check


def one_of(kind: type[Outcome | State]) -> Check:
    values = {one.value for one in kind}
    return lambda value, _: type(value) is str and value in values


PARTS: dict[str, Check] = {
    "id": lambda value, job: type(value) is int and value == job.id,
    "token": lambda value, job: type(value) is str and value == job.token,
    "outcome": one_of(Outcome),
    "state": one_of(State),
    "started": is_bool,
    "seconds": is_time,
    # Its limit is the application's.
    "result": lambda value, _: value is None or type(value) is str,
    "delay": lambda value, job: value is None or is_time(value, job),
    "failed": is_bool,
    # Decided by the supervisor.
    "crashed": is_false,
    "free": is_bool,
    "unknown": is_bool,
    "keep": is_bool,
    "error_type": is_text(TYPE_LIMIT),
    "message": is_text(MESSAGE_LIMIT),
    "traceback": is_text(TRACEBACK_LIMIT),
    "attempt": lambda value, job: type(value) is int and value in (0, job.attempt + 1),
    "suspect": lambda value, job: type(value) is bool and value <= job.suspect,
    "written": is_bool,
    "unheard": is_false,
}
"""What each part of an outcome must be, in the order of a row."""
assert tuple(PARTS) == FINISHED, "each part of an outcome has its check"

CHECKS = tuple(PARTS.items())
POSSIBLE = {
    (Outcome.SUCCEEDED, State.SUCCEEDED),
    (Outcome.FAILED, State.FAILED),
    (Outcome.RETRY, State.READY),
    (Outcome.CANCELLED, State.CANCELLED),
    (Outcome.INTERRUPTED, State.READY),
    (Outcome.TIMED_OUT, State.READY),
    (Outcome.TIMED_OUT, State.FAILED),
}
"""How an attempt may end that has not taken its child along."""


def withdrawn_from(body: Any, child: Child) -> tuple[Handed, Finished] | None:
    """A job that was withdrawn, as it has not started: nothing else is believed of it. None: it was not withdrawn."""
    cell = body[0] if type(body) is list and len(body) == 2 else None
    if type(cell) is not int or cell not in child.withdrawn:
        return None
    one = child.withdrawn[cell]
    finished = released(one.job)
    if body[1] != finished_row(finished):
        raise BadFrame("an outcome of a job that was withdrawn from it")
    return one, finished


def outcome_from(body: Any, child: Child) -> tuple[Handed, Finished]:
    """A job that a child holds, and its outcome."""
    if type(body) is not list or len(body) != 2:
        raise BadFrame("not a cell and an outcome")
    cell, row = body
    if type(cell) is not int or cell not in child.handed:
        raise BadFrame("an outcome of a job that it does not hold")
    if type(row) is not list or len(row) != len(CHECKS):
        raise BadFrame("an outcome of too few or too many parts")
    handed = child.handed[cell]
    for (name, check), value in zip(CHECKS, row, strict=True):
        if not check(value, handed.job):
            raise BadFrame(f"an outcome whose {name} cannot be")
    finished = finished_from(row)
    if finished.result is not None:
        text("result", finished.result, child.result_limit)
    if (finished.outcome, finished.state) not in POSSIBLE:
        raise BadFrame(f"an outcome {finished.outcome} that leaves a job {finished.state}")
    if finished.written is not (finished.state is State.SUCCEEDED):
        # A success that its own transaction has not written comes without all this.
        raise BadFrame("an outcome that was written, or not, as it cannot be")
    return handed, finished
