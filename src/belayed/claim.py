"""A claim: the job as a worker gets it, the attempt that runs under it, and what is written when it has ended."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from belayed.errors import BelayedError, ConfigError
from belayed.job import Job, Keeper, Outcome, State
from belayed.meta import meta_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The microseconds of the years 1 to 9999, which a `datetime` has."""
LONGEST = 1e10
"""Seconds: more is not saved of any time that something took."""


def moment(micros: int) -> datetime:
    """The time so many microseconds after 1970."""
    return EPOCH + MICROSECOND * micros


def time_limit(seconds: float | None) -> timedelta | None:
    """A time limit as a row has it; None also for what is none, as somebody may have written by hand."""
    try:
        return None if seconds is None else timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return None


def micros(time: datetime) -> int:
    """The microseconds from 1970 to *time*."""
    return (time - EPOCH) // MICROSECOND


class Claimed(NamedTuple):
    """A job as a worker gets it: what it needs to run one attempt, in the order of the claim statements."""

    id: int
    queue: str
    priority: int
    run_at: int
    """This and `created_at`: microseconds since 1970, UTC."""
    task: str
    payload: str | None
    """None: it is large, and fetched when the attempt starts."""
    created_at: int
    attempt: int
    """The number of this attempt's predecessor: the running one is `attempt + 1`."""
    failures: int
    crashes: int
    rescues: int
    free_retries: int
    max_attempts: int | None
    max_run_time: float | None
    keep_failed: bool | None
    meta: str | None
    unknown_for: float | None
    """Seconds since a worker first did not know its code."""
    token: str
    suspect: bool = False
    """It ran when a child died with several attempts, so it runs alone."""

    @property
    def name(self) -> str:
        """`app.send #42`."""
        return f"{self.task} #{self.id}"

    @property
    def extra(self) -> dict[str, Any]:
        """What a log record about this attempt has beside its text, for programs."""
        return {"job_id": self.id, "task": self.task, "queue": self.queue, "attempt": self.attempt + 1}


# Without slots: a success is made of the few fields that it has, the others are the class's.
@dataclass
class Finished:
    """An attempt that has ended under a claim, and what is to become of its job."""

    id: int
    token: str
    outcome: Outcome
    state: State
    """SUCCEEDED, FAILED or CANCELLED end the job; READY sends it back (to SCHEDULED, with a delay)."""
    started: bool = True
    seconds: float = 0.0
    result: str | None = None
    delay: float | None = None
    """Seconds until it may run again; None keeps its `run_at`."""
    failed: bool = False
    """Counts as a failure."""
    crashed: bool = False
    free: bool = False
    """Counts as a free retry."""
    unknown: bool = False
    """It goes back because this worker does not know its code."""
    keep: bool = True
    error_type: str | None = None
    message: str | None = None
    traceback: str | None = None
    attempt: int = 0
    suspect: bool = False
    """One of several that ran when their child died."""
    written: bool = False
    """The job's own transaction has committed it."""
    unheard: bool = False
    """Its plugins have yet to hear of this: it was decided without its code."""
    job: Claimed | None = None
    """The job, once it is known here. This and what follows do not travel."""
    child: Any = None
    """The child process that it came from."""
    recorded: bool = True
    """Something is written of its attempt; not where the database refuses that."""
    hinted: bool = True
    """Other workers may get a hint; not where the database refuses that."""
    error: BaseException | None = None
    """What it raised, for its line in the log: in the process where it ran, until then."""

    @classmethod
    def succeeded(cls, id: int, token: str, seconds: float, result: str | None, keep: bool, attempt: int) -> Finished:
        """A success: as the constructor makes it, in a fifth of the time."""
        one = cls.__new__(cls)
        one.id, one.token, one.outcome, one.state = id, token, Outcome.SUCCEEDED, State.SUCCEEDED
        one.seconds, one.result, one.keep, one.attempt = seconds, result, keep, attempt
        return one


