"""What becomes of a job after an attempt: decided by its row, the task's rules and what it raised."""

from __future__ import annotations

import traceback
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.codec import Codec
from belayed.config import Config
from belayed.errors import PayloadError, UnknownPayload
from belayed.job import Outcome, State
from belayed.methods import NO_RULES, hook_of
from belayed.results import MESSAGE_LIMIT, error_name, error_text, leaves, safe_str, storable, succeeded, type_name
from belayed.retry import FREE_RETRIES, Cancel, Fail, Retry, Rules, default_wait, seconds_until
from belayed.safelog import log, name_of
from belayed.worker.traces import of_the_job

TRACEBACK_LIMIT = 16 * 1024
LONGEST_WAIT = 100 * 365.25 * 86400
"""Seconds: a hundred years."""
UNKNOWN_WAIT = 5.0, 600.0
"""Seconds: the shortest and the longest wait of a job whose code no worker has known so far."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt as it ended: what it returned or raised."""

    value: Any = None
    error: BaseException | None = None
    seconds: float = 0.0
    rules: Rules = NO_RULES
    hooks: Any = None
    started: bool = True
    stopped: Outcome | None = None
    """Set if it was ended from outside."""
    reason: str = ""


def verdict(job: Claimed, ended: Ended, config: Config, codec: Codec) -> Finished:
    """What is to be written of an attempt."""
    if ended.error is None:
        return succeeded(job, ended.value, ended.seconds, config, codec)
    finished = judged(job, ended, ended.error, config)
    finished.started, finished.seconds = ended.started, ended.seconds
    finished.attempt = job.attempt + 1
    if finished.state is State.FAILED:
        finished.keep = config.keep_failed is not False if job.keep_failed is None else job.keep_failed
    elif finished.state is State.CANCELLED:
        finished.keep = config.keep_cancelled is not False
    described(finished, ended)
    return finished


def judged(job: Claimed, ended: Ended, error: BaseException, config: Config) -> Finished:
    """The outcome of an attempt that raised *error*. Of an exception group the errors in it are judged."""
    if ended.stopped is Outcome.CANCELLED:
        return Finished(job.id, job.token, Outcome.CANCELLED, State.CANCELLED)
    if ended.stopped is Outcome.INTERRUPTED:
        return Finished(job.id, job.token, Outcome.INTERRUPTED, State.READY)
    if isinstance(error, UnknownPayload) and not ended.started:
        return unknown(job, config)
    # An attempt that was stopped raised an error of ours: the task's rules are not about it.
    rules = ended.rules if ended.stopped is None else NO_RULES
    grave = grave_of(error, rules)
    if not grave:
        return Finished(job.id, job.token, Outcome.CANCELLED, State.CANCELLED)
    if all(isinstance(one, Retry) and one.free for one in grave):
        if job.free_retries >= FREE_RETRIES:
            return Finished(job.id, job.token, Outcome.FAILED, State.FAILED, failed=True)
        asked = asked_for(error)
        wait = default_wait(1) if asked is None else min(asked, LONGEST_WAIT)
        return Finished(job.id, job.token, Outcome.RETRY, State.READY, delay=wait, free=True)
    outcome = Outcome.TIMED_OUT if ended.stopped is Outcome.TIMED_OUT else Outcome.FAILED
    most = config.max_attempts if job.max_attempts is None else job.max_attempts
    final = any(isinstance(one, Fail) or isinstance(one, PayloadError) and not ended.started for one in grave)
    if rules.retry_on is not None and not isinstance(error, rules.retry_on):
        final = final or not all(isinstance(one, (Retry, rules.retry_on)) for one in grave)
    if final or job.failures + 1 >= most:
        return Finished(job.id, job.token, outcome, State.FAILED, failed=True)
    if outcome is Outcome.FAILED:
        outcome = Outcome.RETRY
    # A time beyond the calendar is one that no database takes.
    wait = min(wait_of(job, ended, error), LONGEST_WAIT)
    return Finished(job.id, job.token, outcome, State.READY, delay=wait, failed=True)


def grave_of(error: BaseException, rules: Rules) -> list[BaseException]:
    """The errors by which an attempt that raised *error* is judged: none if it is to end as cancelled."""
    if isinstance(error, rules.discard_on):
        return []
    return [one for one in leaves(error) if not isinstance(one, (Cancel, rules.discard_on))]


