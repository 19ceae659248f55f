"""The worker's log lines about jobs: one for each while they are few, one for each second when they are many."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.config import Config
from belayed.job import Outcome, State
from belayed.redaction import redacted
from belayed.results import storable
from belayed.safelog import log
from belayed.worker.ending import Ending
from belayed.worker.traces import raised
from belayed.worker.verdict import TRACEBACK_LIMIT, formatted, rendered

MOST = 100
"""Lines about started and succeeded jobs in a second: more are summed up, as a line costs what a small job does."""
HALF = MOST // 2
"""Where child processes log what starts, and are told what has succeeded."""


NAMED = 5
"""So many jobs are named in one line."""
PACE = 10.0
"""Seconds between two lines about how fast jobs end."""


@dataclass(slots=True)
class Summary:
    """What a worker's run has brought."""

    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    failures: int = 0
    """Attempts that count as failures, whatever became of their jobs."""
    seconds: float = 0.0

    @property
    def ended(self) -> int:
        """Attempts that have ended."""
        return self.succeeded + self.failed + self.retried + self.cancelled

    @classmethod
    def of(cls, parts: Sequence[Summary]) -> Summary:
        """What several workers have brought together, at the same time."""
        whole = cls(seconds=max(part.seconds for part in parts))
        for name in ("succeeded", "failed", "retried", "cancelled", "failures"):
            setattr(whole, name, sum(getattr(part, name) for part in parts))
        return whole

    def count(self, one: Finished) -> None:
        """Take in an outcome that was written."""
        self.failures += one.failed or one.state is State.FAILED
        if one.state is State.SUCCEEDED:
            self.succeeded += 1
        elif one.state is State.FAILED:
            self.failed += 1
        elif one.state is State.CANCELLED:
            self.cancelled += 1
        elif one.started:
            self.retried += 1


def again_in(one: Finished) -> str:
    """When a job is tried again."""
    return f"in {humane(one.delay)}" if one.delay else "at once"


