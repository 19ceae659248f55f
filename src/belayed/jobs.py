"""`Jobs`: saves, finds and changes jobs in one store; the place where codec, store and connections come together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Unpack, cast

from belayed.changes import Action, bulk_change, each_batch, move
from belayed.claim import Running
from belayed.codec import Codec
from belayed.completion import JobTransaction
from belayed.config import Config, current, settings
from belayed.database import Database, Plan
from belayed.drafts import completed, draft_of
from belayed.errors import ConfigError, JobNotFound, OptionError
from belayed.job import Attempt, Draft, Filter, Job, Options
from belayed.names import Names
from belayed.options import check_filter, check_priority, check_queue
from belayed.plugin import Plugin, Plugins
from belayed.steps import arun, run
from belayed.store.base import LOOK, Counts, Inserted, Overdue, WorkerRow
from belayed.trust import Trust
from belayed.waiting import pauses

log = logging.getLogger("belayed")

DEBOUNCE = 0.05
"""Seconds between two hints for a queue: a hint takes a lock of the whole database at its commit."""


class Jobs(Database):
    """Jobs in one store. Nothing is opened before it is first needed.

    *url* says where (default: see belayed.config.default_url); the settings are those of belayed.config.Config.
    """

    def __init__(self, url: str | None = None, *, plugins: Iterable[Plugin] = (), **given: Any) -> None:
        self.config = settings(Config, {**given, **({"url": url} if url else {})})
        try:
            check_queue(self.config.default_queue)
            check_priority(self.config.default_priority)
        except OptionError as error:
            raise ConfigError(f"default_{error}") from None
        self.names = Names(self.config)
        super().__init__(self.config)
        self.trust = Trust(self.config.trust)
        self.codec = Codec(self.trust)
        self.plugins = Plugins(plugins)
        self._hinted: dict[str, float] = {}

    # Saving jobs.

    def enqueue(self, job: Any, /, **options: Unpack[Options]) -> Job:
        """Save a draft, or an object with perform(), and return the Job.

        With `connection=` it joins that connection's transaction. Raises EnqueueError or StoreError.
        """
        draft = self._prepared(job, options)
        return self._saved(draft, self.do(lambda: self.store.insert(draft, hint=self._hint([draft])), draft.connection))

    async def aenqueue(self, job: Any, /, **options: Unpack[Options]) -> Job:
        """As `enqueue`, without blocking the event loop."""
        draft = self._prepared(job, options)
        insert = self.ado(lambda: self.store.insert(draft, hint=self._hint([draft])), draft.connection)
        return self._saved(draft, await insert)

    def enqueue_many(self, jobs: Iterable[Any], /, **options: Unpack[Options]) -> list[Job]:
        """Save drafts and objects with perform(), all or none; the Jobs in the order given."""
        drafts, connection = self._prepared_many(jobs, options)
        if not drafts:
            return []
        found = self.do(lambda: self.store.insert_many(drafts, hint=self._hint(drafts)), connection)
        return [self._saved(draft, inserted) for draft, inserted in zip(drafts, found, strict=True)]

    async def aenqueue_many(self, jobs: Iterable[Any], /, **options: Unpack[Options]) -> list[Job]:
        """As `enqueue_many`, without blocking the event loop."""
        drafts, connection = self._prepared_many(jobs, options)
        if not drafts:
            return []
        found = await self.ado(lambda: self.store.insert_many(drafts, hint=self._hint(drafts)), connection)
        return [self._saved(draft, inserted) for draft, inserted in zip(drafts, found, strict=True)]

    # Reading jobs.

    def get(self, id: int) -> Job:
        """The job with this id, live or ended, with its attempts. Raises JobNotFound."""
        return self._found(id, self.do(lambda: self.store.get(id)) if abs(id) < 2**63 else None)

    async def aget(self, id: int) -> Job:
        """The job with this id, live or ended, with its attempts. Raises JobNotFound."""
        return self._found(id, await self.ado(lambda: self.store.get(id)) if abs(id) < 2**63 else None)

    def find(self, *, before: int | None = None, limit: int = 100, **filter: Unpack[Filter]) -> list[Job]:
        """At most *limit* jobs, newest first, with ids below *before*: the last one's id begins the next page."""
        check_filter(filter)
        return [self._owned(job) for job in self.do(lambda: self.store.find(filter, before=before, count=limit))]

    async def afind(self, *, before: int | None = None, limit: int = 100, **filter: Unpack[Filter]) -> list[Job]:
        """At most *limit* jobs, newest first, with ids below *before*: the last one's id begins the next page."""
        check_filter(filter)
        return [self._owned(job) for job in await self.ado(lambda: self.store.find(filter, before=before, count=limit))]

    def attempts(self, id: int) -> list[Attempt]:
        """The attempts of a job that did not succeed, oldest first."""
        return self.do(lambda: self.store.attempts(id))

    def counts(self, *, most: int = 1_000_000) -> Counts:
        """Jobs by queue and state; the ended ones by state, counted up to *most*."""
        return self.do(lambda: self.store.counts(most=most))

    async def acounts(self, *, most: int = 1_000_000) -> Counts:
        """Jobs by queue and state; the ended ones by state, counted up to *most*."""
        return await self.ado(lambda: self.store.counts(most=most))

    def overdue(self, age: timedelta) -> list[Overdue]:
        """The queues with jobs that were never tried and have been due for longer than *age*, by name."""
        return self.do(lambda: self.store.overdue(age.total_seconds()))

    async def aoverdue(self, age: timedelta) -> list[Overdue]:
        """The queues with jobs that were never tried and have been due for longer than *age*, by name."""
        return await self.ado(lambda: self.store.overdue(age.total_seconds()))

    def workers(self) -> list[WorkerRow]:
        """The registered workers, oldest first; those that have stopped beating are not `alive`."""
        return self.do(self.store.workers)

    async def aworkers(self) -> list[WorkerRow]:
        """The registered workers, oldest first; those that have stopped beating are not `alive`."""
        return await self.ado(self.store.workers)

    def wait(self, job: Job, timeout: timedelta | float | None = None) -> Job:
        """See Job.wait."""
        for pause in pauses(job, timeout):
            if self._take(job, self.get).ended:
                break
            time.sleep(pause)
        return job

    async def await_(self, job: Job, timeout: timedelta | float | None = None) -> Job:
        """See Job.wait."""
        for pause in pauses(job, timeout):
            if job.take(await self.aget(job.id)).ended:
                break
            await asyncio.sleep(pause)
        return job

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
        self.do(lambda: self.store.resume(queue))

    async def aresume(self, queue: str) -> None:
        """Let workers claim from *queue* again."""
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

    def transaction_of(self, run: Running, connection: Any) -> JobTransaction:
        """See CurrentJob.transaction."""
        return JobTransaction(self.store, self.config, self.codec, run, self._wrapped(connection))

    # How it is done.

    def _prepared(self, job: Any, options: Mapping[str, Any]) -> Draft:
        draft = draft_of(job, options)
        if draft.jobs is not None and draft.jobs is not self:
            raise OptionError(
                f"{draft.task} is for {draft.jobs!r}, not for {self!r}: enqueue it there, or leave jobs= out"
            )
        self.plugins.notify("on_enqueue", draft)
        return completed(draft, self.config, self.names, self.codec)

    def _prepared_many(self, jobs: Iterable[Any], options: Mapping[str, Any]) -> tuple[list[Draft], Any]:
        drafts = [self._prepared(job, options) for job in jobs]
        connections = {id(draft.connection): draft.connection for draft in drafts}
        if len(connections) > 1:
            raise OptionError("enqueue_many saves all or none, so all drafts must name the same connection")
        return drafts, next(iter(connections.values()), None)

    def _saved(self, draft: Draft, inserted: Inserted) -> Job:
        if log.isEnabledFor(logging.INFO):
            arguments = f" {draft.text}" if self.config.log_arguments else ""
            extra = {"job_id": inserted.id, "task": draft.task, "queue": draft.queue}
            log.info("enqueued %s #%d on %s%s", draft.task, inserted.id, draft.queue, arguments, extra=extra)
        return Job(
            id=inserted.id,
            state=inserted.state,
            queue=draft.queue,
            priority=cast(int, draft.priority),
            run_at=inserted.run_at,
            task=draft.task,
            payload=draft.text,
            created_at=inserted.created_at,
            max_attempts=draft.max_attempts,
            max_run_time=draft.max_run_time,
            keep_failed=draft.keep_failed,
            meta=draft.meta,
            jobs=self,
            loaded_attempts=(),
        )

    def _hint(self, drafts: Sequence[Draft]) -> str | None:
        """News for idle workers of *drafts*, if it is time for some.

        Within a caller's transaction each enqueue sends it (PostgreSQL folds equal ones), and starts no debounce:
        the transaction may be rolled back.
        """
        if not self.config.hints:
            return None
        draft = drafts[0]
        hint = f"{draft.priority} {draft.queue}" if draft.run_at is None else "@"
        if len(drafts) > 1 and len({(one.priority, one.queue, one.run_at is None) for one in drafts}) > 1:
            hint = LOOK
        if draft.connection is not None:
            return hint
        now = time.monotonic()
        if now - self._hinted.get(hint, 0.0) < DEBOUNCE:
            return None
        if len(self._hinted) > 1000:
            self._hinted.clear()
        self._hinted[hint] = now
        return hint

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

    def _found(self, id: int, found: tuple[Job, list[Attempt]] | None) -> Job:
        if found is None:
            raise JobNotFound(
                f"there is no job {id}: the transaction that enqueued it is still open or was rolled back, or the job "
                "was deleted, has been pruned, or ended and is not kept"
            )
        job, attempts = found
        job.loaded_attempts = tuple(attempts)
        return self._owned(job)

    def _owned(self, job: Job) -> Job:
        job.jobs = self
        return job

    def _take(self, job: Job, get: Callable[[int], Job]) -> Job:
        return job.take(get(job.id))


