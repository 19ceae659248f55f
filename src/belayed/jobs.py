"""`Jobs`: saves, finds and changes jobs in one store; the place where codec, store and connections come together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from datetime import datetime, timedelta
from typing import Any, Never, TypeVar, Unpack, cast

from belayed.changes import Action, bulk_change, changed_batch, each_batch, move
from belayed.claim import Running
from belayed.completion import JobTransaction
from belayed.config import Config, current, settings
from belayed.database import Plan
from belayed.errors import BelayedError, ConfigError, JobNotFound, OptionError
from belayed.job import Attempt, Draft, Filter, Job, Options
from belayed.mistakes import loose_arguments
from belayed.options import (
    check_age,
    check_count,
    check_filter,
    check_ids,
    check_page,
    check_queue,
    check_text,
    check_timeout,
    shortened,
)
from belayed.payload import name_in_code
from belayed.plugin import NOTHING, Plugin, Within
from belayed.saving import Saving, several
from belayed.steps import arun, awaited, run
from belayed.store.answers import Counts, Overdue, WorkerRow
from belayed.waiting import Waiting, obstacle, waits

T = TypeVar("T")


class Jobs(Saving):
    """Jobs in one store. Nothing is opened before it is first needed.

    *url* says where (default: see belayed.config.default_url); the settings are those of belayed.config.Config.
    """

    def __init__(self, url: str | None = None, *, plugins: Iterable[Plugin] = (), **given: Any) -> None:
        super().__init__(settings(Config, {**given, **({"url": url} if url else {})}), plugins)

    def prepare(self) -> None:
        """Before a worker's process runs jobs: raise ConfigError or StoreError if it could not."""

    def check_worker(self) -> None:
        """Before a worker runs here: raise ConfigError if it could not see the jobs that this thread enqueues."""

    resting: Callable[[bool], None] | None = None
    """Called in a thread of a worker that has had nothing to do for a while, or (True) has ended."""

    def around_coroutine(self, run: Running) -> AbstractAsyncContextManager[None]:
        """What an attempt of an `async def` job is within, from before its payload is looked at."""
        return NOTHING

    def within(self, around: AbstractContextManager[None]) -> Within:
        """What the code of an `async def` job is within: the plugins' context of its attempt."""
        return Within(around)

    def awaited(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine of a job returns that runs here, inline or by drain(), and not in a worker."""
        return awaited(coroutine)

    # Reading jobs.

    def get(self, id: int) -> Job:
        """The job with this id, live or ended, with its attempts. Raises JobNotFound."""
        return self._found(id, self.do(lambda: self.store.get(id)) if self._possible(id) else None)

    async def aget(self, id: int) -> Job:
        """The job with this id, live or ended, with its attempts. Raises JobNotFound."""
        return self._found(id, await self.ado(lambda: self.store.get(id)) if self._possible(id) else None)

    def find(self, *, before: int | None = None, limit: int = 100, **filter: Unpack[Filter]) -> list[Job]:
        """At most *limit* jobs, newest first, with ids below *before*: the last one's id begins the next page."""
        check_page(before, limit)
        check_filter(filter)
        return [self._owned(job) for job in self.do(lambda: self.store.find(filter, before=before, count=limit))]

    async def afind(self, *, before: int | None = None, limit: int = 100, **filter: Unpack[Filter]) -> list[Job]:
        """At most *limit* jobs, newest first, with ids below *before*: the last one's id begins the next page."""
        check_page(before, limit)
        check_filter(filter)
        return [self._owned(job) for job in await self.ado(lambda: self.store.find(filter, before=before, count=limit))]

    def attempts(self, id: int) -> list[Attempt]:
        """The attempts of a job that did not succeed, oldest first."""
        check_ids([id])
        return self.do(lambda: self.store.attempts(id))

    def counts(self, *, most: int = 1_000_000) -> Counts:
        """Jobs by queue and state; the ended ones by state, counted up to *most*."""
        check_count("most", most, least=1)
        return self.do(lambda: self.store.counts(most=most))

    async def acounts(self, *, most: int = 1_000_000) -> Counts:
        """Jobs by queue and state; the ended ones by state, counted up to *most*."""
        check_count("most", most, least=1)
        return await self.ado(lambda: self.store.counts(most=most))

    def overdue(self, age: timedelta) -> list[Overdue]:
        """The queues with jobs that were never tried and have been due for longer than *age*, by name."""
        check_age(age)
        return self.do(lambda: self.store.overdue(age.total_seconds()))

    async def aoverdue(self, age: timedelta) -> list[Overdue]:
        """The queues with jobs that were never tried and have been due for longer than *age*, by name."""
        check_age(age)
        return await self.ado(lambda: self.store.overdue(age.total_seconds()))

    def workers(self) -> list[WorkerRow]:
        """The registered workers, oldest first; those that have stopped beating are not `alive`."""
        return self.do(self.store.workers)

    async def aworkers(self) -> list[WorkerRow]:
        """The registered workers, oldest first; those that have stopped beating are not `alive`."""
        return await self.ado(self.store.workers)

    def wait(self, job: Job, timeout: timedelta | float | None = None) -> Job:
        """See Job.wait."""
        check_timeout(timeout)
        with Waiting(job, timeout) as waiting:
            while not self._looked_at(waiting).ended:
                if waiting.asks:
                    waiting.learn(self._obstacle(job))
                time.sleep(waiting.pause())
        return job

    async def await_(self, job: Job, timeout: timedelta | float | None = None) -> Job:
        """See Job.wait."""
        check_timeout(timeout)
        with Waiting(job, timeout) as waiting:
            while not (await self._alooked_at(waiting)).ended:
                if waiting.asks:
                    waiting.learn(await self._aobstacle(job))
                await asyncio.sleep(waiting.pause())
        return job

    def _obstacle(self, job: Job) -> str:
        # Who waits may not be allowed to read more than the job.
        with suppress(BelayedError):
            return obstacle(job, self.paused(), self.workers()) if waits(job) else ""
        return ""

    async def _aobstacle(self, job: Job) -> str:
        with suppress(BelayedError):
            return obstacle(job, await self.apaused(), await self.aworkers()) if waits(job) else ""
        return ""

    # Changing jobs: those with the ids given, or all that a filter finds.

    def cancel(self, *id: int, **filter: Unpack[Filter]) -> int:
        """Cancel jobs: waiting ones at once, running ones by request. How many it was."""
        return run(self._bulk("cancel", id, filter), self._perform)

    async def acancel(self, *id: int, **filter: Unpack[Filter]) -> int:
        """Cancel jobs: waiting ones at once, running ones by request. How many it was."""
        return await arun(self._bulk("cancel", id, filter), self._aperform)

    def retry(self, *id: int, **filter: Unpack[Filter]) -> int:
        """Run failed, cancelled or scheduled jobs now, their counters at zero. How many it was.

        A filter that names no states means the failed ones.
        """
        return run(self._bulk("retry", id, filter), self._perform)

    async def aretry(self, *id: int, **filter: Unpack[Filter]) -> int:
        """As `retry`, without blocking the event loop."""
        return await arun(self._bulk("retry", id, filter), self._aperform)

    def delete(self, *id: int, **filter: Unpack[Filter]) -> int:
        """Delete jobs and their history. Running ones stay. How many it was."""
        return run(self._bulk("delete", id, filter), self._perform)

    async def adelete(self, *id: int, **filter: Unpack[Filter]) -> int:
        """Delete jobs and their history. Running ones stay. How many it was."""
        return await arun(self._bulk("delete", id, filter), self._aperform)

    def change(
        self,
        *id: int,
        queue: str | None = None,
        priority: int | str | None = None,
        run_at: datetime | timedelta | None = None,
        **filter: Unpack[Filter],
    ) -> int:
        """Change the queue, priority or time of waiting jobs. How many it was."""
        return run(self._moving(id, filter, queue, priority, run_at), self._perform)

    async def achange(
        self,
        *id: int,
        queue: str | None = None,
        priority: int | str | None = None,
        run_at: datetime | timedelta | None = None,
        **filter: Unpack[Filter],
    ) -> int:
        """Change the queue, priority or time of waiting jobs. How many it was."""
        return await arun(self._moving(id, filter, queue, priority, run_at), self._aperform)

    def bulk(self, action: Action, filter: Filter, report: Callable[[int], None] | None = None) -> int:
        """`cancel`, `retry` or `delete` what the filter finds; *report* is told how many after each batch."""
        return run(self._bulk(action, (), filter, report), self._perform)

    def changed(self, action: Action, ids: Sequence[int]) -> list[int]:
        """`cancel`, `retry` or `delete` these jobs, in one transaction: the ids of those that were changed."""
        check_ids(ids)
        return run(changed_batch(self, bulk_change(self.store, action, {})[0], ids), self._perform)

    def pause(self, queue: str) -> None:
        """Let no worker claim from *queue* until it is resumed."""
        check_queue(queue)
        self.do(lambda: self.store.pause(queue))

    async def apause(self, queue: str) -> None:
        """Let no worker claim from *queue* until it is resumed."""
        check_queue(queue)
        await self.ado(lambda: self.store.pause(queue))

    def resume(self, queue: str) -> None:
        """Let workers claim from *queue* again."""
        check_text("queue", queue)
        self.do(lambda: self.store.resume(queue))

    async def aresume(self, queue: str) -> None:
        """Let workers claim from *queue* again."""
        check_text("queue", queue)
        await self.ado(lambda: self.store.resume(queue))

    def paused(self) -> list[str]:
        """The paused queues."""
        return self.do(self.store.paused)

    async def apaused(self) -> list[str]:
        """The paused queues."""
        return await self.ado(self.store.paused)

    def decode(self, text: str) -> Any:
        """A stored value. Raises PayloadError."""
        return self.codec.loads(text)

    def transaction_of(self, run: Running, connection: Any, using: str | None = None) -> JobTransaction:
        """See CurrentJob.transaction."""
        if using is not None:
            raise ConfigError(f"using={using!r} names a database of Django's, and this is no Django project")
        if not self.store.pinned:
            self.pin()
        return JobTransaction(self.store, self.config, self.codec, run, self._wrapped(connection))

    # How it is done.

    def _bulk(
        self, action: Action, ids: tuple[int, ...], filter: Filter, report: Callable[[int], None] | None = None
    ) -> Plan[int]:
        return each_batch(self, *bulk_change(self.store, action, filter), ids, report)

    def _moving(
        self,
        ids: tuple[int, ...],
        filter: Filter,
        queue: str | None,
        priority: int | str | None,
        run_at: datetime | timedelta | None,
    ) -> Plan[int]:
        number = None if priority is None else self.names.number(priority)
        return each_batch(self, *move(self.store, filter, queue, number, run_at), ids)

    def _possible(self, id: Any) -> bool:
        """Whether a job can have this id. Raises OptionError for what is no whole number."""
        if type(id) is int and not -(2**63) < id < 2**63:
            return False
        check_ids([id])
        return True

    def _found(self, id: int, found: tuple[Job, list[Attempt]] | None) -> Job:
        if found is None:
            raise JobNotFound(
                f"there is no job {shortened(id)}: the transaction that enqueued it is still open or was rolled back, "
                "or the job was deleted, has been pruned, or ended and is not kept"
            )
        job, attempts = found
        job.loaded_attempts = tuple(attempts)
        return self._owned(job)

    def _owned(self, job: Job) -> Job:
        job.jobs = self
        return job

    def _looked_at(self, waiting: Waiting) -> Job:
        """The job that is waited for, as it is now. Raises JobNotFound for one that no worker sees."""
        return waiting.job.take(self.get(waiting.job.id))

    async def _alooked_at(self, waiting: Waiting) -> Job:
        return waiting.job.take(await self.aget(waiting.job.id))


def configure(url: str | None = None, *, plugins: Iterable[Plugin] = (), **settings: Any) -> Jobs:
    """Set the `Jobs` that the program uses by default, and return it. Raises ConfigError.

    *url* says where jobs are kept; the settings are those of belayed.config.Config.
    """
    current.jobs = Jobs(url, plugins=plugins, **settings)
    return cast(Jobs, current.jobs)


def enqueue(job: Any, /, *args: Never, **options: Unpack[Options]) -> Job:
    """Save a draft, or an object with perform(), and return the Job. See Jobs.enqueue."""
    if args:
        raise OptionError(loose_arguments(job, "enqueue", name_in_code(job)))
    return home_of([job], options).enqueue(job, **options)


async def aenqueue(job: Any, /, *args: Never, **options: Unpack[Options]) -> Job:
    """As `enqueue`, without blocking the event loop."""
    if args:
        raise OptionError(loose_arguments(job, "aenqueue", name_in_code(job)))
    return await home_of([job], options).aenqueue(job, **options)


def enqueue_many(jobs: Iterable[Any], /, **options: Unpack[Options]) -> list[Job]:
    """Save drafts and objects with perform(), all or none; the Jobs in the order given. See Jobs.enqueue_many."""
    jobs = several(jobs)
    return home_of(jobs, options).enqueue_many(jobs, **options)


async def aenqueue_many(jobs: Iterable[Any], /, **options: Unpack[Options]) -> list[Job]:
    """As `enqueue_many`, without blocking the event loop."""
    jobs = several(jobs)
    return await home_of(jobs, options).aenqueue_many(jobs, **options)


def home_of(jobs: Sequence[Any], options: Mapping[str, Any]) -> Jobs:
    """The `Jobs` that the options name, or the drafts; or else the program's."""
    named = [job.jobs if isinstance(job, Draft) else None for job in jobs]
    given = options.get("jobs")
    if given is None and any(one is not named[0] for one in named):
        raise OptionError(
            "enqueue_many saves all or none, so all drafts must be for the same Jobs: say which by jobs=…"
        )
    return cast(Jobs, given or (named[0] if named else None) or current())


current.make = Jobs
