"""Runs jobs in the test itself, one after the other, as a worker would: the outcome of each is on record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.config import current
from belayed.database import Plan
from belayed.errors import BelayedError, StoreError
from belayed.inline import aran, ran
from belayed.job import Draft, Job, Outcome, State
from belayed.payload import Loaded
from belayed.results import leaves
from belayed.retry import Cancel, Retry
from belayed.steps import arun, run
from belayed.store.answers import PASSED_OVER, Turn, Wanted
from belayed.store.lanes import Serving
from belayed.testing.modes import inline
from belayed.worker.attempt import Attempts
from belayed.worker.report import Summary

NAME = "belayed.testing"
"""The worker that jobs seem to be run by."""
ALL = 1000
"""How many jobs are looked through at once for one of them."""


def drain(*queues: str, raises: bool = True, most: int = 1000, connection: Any = None, jobs: Any = None) -> Summary:
    """Run here what is due (of the *queues*, or of all), and what that enqueues; a Summary of what has ended.

    With a *connection* of the test's in its transaction. Raises the first error of a job, once it is on record, unless
    *raises* is False: then errors count as they do in a worker. Raises BelayedError if it would be more jobs than
    *most*. A job is not stopped when its time is over.
    """
    given = saving(jobs or current())
    return run(Drain(given, raises, most).all(queues), performer(given, connection))


async def adrain(
    *queues: str, raises: bool = True, most: int = 1000, connection: Any = None, jobs: Any = None
) -> Summary:
    """As `drain`; coroutines are awaited in the running event loop."""
    given = saving(jobs or current())
    return await arun(Drain(given, raises, most).all(queues), aperformer(given, connection))


def perform(job: Any, *, connection: Any = None, jobs: Any = None) -> Any:
    """Run one job now, due or not, and return its result.

    It is a saved one, one that is held back, a draft, or an object with perform(). Raises its error. What becomes of a
    saved job is on record, as if a worker had run it.
    """
    given: Any = jobs or current()
    if isinstance(job, Job) and job.saved:
        return run(Drain(given).one(job), performer(given, connection))
    if isinstance(job, Job):
        return ran(given, again(job)).result
    with inline(given):
        return given.enqueue(job).result


async def aperform(job: Any, *, connection: Any = None, jobs: Any = None) -> Any:
    """As `perform`; a coroutine is awaited in the running event loop."""
    given: Any = jobs or current()
    if isinstance(job, Job) and job.saved:
        return await arun(Drain(given).one(job), aperformer(given, connection))
    if isinstance(job, Job):
        return (await aran(given, again(job))).result
    with inline(given):
        return (await given.aenqueue(job)).result


def saving(jobs: Any) -> Any:
    """*jobs*, if they are saved. Raises BelayedError while they are held back: what is due then is not the test's."""
    if jobs.held is not None:
        raise BelayedError("drain() runs saved jobs, and held() saves none: perform(job) each of those in its list")
    return jobs


def performer(jobs: Any, connection: Any) -> Callable[[Any], Any]:
    """What does the steps of a Drain: attempts here, operations in the store."""
    return lambda step: step.perform() if isinstance(step, Attempted) else jobs.do(step, connection)


def aperformer(jobs: Any, connection: Any) -> Callable[[Any], Awaitable[Any]]:
    """As `performer`, to be awaited."""
    return lambda step: step.aperform() if isinstance(step, Attempted) else jobs.ado(step, connection)


@dataclass
class Written:
    """The payload of a job that is held back."""

    task: str
    text: str

    def write(self, codec: Any) -> str:
        return self.text


def again(job: Job) -> Draft:
    """The draft that a job was which is held back, its hooks called and its payload written."""
    text = job.payload or ""
    draft = Draft(Written(job.task, text), job.task, job.queue, job.priority, meta=dict(job.meta), text=text)
    draft.max_attempts, draft.max_run_time, draft.keep_failed = job.max_attempts, job.max_run_time, job.keep_failed
    return draft


