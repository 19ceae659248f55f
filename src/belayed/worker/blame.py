"""What becomes of the jobs of a child that has died: who is charged, who is suspected, who only goes back."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from belayed.claim import Claimed, Finished
from belayed.config import Config
from belayed.job import Outcome, State
from belayed.results import storable
from belayed.retry import default_wait

POISON_CRASHES = 3
"""So many charged deaths of a child fail a job."""
MOMENT = 0.5
"""Seconds before a death in which an attempt that ended may have brought it about."""
TAIL_LIMIT = 4 * 1024
LOST = 70
"""The exit code of a child that cannot reach its supervisor any more."""
BROKEN = 71
"""The exit code of a child that has ended itself: a thread that runs jobs, or the main one, has died."""


@dataclass(frozen=True, slots=True)
class Death:
    """How a child ended."""

    pid: int
    code: int
    """As of subprocess: a signal's number is negative."""
    peak: int
    """Bytes of memory, at most."""
    tail: str = ""
    """The last lines that it wrote to stderr."""
    reason: str = ""
    """Why it was killed, if it was the supervisor that did it."""
    expected: bool = False
    """It was killed for what is no fault of what ran there."""
    left_behind: bool = False
    """There were threads, processes or tasks of jobs that had ended: one of those may have done it."""
    deaf: bool = False
    """It did not take what it was sent: something there kept the interpreter's lock."""
    just_ended: bool = False
    """An attempt had ended there a moment before."""
    shared: bool = False
    """It had had more than one job."""

    @property
    def spoilt(self) -> bool:
        """Whether a job that has ended may have done it.

        By what it has left behind, or by a destructor of what it held; or the process ended itself, or was ended for
        what it sent or did not send.
        """
        return self.left_behind or self.just_ended or self.code in (BROKEN, LOST) or bool(self.reason)

    def __str__(self) -> str:
        how = f"ended with exit code {self.code}" if self.code >= 0 else f"was killed by {signal_name(-self.code)}"
        why = f" ({self.reason})" if self.reason else ""
        return f"its process {self.pid} {how}{why}; peak memory {self.peak / 2**20:.0f} MiB"


@dataclass(frozen=True, slots=True)
class Left:
    """An attempt that a dead child has left behind: it had started, and its outcome has not come."""

    job: Claimed
    seconds: float
    running: bool
    """False: its code had ended, and the outcome was lost on its way."""
    completed: bool = False
    """Its own transaction had completed its job, while its code went on."""
    is_async: bool = False
    stop: tuple[Outcome, str] | None = None
    """What it had been told to end as, and why: it did not, and its child was killed for it."""


def after_death(death: Death, left: Sequence[Left], config: Config) -> list[Finished]:
    """The outcomes of what a dead child has *left*.

    One that ran is charged, of several none: they are suspects, and run alone from now on. What was stopped ends as
    it was told, and its neighbours are no suspects; if one of them may have kept it from ending, all that ran are. One
    that had just ended may have done it like one that ran, as by a destructor of what it held; so may one whose job is
    completed, but its job stays as it is.
    """
    running = [one for one in left if one.running]
    hindered = [one for one in running if is_hindered(one, running, death)]
    found = []
    for one in left:
        if one.completed:
            continue
        if one.running and one.stop is not None and one not in hindered:
            found.append(stopped(one, one.stop, death, config))
        elif len(left) == 1 and not death.expected and proven(death):
            found.append(charged(one, death, config))
        else:
            suspect = not death.expected or one.job.suspect or (one.running and bool(hindered))
            found.append(innocent(one, death, suspect=suspect))
    return found


def is_hindered(one: Left, running: Sequence[Left], death: Death) -> bool:
    """Whether an attempt that ran beyond its time may have been kept from ending by another that ran."""
    if one.stop is None or one.stop[0] is not Outcome.TIMED_OUT:
        return False
    others = [other for other in running if other is not one]
    return bool(others) if death.deaf else one.is_async and any(other.is_async for other in others)


def proven(death: Death) -> bool:
    """Whether the only attempt that ran has brought its child down, as far as one can know.

    It has, if the child had had no other job, or if no other can have spoilt the process. Else the job runs in a new
    child the next time.
    """
    return not (death.shared and death.spoilt)


def charged(one: Left, death: Death, config: Config) -> Finished:
    """The attempt that alone ran when its child died. It is tried again at once: three times are not many."""
    job = one.job
    poison = job.crashes + 1 >= POISON_CRASHES
    over = poison or job.failures + 1 >= most_attempts(job, config)
    text = f"put aside as poison, {job.crashes + 1} processes died of it: {death}" if poison else str(death)
    finished = recorded(one, Outcome.CRASHED, State.FAILED if over else State.READY, text, death)
    finished.error_type, finished.failed, finished.crashed, finished.suspect = "AttemptCrashed", True, True, True
    finished.unheard = True
    return kept(finished, job, config)


def innocent(one: Left, death: Death, *, suspect: bool) -> Finished:
    """An attempt that is not to blame, or not alone: it goes back, and costs its job nothing."""
    outcome = Outcome.INTERRUPTED if death.expected else Outcome.CRASHED
    what = str(death) if one.running else f"it had ended, but its outcome was lost: {death}"
    finished = recorded(one, outcome, State.READY, what, death)
    finished.suspect = suspect
    return finished


def stopped(one: Left, stop: tuple[Outcome, str], death: Death, config: Config) -> Finished:
    """An attempt that did not end when it was told to, so that its child was killed."""
    job, (outcome, reason) = one.job, stop
    message = f"{reason}; it did not end by itself, and {death}"
    if outcome is Outcome.CANCELLED:
        finished = recorded(one, outcome, State.CANCELLED, message, death)
        finished.keep = config.keep_cancelled is not False
        return finished
    if outcome is Outcome.INTERRUPTED:
        finished = recorded(one, outcome, State.READY, message, death)
        finished.suspect = job.suspect
        return finished
    over = job.failures + 1 >= most_attempts(job, config)
    finished = recorded(one, outcome, State.FAILED if over else State.READY, message, death)
    finished.error_type, finished.failed, finished.unheard = "AttemptTimeout", True, True
    finished.delay = None if over else default_wait(job.failures + 1)
    return kept(finished, job, config)


def recorded(one: Left, outcome: Outcome, state: State, message: str, death: Death) -> Finished:
    tail = f"The last lines that the process wrote to stderr:\n{death.tail}" if death.tail else None
    return Finished(
        one.job.id,
        one.job.token,
        outcome,
        state,
        seconds=one.seconds,
        attempt=one.job.attempt + 1,
        message=storable(message, TAIL_LIMIT),
        traceback=None if tail is None else storable(tail, TAIL_LIMIT),
        job=one.job,
    )


def kept(finished: Finished, job: Claimed, config: Config) -> Finished:
    if finished.state is State.FAILED:
        finished.keep = config.keep_failed is not False if job.keep_failed is None else job.keep_failed
    return finished


def most_attempts(job: Claimed, config: Config) -> int:
    return config.max_attempts if job.max_attempts is None else job.max_attempts


def signal_name(number: int) -> str:
    """`SIGSEGV (signal 11)`."""
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