def untold(job: Claimed, seconds: float, broken: BaseException, config: Config) -> Finished:
    """The outcome of an attempt about which nothing can be said, but that it failed."""
    most = config.max_attempts if job.max_attempts is None else job.max_attempts
    over = job.failures + 1 >= most
    return Finished(
        job.id,
        job.token,
        Outcome.FAILED if over else Outcome.RETRY,
        State.FAILED if over else State.READY,
        seconds=seconds,
        delay=None if over else min(default_wait(job.failures + 1), LONGEST_WAIT),
        failed=True,
        keep=config.keep_failed is not False if job.keep_failed is None else job.keep_failed,
        error_type=storable(name_of(broken), 255),
        message="the worker could not tell how the attempt ended; its log says why",
        attempt=job.attempt + 1,
    )


def released(job: Claimed, delay: float | None = None) -> Finished:
    """A job that goes back without having been run: it costs it nothing."""
    finished = Finished(job.id, job.token, Outcome.INTERRUPTED, State.READY, started=False, suspect=job.suspect)
    finished.job, finished.delay = job, delay
    return finished


def unknown(job: Claimed, config: Config) -> Finished:
    """A job whose code this worker does not have goes back, uncharged, until the limit."""
    known_for = job.unknown_for or 0.0
    if known_for >= config.unknown_task_limit.total_seconds():
        return Finished(job.id, job.token, Outcome.FAILED, State.FAILED, failed=True)
    shortest, longest = UNKNOWN_WAIT
    wait = min(max(shortest, known_for / 4), longest)
    return Finished(job.id, job.token, Outcome.INTERRUPTED, State.READY, delay=wait, unknown=True)


def wait_of(job: Claimed, ended: Ended, error: BaseException) -> float:
    """Seconds until the next attempt; the default formula when the task's own raises."""
    failures = job.failures + 1
    if (asked := asked_for(error)) is not None:
        return asked
    try:
        reschedule = None if ended.hooks is None else hook_of(ended.hooks, "reschedule_at")
        if reschedule is not None:
            return chosen(reschedule(datetime.now(UTC), failures))
        return ended.rules.wait(failures)
    except Exception:
        text = "the backoff of %s #%d raised; the default formula is used"
        log.exception(text, job.task, job.id, extra=job.extra)
        return default_wait(failures)


def asked_for(error: BaseException) -> float | None:
    """The seconds that a `Retry` asks for: of several in a group the longest, None if none says."""
    waits = [seconds_until(one.after) for one in leaves(error) if isinstance(one, Retry) and one.after is not None]
    return max(waits, default=None)


def chosen(at: Any) -> float:
    """Seconds until the time that a custom job's reschedule_at returned."""
    if isinstance(at, timedelta) or isinstance(at, datetime) and at.tzinfo is not None:
        return seconds_until(at)
    raise TypeError(f"reschedule_at returned {at!r}: it must return an aware datetime or a timedelta")


def described(finished: Finished, ended: Ended) -> None:
    """Put in what the attempts' record says of the error."""
    error = ended.error
    assert error is not None
    if ended.stopped is not None:
        finished.message = storable(ended.reason or ended.stopped.value, MESSAGE_LIMIT)
        finished.error_type = {Outcome.TIMED_OUT: "AttemptTimeout"}.get(ended.stopped)
    else:
        finished.error_type = storable(error_name(error), 255)
        finished.message = storable(error_text(error), MESSAGE_LIMIT)
        if finished.error_type == "bdb.BdbQuit" and not finished.message:
            finished.message = "the debugger was left, or had no terminal: `belayed work --processes 0` has one"
    answer = all(isinstance(one, (Cancel, Retry, Fail)) for one in leaves(error))
    if ended.started and finished.outcome is not Outcome.INTERRUPTED and not answer:
        finished.traceback = storable(formatted(error), TRACEBACK_LIMIT)


def plain(outcome: Finished, refusal: Exception) -> Finished:
    """The outcome as any database takes it, for one that has refused it: one in LATIN1 has no emoji."""
    finished = copy(outcome)
    finished.seconds = finished.seconds if 0 <= finished.seconds <= LONGEST_WAIT else 0.0
    for name in ("error_type", "message", "traceback"):
        if (text := getattr(finished, name)) is not None:
            setattr(finished, name, text.encode("ascii", "backslashreplace").decode())
    if finished.result is not None:
        why = f"{type_name(type(refusal))}: {safe_str(refusal)}".encode("ascii", "backslashreplace").decode()
        finished.result = f"!a value that the database refused: {why[:MESSAGE_LIMIT]}"
    return finished


def formatted(error: BaseException) -> str:
    """The traceback, without the frames of ours that called the job."""
    try:
        return rendered(error)
    except BaseException as broken:
        return f"{type_name(type(error))}: its traceback cannot be shown ({type_name(type(broken))})"


def rendered(error: BaseException) -> str:
    """The same. Raises what the error raises when it is looked at: its class is anybody's."""
    entry = of_the_job(error.__traceback__)
    return "".join(traceback.TracebackException(type(error), error, entry).format())