class Report:
    """Logs how attempts end."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.second = self.summed = 0
        self.lines = self.more = 0
        self.most = MOST
        self.complained: dict[int, float] = {}
        self.elsewhere: Callable[[list[Finished]], list[Finished]] = none_passed_on
        """Has outcomes logged by the children that they came from, where the application may have set up logging.
        Returns those that it could not pass on, and earlier ones that nobody has logged."""
        self.paced_at, self.paced = time.monotonic(), (0, 0)
        """When the pace was last told, and how many had ended and failed by then."""

    def written(self, outcomes: Sequence[Finished]) -> None:
        """Log outcomes that are written, all but successes beyond the most of a second: these are summed up."""
        if not log.isEnabledFor(logging.INFO):
            outcomes = [one for one in outcomes if one.state is not State.SUCCEEDED]
        elif not log.isEnabledFor(logging.DEBUG):
            outcomes = self.bounded(outcomes)
        if not outcomes:
            return
        here = [one for one in outcomes if one.child is None or not one.started]
        if len(here) < len(outcomes):
            here += self.elsewhere([one for one in outcomes if one.child is not None and one.started])
        for one in here:
            self.say(one)

    def bounded(self, outcomes: Sequence[Finished]) -> Sequence[Finished]:
        """Those for whose lines there is room in this second. Called for each batch, of which most are of successes."""
        self.turn_second()
        successes = sum(one.state is State.SUCCEEDED for one in outcomes)
        room = max(0, self.most - self.lines)
        self.lines += successes
        if successes <= room:
            return outcomes
        self.more += successes - room
        if not room and successes == len(outcomes):
            return ()
        found = []
        for one in outcomes:
            if one.state is State.SUCCEEDED:
                room -= 1
                if room < 0:
                    continue
            found.append(one)
        return found

    def say(self, one: Finished) -> None:
        """Log an outcome."""
        name, queue, failures = known(one)
        extra = about(one, name, queue)
        if one.state is State.SUCCEEDED:
            log.info("%s #%d succeeded in %s", name, one.id, humane(one.seconds), extra=extra)
            return
        if one.outcome is Outcome.INTERRUPTED and one.message is None:
            log.debug("%s #%d went back to its queue, not started", name, one.id, extra=extra)
        elif one.unknown and one.state is State.READY:
            text = "%s #%d went back to its queue, not charged: %s: %s"
            log.warning(text, name, one.id, one.error_type, one.message, extra=extra)
        elif one.outcome is Outcome.INTERRUPTED:
            log.info("%s #%d went back to its queue: %s", name, one.id, one.message, extra=extra)
        elif one.outcome is Outcome.CRASHED and not one.crashed:
            text = "%s #%d went back to its queue, not charged: %s"
            log.warning(text, name, one.id, one.message, extra=extra)
        elif one.state is State.CANCELLED:
            log.info("%s #%d was cancelled: %s", name, one.id, one.message, extra=extra)
        else:
            what = f"{one.error_type}: {one.message}"
            given = {"extra": extra, **trace(one)}
            if one.state is State.FAILED:
                why = permanently(one, failures + 1, what)
                log.error("%s #%d FAILED permanently %s", name, one.id, why, **given)
            elif one.free:
                text = "%s #%d is tried again %s, not counted as a failure (attempt %d): %s"
                log.info(text, name, one.id, again_in(one), one.attempt, one.message, extra=extra)
            else:
                again = again_in(one)
                text = "%s #%d failed at attempt %d, again %s: %s"
                log.warning(text, name, one.id, one.attempt, again, what, **given)

    def refused(self, one: Finished) -> None:
        """An outcome came too late: another worker has the job, or had it."""
        name, queue, _ = known(one)
        extra = about(one, name, queue)
        if one.started:
            text = "the outcome of %s #%d was refused: its claim had lapsed (%s)"
            log.warning(text, name, one.id, one.outcome.value, extra=extra)
        else:
            log.debug("%s #%d, not started, was another worker's already", name, one.id, extra=extra)

    def completed(self, one: Finished) -> None:
        """A job had completed in its own transaction, whatever became of the attempt then."""
        name, queue, _ = known(one)
        text = "%s #%d had succeeded, in its own transaction, before its attempt %s"
        log.warning(text, name, one.id, one.outcome, extra=about(one, name, queue))

    def started(self, job: Claimed) -> None:
        """Called in the thread that runs it."""
        if log.isEnabledFor(logging.INFO) and self.open():
            arguments = ""
            if self.config.log_arguments and job.payload is not None:
                arguments = f" {redacted(job.payload, self.config.redact)}"
            log.info("%s #%d started, attempt %d%s", job.task, job.id, job.attempt + 1, arguments, extra=job.extra)

    def stopping(self, running: int, ending: Ending, names: Sequence[str]) -> None:
        """Log what a stop waits for, and how to wait no longer."""
        within = "as long as they take" if ending.patient else f"within {ending.seconds:g} s"
        hint = "" if ending.now else "; Ctrl-C or SIGTERM once more stops them now"
        text = "stopping: %d job%s may finish, %s%s%s"
        log.info(text, running, "" if running == 1 else "s", within, f": {few(names)}" if names else "", hint)

    def open(self) -> bool:
        """Whether there is room for a line in this second; in DEBUG there always is."""
        if log.isEnabledFor(logging.DEBUG):
            return True
        self.turn_second()
        self.lines += 1
        return self.lines <= self.most

    def turn_second(self) -> None:
        """Begin to count again if another second has begun."""
        second = int(time.monotonic())
        if second != self.second:
            self.second, self.lines = second, 0

    def is_full(self) -> bool:
        """Whether this second has had its lines, so that `started` logs nothing.

        Asks nothing of logging, which is the application's: what does so may hang.
        """
        return self.lines > self.most and int(time.monotonic()) == self.second

    def tick(self, last: bool = False) -> None:
        """Log what children have left unlogged. Sum up the second that has passed, or the rest of the *last* one."""
        for one in self.elsewhere([]):
            self.say(one)
        second = int(time.monotonic())
        if second != self.summed or last:
            if self.more:
                log.info("… and %s more jobs succeeded within a second", f"{self.more:,}")
            self.summed, self.more = second, 0

    def pace(self, summary: Summary, last: bool = False) -> None:
        """Say how fast jobs have ended, every ten seconds in which any has, or for what is left of the *last* ones."""
        now = time.monotonic()
        seconds = now - self.paced_at
        if seconds < PACE and not last:
            return
        ended, failed = summary.ended, summary.failures
        if ended > self.paced[0]:
            jobs = ended - self.paced[0]
            text = "%s job%s processed at %.4g jobs/s, %s failed"
            log.info(
                text, f"{jobs:,}", "" if jobs == 1 else "s", jobs / max(seconds, 1e-3), f"{failed - self.paced[1]:,}"
            )
        self.paced_at, self.paced = now, (ended, failed)

    def stuck(self, job: Claimed, seconds: float) -> None:
        """A job that does not end after it was stopped: said every ten seconds."""
        now = time.monotonic()
        if now - self.complained.get(job.id, 0.0) >= 10:
            self.complained[job.id] = now
            text = "%s #%d does not end, after %s: this worker keeps its claim until it does"
            log.warning(text, job.task, job.id, humane(seconds), extra=job.extra)


def none_passed_on(outcomes: list[Finished]) -> list[Finished]:
    """For a worker without children."""
    return outcomes


def permanently(one: Finished, failures: int, what: str) -> str:
    """Why a job has failed for good, in Delayed Job's words: people look for them in their logs."""
    if not one.started:
        return f"before it could start: {what}"
    return f"because of {failures} consecutive failures: {what}" if failures > 1 else f"with {what}"


def known(one: Finished) -> tuple[str, str, int]:
    """The task and the queue of an outcome's job, and how often it had failed before."""
    job = one.job
    return ("job", "", 0) if job is None else (job.task, job.queue, job.failures)


def about(one: Finished, task: str, queue: str) -> dict[str, Any]:
    """What a log record has beside its text, for programs."""
    return {
        "job_id": one.id,
        "task": task,
        "queue": queue,
        "attempt": one.attempt,
        "outcome": one.outcome.value,
        "error_type": one.error_type,
        "seconds": round(one.seconds, 6),
    }


def trace(one: Finished) -> dict[str, Any]:
    """What was raised, or where it is not at hand its traceback; what a child wrote to stderr is in the log already."""
    if one.error is None:
        return {"exc_text": one.traceback.rstrip()} if one.traceback and not one.unheard else {}
    try:
        text = rendered(one.error).rstrip()
    except BaseException:
        # Whoever else looks at it would lose the line, or raise an exit.
        return {"exc_text": formatted(one.error)}
    bounded = storable(text, TRACEBACK_LIMIT)
    # A handler that writes UTF-8 would lose the line for a lone surrogate: then formatters are given the text, too.
    return {"exc_info": raised(one.error), **({} if bounded == text else {"exc_text": bounded})}


def humane(seconds: float) -> str:
    """A duration for people: `3 ms`, `1.2 s`, `5 min`, `3 h`, `2 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} d"


def few(names: Sequence[str]) -> str:
    """Some names of many."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
