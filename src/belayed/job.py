"""A job: one payload saved for running, as its row in the store shows it; and the draft that it was before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, Unpack

from belayed.errors import BelayedError, JobCancelled, JobFailed, ResultUnavailable
from belayed.mistakes import OF_JOB, no_attribute


class State(StrEnum):
    """Where a job stands. `scheduled`, `ready` and `running` jobs are live; the others have ended."""

    SCHEDULED = "scheduled"
    READY = "ready"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in ENDED


LIVE = (State.SCHEDULED, State.READY, State.RUNNING)
ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRY = "retry"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    TIMED_OUT = "timed out"
    CRASHED = "crashed"
    LOST = "lost"


class Options(TypedDict, total=False):
    """What may be said of a job beside its arguments. A callable is called at each enqueue.

    A callable of a method's option that takes one argument gets the instance; any other is called with none.
    """

    queue: str | Callable[..., str]
    priority: int | str | Callable[..., int | str]
    """Smaller runs first; default 0; from -2³¹ to 2³¹ - 1. Or a name of the setting `priorities`."""
    run_at: datetime | timedelta | None | Callable[..., datetime | timedelta | None]
    """Not before: an aware datetime, or a timedelta from now."""
    max_attempts: int | None | Callable[..., int | None]
    max_run_time: timedelta | None | Callable[..., timedelta | None]
    keep_failed: bool | None | Callable[..., bool | None]
    connection: Any
    """A connection of the application's, whose transaction the job joins."""
    jobs: Any
    """The `Jobs` to enqueue in, where a program has several."""


class Changes(TypedDict, total=False):
    """What may be changed of a job while it waits."""

    queue: str
    priority: int | str
    run_at: datetime | timedelta


class Writable(Protocol):
    """What a draft needs of its payload: a name for people, and its text."""

    task: str

    def write(self, codec: Any) -> str: ...


NOTHING_SAID = None, None, None, None