class Attempted:
    """An attempt to be run, and what it brought."""

    def __init__(self, jobs: Any, claimed: Claimed) -> None:
        self.attempts = Attempts(jobs)
        self.run = self.attempts.begun(claimed)
        self.loaded: Loaded | None = None
        self.value: Any = None
        self.error: BaseException | None = None

    def perform(self) -> Finished:
        attempts = self.attempts
        try:
            ready = attempts.load(self.run)
        except Exception as error:
            self.error = error
            return self.finished()
        if ready.is_async:
            self.loaded, self.value, self.error = attempts.jobs.awaited(attempts.arun(self.run, ready))
        else:
            self.loaded, self.value, self.error = attempts.run(self.run, ready)
        return self.finished()

    async def aperform(self) -> Finished:
        attempts = self.attempts
        try:
            ready = await attempts.aload(self.run)
        except Exception as error:
            self.error = error
            return self.finished()
        if ready.is_async:
            self.loaded, self.value, self.error = await attempts.arun(self.run, ready)
        else:
            self.loaded, self.value, self.error = attempts.run(self.run, ready)
        return self.finished()

    def finished(self) -> Finished:
        return self.attempts.told(self.run, self.loaded, self.value, self.error)


class Drain:
    """Claims jobs, has them run, and writes what became of them: plans whose steps are operations and attempts."""

    def __init__(self, jobs: Any, raises: bool = True, most: int = 1) -> None:
        self.jobs, self.raises, self.most = jobs, raises, most
        self.store = jobs.store
        self.summary = Summary()

    def all(self, queues: tuple[str, ...]) -> Plan[Summary]:
        """Run all that is due."""
        count = 0
        while True:
            yield from self.promoted()
            found = yield from self.claimed(1, Serving(queues or ("*",)))
            if not found:
                return self.summary
            if count == self.most:
                yield from self.released(found)
                raise BelayedError(f"drain() has run {count:,} jobs, and there are more: is a job enqueued by itself?")
            count += 1
            yield from self.attempted(found[0])

    def one(self, job: Job) -> Plan[Any]:
        """Run this job alone. Raises BelayedError if it does not wait."""
        yield lambda: self.store.change([job.id], delay=0.0)
        yield from self.promoted()
        wanted: Claimed | None = None
        others: list[Claimed] = []
        while wanted is None and (found := (yield from self.claimed(ALL, Serving((job.queue,))))):
            wanted = next((one for one in found if one.id == job.id), None)
            others += [one for one in found if one.id != job.id]
        yield from self.released(others)
        if wanted is None:
            raise BelayedError(
                f"{job!r} does not wait to be run: it runs, has ended or is gone, or its queue is paused"
            )
        return (yield from self.attempted(wanted))

    def promoted(self) -> Plan[None]:
        """Make ready what has become due."""
        while True:
            found = yield self.store.promote
            if not found.jobs:
                return

    def claimed(self, count: int, serving: Serving) -> Plan[list[Claimed]]:
        # New lanes each time: what they remember is a worker's hint of where to look.
        turn: Turn = yield lambda: self.store.turn([], Wanted(NAME, count, self.store.lanes(serving)))
        return turn.claimed

    def released(self, found: list[Claimed]) -> Plan[None]:
        """Give back what was claimed and is not run."""
        back = [Finished(one.id, one.token, Outcome.INTERRUPTED, State.READY, started=False) for one in found]
        if back:
            yield (lambda: self.store.turn(back))

    def attempted(self, claimed: Claimed) -> Plan[Any]:
        """Run an attempt and put it on record; what it returned. Raises its error."""
        if claimed.payload is None:
            text = yield (lambda: self.store.payload(claimed.id, claimed.token))
            claimed = claimed._replace(payload=text)
        attempt = Attempted(self.jobs, claimed)
        finished = yield attempt
        try:
            turn = yield (lambda: self.store.turn([finished]))
            if not turn.held and (yield (lambda: self.store.holds(finished))):
                raise StoreError(f"what became of {claimed.task} #{claimed.id} was not written: {PASSED_OVER}")
        except StoreError:
            # A job's failed statement fails the rest of its transaction, too.
            if attempt.error is None:
                raise
        self.summary.count(finished)
        error = attempt.error
        if error is None or not self.raises or finished.state in (State.SUCCEEDED, State.CANCELLED):
            return attempt.value
        if not all(isinstance(one, (Retry, Cancel)) for one in leaves(error)):
            raise error
        return attempt.value
