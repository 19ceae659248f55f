"""What is written of a job: its result, what its error is called, and text as every database takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.codec import Codec
from belayed.config import Config
from belayed.errors import AttemptStopped, EnqueueError

MESSAGE_LIMIT = 4 * 1024
GROUPED: Callable[[BaseException], tuple[BaseException, ...]] = vars(BaseExceptionGroup)["exceptions"].__get__
MOST_LEAVES = 100
"""So many errors of a group are looked at."""


def succeeded(job: Claimed, value: Any, seconds: float, config: Config, codec: Codec) -> Finished:
    """The outcome of an attempt that has come to its end, with *value* as the result."""
    result = None if value is None else result_text(value, config, codec)
    return Finished.succeeded(job.id, job.token, seconds, result, config.keep_succeeded is not False, job.attempt + 1)


def result_text(value: Any, config: Config, codec: Codec) -> str:
    """The result as it is stored. What has no text form, or is too large, is only named: it never fails the job."""
    try:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
    except Exception:
        kind = "value"
    try:
        text = codec.text(codec.encode(value, "result"))
    except AttemptStopped:
        raise
    except BaseException as error:
        # Not only the codec's own errors: what it reads of the value is the application's code.
        why = safe_str(error) if isinstance(error, EnqueueError) else f"{type_name(type(error))}: {safe_str(error)}"
        return storable(f"!a {kind}, which cannot be stored: {why}", MESSAGE_LIMIT)
    size = len(text) if text.isascii() else len(text.encode())
    if size > config.payload_limit:
        why = f"of {size:,} bytes, more than the payload_limit of {config.payload_limit:,}"
        return storable(f"!a {kind} {why}", MESSAGE_LIMIT)
    return text


def type_name(cls: type) -> str:
    """`ValueError`, `app.errors.Declined`."""
    try:
        return str(cls.__qualname__) if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    except Exception:
        # A metaclass of the application's may do what it likes.
        return "an exception without a name"


def safe_str(error: BaseException) -> str:
    """The error's message, whatever its __str__ does."""
    try:
        return str(error)
    except BaseException as broken:
        return f"<its __str__ raised {type_name(type(broken))}>"


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in an exception group, those of groups in it as well; of any other error itself.

    Structured concurrency wraps what a job raises: a TaskGroup raises a group even for a single error.
    """
    found: list[BaseException] = []
    left = [error]
    while left and len(found) < MOST_LEAVES:
        one = left.pop()
        # A subclass may shadow `exceptions`; the descriptor of the base is not asked of any class.
        inner = GROUPED(one) if isinstance(one, BaseExceptionGroup) else ()
        if inner:
            left.extend(reversed(inner))
        else:
            found.append(one)
    return found


def error_name(error: BaseException) -> str:
    """The error's type as it is recorded: `ValueError`; of a group with those in it: `ExceptionGroup[ValueError]`."""
    name = type_name(type(error))
    if not isinstance(error, BaseExceptionGroup):
        return name
    return f"{name}[{', '.join(dict.fromkeys(type_name(type(leaf)) for leaf in leaves(error)))}]"


def error_text(error: BaseException) -> str:
    """The error's message; of a group with the messages of those in it, which its own does not tell."""
    if not isinstance(error, BaseExceptionGroup):
        return safe_str(error)
    inner = (f"{type_name(type(leaf))}: {safe_str(leaf)}" for leaf in leaves(error))
    return f"{safe_str(error)}: {'; '.join(inner)}"


def storable(text: str, limit: int) -> str:
    """*text* as every database takes it: no NUL, no lone surrogates, and of a long one the head and the tail."""
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= limit:
        return text
    gap = f"\n… {len(text) - limit:,} characters left out …\n"
    head = (limit - len(gap)) // 2
    return text[:head] + gap + text[-(limit - len(gap) - head) :]