@dataclass(slots=True, weakref_slot=True, eq=False)
class Running:
    """An attempt that runs."""

    claimed: Claimed
    keeper: Keeper
    deadline: float | None = None
    """When `max_run_time` is over, on the clock of `time.monotonic()`; None: no limit."""
    stopping: Outcome | None = None
    """What it was asked to end as."""
    reason: str = ""
    subject: tuple[object, str] | None = None
    """The object and the name of its method that it runs: called within the attempt, the method runs its body.

    Of a function that is not one of Belayed's: its name, and "".
    """
    begun: float = 0.0
    completing: bool = False
    """A transaction is open that will complete the job."""
    completed: Finished | None = None
    """Set once the job's own transaction has committed its completion."""
    on_completed: Callable[[Running], None] | None = None
    """Called right after, in the job's thread."""
    decided: tuple[Finished, BaseException] | None = None
    """The outcome of an attempt that failed, and its error, where it was found while plugins were around it."""
    view: CurrentJob | None = None
    given: list[Any] = field(default_factory=list)
    """The connections of the application's that it has given to Belayed."""

    @property
    def seconds(self) -> float:
        """For how long it has run. A job may have replaced the clock, as tests do that freeze the time."""
        seconds = time.monotonic() - self.begun
        return seconds if 0.0 <= seconds <= LONGEST else min(max(0.0, seconds), LONGEST)

    @property
    def job(self) -> CurrentJob:
        """The job for the code that it runs, made when first asked for."""
        if self.view is None:
            one = self.claimed
            self.view = CurrentJob(
                id=one.id,
                state=State.RUNNING,
                queue=one.queue,
                priority=one.priority,
                run_at=moment(one.run_at),
                task=one.task,
                payload=one.payload,
                created_at=moment(one.created_at),
                attempt=one.attempt + 1,
                failures=one.failures,
                crashes=one.crashes,
                rescues=one.rescues,
                free_retries=one.free_retries,
                max_attempts=one.max_attempts,
                max_run_time=time_limit(one.max_run_time),
                keep_failed=one.keep_failed,
                meta=meta_of(one.meta),
                jobs=self.keeper,
            )
            self.view.running = self
        return self.view


@dataclass(slots=True)
class Completion:
    """What the job's own transaction writes of it."""

    result: Any = None
    """The job's result. What it returns later is not kept: by then it has ended."""


class Transaction(Protocol):
    """A block on a connection of the application's: `with` for a sync one, `async with` for an async one."""

    def __enter__(self) -> Completion: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def __aenter__(self) -> Completion: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class CurrentJob(Job):
    """The job that the current thread or coroutine runs; `attempt` is the number of this attempt."""

    running: Running

    @property
    def deadline(self) -> float | None:
        """When `max_run_time` is over, on the clock of `time.monotonic()`; None: no limit."""
        return self.running.deadline

    @property
    def stopping(self) -> bool:
        """Whether the attempt was asked to stop (cancelled, timed out, shutdown): end soon, by an error or not."""
        return self.running.stopping is not None

    def transaction(self, connection: Any = None, *, using: str | None = None) -> Transaction:
        """A block whose effects and the job's completion are committed together, or neither is.

        `with` on a sync *connection* of the application's, `async with` on an async one, which must have no transaction
        open. The block's own begins with it and is committed at its end, with the job's success as the last statement
        before: then the job has succeeded, whatever the code after the block does. A block that raises is rolled back.

        In a Django project say `using="default"` instead: it is Django's own `atomic()`, on the database of that name.

        The block is given a `Completion`, whose `result` may be set. Raises ClaimLost, with everything rolled back, if
        this attempt does not hold the job any more; StoreUnavailable with `uncertain` set if the commit got no answer;
        ConfigError for a connection that cannot do it, BelayedError if the job has been completed already. In an inline
        run there is no completion to commit: the block is a transaction.
        """
        if (connection is None) is (using is None):
            raise ConfigError("current_job().transaction() takes a connection, or using= with a database of Django's")
        begun: Transaction = self._keeper().transaction_of(self.running, connection, using)
        return begun


running: contextvars.ContextVar[Running | None] = contextvars.ContextVar("belayed_running", default=None)


def current_job() -> CurrentJob:
    """The job whose attempt runs here. Raises BelayedError outside of one."""
    run = running.get()
    if run is None:
        raise BelayedError("no job runs here: current_job() is for code that a worker runs as a job")
    return run.job