@dataclass(slots=True)
class Draft:
    """A job not yet saved. `Jobs.enqueue(draft)` saves it; plugins and the `enqueue` hook may change it before."""

    payload: Writable
    task: str
    queue: str = ""
    """Empty: the default queue of the `Jobs`."""
    priority: int | str | None = None
    """None: the default priority of its queue, or of the `Jobs`."""
    run_at: datetime | timedelta | None = None
    max_attempts: int | None = None
    max_run_time: timedelta | None = None
    keep_failed: bool | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    connection: Any = None
    jobs: Any = None
    text: str = ""
    """The payload as it is stored; written when the draft is enqueued."""

    @property
    def is_plain(self) -> bool:
        """Whether it is due at once, and says nothing of attempts and limits."""
        said = self.run_at, self.max_attempts, self.max_run_time, self.keep_failed
        return said == NOTHING_SAID and not self.meta


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a job that did not succeed."""

    number: int
    outcome: Outcome
    worker: str | None
    started_at: datetime | None
    """None for a lost attempt: its worker died, and when it had started is unknown."""
    ended_at: datetime
    error_type: str | None
    message: str | None
    traceback: str | None


class Keeper(Protocol):
    """What a `Job` asks of the `Jobs` that it came from."""

    def get(self, id: int) -> Job: ...
    async def aget(self, id: int) -> Job: ...
    def wait(self, job: Job, timeout: timedelta | float | None = None) -> Job: ...
    async def await_(self, job: Job, timeout: timedelta | float | None = None) -> Job: ...
    def cancel(self, *ids: int) -> int: ...
    async def acancel(self, *ids: int) -> int: ...
    def retry(self, *ids: int) -> int: ...
    async def aretry(self, *ids: int) -> int: ...
    def delete(self, *ids: int) -> int: ...
    async def adelete(self, *ids: int) -> int: ...
    def change(
        self,
        *ids: int,
        queue: str | None = None,
        priority: int | str | None = None,
        run_at: datetime | timedelta | None = None,
    ) -> int: ...
    async def achange(
        self,
        *ids: int,
        queue: str | None = None,
        priority: int | str | None = None,
        run_at: datetime | timedelta | None = None,
    ) -> int: ...
    def attempts(self, id: int) -> list[Attempt]: ...
    def decode(self, text: str) -> Any: ...
    def transaction_of(self, run: Any, connection: Any, using: str | None = None) -> Any: ...


@dataclass(slots=True, eq=False, repr=False)
class Job:
    """A job as it was when it was read; `refresh()` reads it again.

    Times are aware, in UTC. `attempt` counts the runs that started, `failures` those that count against
    `max_attempts`; `error` says why the last attempt did not succeed, or why the job waits.
    """

    id: int
    state: State
    queue: str
    priority: int
    run_at: datetime
    task: str
    payload: str | None
    created_at: datetime
    max_attempts: int | None = None
    max_run_time: timedelta | None = None
    keep_failed: bool | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    jobs: Keeper | None = None
    loaded_attempts: tuple[Attempt, ...] | None = None
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    rescues: int = 0
    free_retries: int = 0
    error: str | None = None
    worker: str | None = None
    started_at: datetime | None = None
    """When the running attempt was claimed, or the last one started."""
    cancel_requested: bool = False
    finished_at: datetime | None = None
    run_time: timedelta | None = None
    result_text: str | None = None
    """As stored: JSON, or `!` and why the value could not be."""

    def __repr__(self) -> str:
        return f"<Job {self.id if self.saved else 'unsaved'} {self.task} {self.state.value}>"

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Job) and self.saved and self.id == other.id and self.jobs is other.jobs
        return self is other or same

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def saved(self) -> bool:
        """Whether it is in the database. Its id is 0 if it is not: it ran inline, is held back, or was not wanted."""
        return self.id != 0

    @property
    def ended(self) -> bool:
        """Whether the job has succeeded, failed or been cancelled."""
        return self.state.ended

    @property
    def result(self) -> Any:
        """What the function returned, as of the last read: `job.wait()` or `job.refresh()` first.

        Raises JobFailed, JobCancelled, or ResultUnavailable (not ended yet; the value has no text form).
        """
        if self.state is State.FAILED:
            error_type, _, message = (self.error or "").partition(": ")
            raise JobFailed(f"job {self.id} ({self.task}) failed: {self.error}", error_type or None, message or None)
        if self.state is State.CANCELLED:
            raise JobCancelled(f"job {self.id} ({self.task}) was cancelled{f': {self.error}' if self.error else ''}")
        if self.state is not State.SUCCEEDED:
            raise ResultUnavailable(f"job {self.id} ({self.task}) is {self.state.value}: call wait() first")
        if self.result_text is None:
            return None
        if self.result_text.startswith("!"):
            raise ResultUnavailable(f"job {self.id} ({self.task}) returned {self.result_text[1:]}")
        return self._keeper().decode(self.result_text)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts that did not succeed, oldest first; at most the first 5 and the last 20.

        Read from the database unless `refresh()` has brought them; in async code, `await job.arefresh()` first.
        """
        if self.loaded_attempts is None:
            self.loaded_attempts = tuple(self._keeper().attempts(self.id))
        return self.loaded_attempts

    def refresh(self) -> Job:
        """Read the job again, and return it. Raises JobNotFound."""
        return self.take(self._keeper().get(self.id)) if self._has_news() else self

    async def arefresh(self) -> Job:
        """Read the job again, and return it. Raises JobNotFound."""
        return self.take(await self._keeper().aget(self.id)) if self._has_news() else self

    def wait(self, timeout: timedelta | float | None = None) -> Job:
        """Wait until the job has ended, in whatever state, and return it refreshed.

        Raises WaitTimeout after *timeout* (a timedelta or seconds; None waits as long as it takes), and JobNotFound
        at once for a job that is not there: its transaction is still open or was rolled back, or it ended and is
        not kept.
        """
        return self._keeper().wait(self, timeout) if self._has_news() else self

    async def await_(self, timeout: timedelta | float | None = None) -> Job:
        """As `wait()`, without blocking the event loop."""
        return await self._keeper().await_(self, timeout) if self._has_news() else self

    def cancel(self) -> bool:
        """Cancel the job: at once if it waits, by request if it runs. False if it had ended."""
        return bool(self._keeper().cancel(self.id))

    async def acancel(self) -> bool:
        """Cancel the job: at once if it waits, by request if it runs. False if it had ended."""
        return bool(await self._keeper().acancel(self.id))

    def retry(self) -> bool:
        """Run a failed, cancelled or scheduled job now, as if it had not failed before. False for any other."""
        return bool(self._keeper().retry(self.id))

    async def aretry(self) -> bool:
        """Run a failed, cancelled or scheduled job now, as if it had not failed before. False for any other."""
        return bool(await self._keeper().aretry(self.id))

    def delete(self) -> bool:
        """Delete the job and its history. False if it runs: cancel it first."""
        return bool(self._keeper().delete(self.id))

    async def adelete(self) -> bool:
        """Delete the job and its history. False if it runs: cancel it first."""
        return bool(await self._keeper().adelete(self.id))

    def change(self, **changes: Unpack[Changes]) -> bool:
        """Change `queue`, `priority` or `run_at` of a waiting job. False if it does not wait."""
        return bool(self._keeper().change(self.id, **changes))

    async def achange(self, **changes: Unpack[Changes]) -> bool:
        """Change `queue`, `priority` or `run_at` of a waiting job. False if it does not wait."""
        return bool(await self._keeper().achange(self.id, **changes))

    def take(self, other: Job) -> Job:
        """Become what *other*, a later reading of the same job, shows."""
        for name in Job.__slots__:
            setattr(self, name, getattr(other, name))
        return self

    def _has_news(self) -> bool:
        """Whether there may be something to read. Raises BelayedError for a job that waits without being saved."""
        if not self.saved and not self.ended:
            raise BelayedError(f"{self!r} is held back: it was never saved, or not yet, so no worker can run it")
        return self.saved

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, OF_JOB, "job")

    def _keeper(self) -> Keeper:
        if self.jobs is None:
            raise BelayedError(f"{self!r} has no store: it was not made by a Jobs object")
        return self.jobs


class Filter(TypedDict, total=False):
    """Which jobs: all conditions given must hold; a list means any of it."""

    ids: list[int]
    states: list[State]
    queues: list[str]
    tasks: list[str]
    created_before: datetime
    created_after: datetime