def configure(url: str | None = None, *, plugins: Iterable[Plugin] = (), **settings: Any) -> Jobs:
    """Set the `Jobs` that the program uses by default, and return it. Raises ConfigError.

    *url* says where jobs are kept; the settings are those of belayed.config.Config.
    """
    current.jobs = Jobs(url, plugins=plugins, **settings)
    return cast(Jobs, current.jobs)


def enqueue(job: Any, /, **options: Unpack[Options]) -> Job:
    """Save a draft, or an object with perform(), and return the Job. See Jobs.enqueue."""
    return home_of([job], options).enqueue(job, **options)


async def aenqueue(job: Any, /, **options: Unpack[Options]) -> Job:
    """As `enqueue`, without blocking the event loop."""
    return await home_of([job], options).aenqueue(job, **options)


def enqueue_many(jobs: Iterable[Any], /, **options: Unpack[Options]) -> list[Job]:
    """Save drafts and objects with perform(), all or none; the Jobs in the order given. See Jobs.enqueue_many."""
    jobs = list(jobs)
    return home_of(jobs, options).enqueue_many(jobs, **options)


async def aenqueue_many(jobs: Iterable[Any], /, **options: Unpack[Options]) -> list[Job]:
    """As `enqueue_many`, without blocking the event loop."""
    jobs = list(jobs)
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
