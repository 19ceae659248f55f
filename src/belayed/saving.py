"""From drafts to jobs: each passes its hooks, and is saved, run at once, held back, or not wanted after all."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Never, Unpack

from belayed import importing
from belayed.claim import EPOCH
from belayed.codec import Codec
from belayed.config import Config
from belayed.database import Database
from belayed.drafts import Many, completed, draft_of
from belayed.errors import ConfigError, OptionError, SchemaMissing, StoreError
from belayed.garbage import uncollected
from belayed.hints import Hints
from belayed.inline import aran, ran, unsaved
from belayed.job import Draft, Job, Options, State
from belayed.meta import NONE, Meta
from belayed.mistakes import loose_arguments
from belayed.names import Names
from belayed.options import called, check_priority, check_queue, shortened
from belayed.payload import Performance, name_in_code
from belayed.plugin import Plugin, Plugins
from belayed.redaction import redacted
from belayed.retry import Cancel
from belayed.safelog import log
from belayed.steps import Params, Statement, run
from belayed.store.answers import LOOK
from belayed.trust import Trust


@dataclass
class Batch:
    """The jobs of one `enqueue_many`, in the order given: what is known already, and what is to become of the rest."""

    jobs: dict[int, Job] = field(default_factory=dict)
    inline: dict[int, Draft] = field(default_factory=dict)
    saving: dict[int, Draft] = field(default_factory=dict)

    @property
    def drafts(self) -> list[Draft]:
        return list(self.saving.values())

    @property
    def connection(self) -> Any:
        """The one that all drafts name. Raises OptionError."""
        connections = {id(draft.connection): draft.connection for draft in self.drafts}
        if len(connections) > 1:
            raise OptionError("enqueue_many saves all or none, so all drafts must name the same connection")
        return next(iter(connections.values()), None)

    def all(self, saved: Iterable[Job]) -> list[Job]:
        """All jobs, those that were *saved* in their places."""
        self.jobs.update(zip(self.saving, saved, strict=True))
        return [self.jobs[place] for place in sorted(self.jobs)]


def several(jobs: Any) -> list[Any]:
    """The drafts and objects given to `enqueue_many`. Raises OptionError for what is no list of such."""
    if isinstance(jobs, str | bytes | Mapping) or not isinstance(jobs, Iterable):
        raise OptionError(f"enqueue_many takes drafts, such as [task.draft(1), …], not {shortened(jobs)}")
    return list(jobs)


class Saving(Database):
    """The part of `Jobs` that takes new jobs in."""

    kind_of_trust: type[Trust] = Trust

    def __init__(self, config: Config, plugins: Iterable[Plugin]) -> None:
        try:
            check_queue(config.default_queue)
            check_priority(config.default_priority)
        except OptionError as error:
            raise ConfigError(f"default_{error}") from None
        self.names = Names(config)
        super().__init__(config)
        self.trust = self.kind_of_trust(config.trust)
        self.codec = Codec(self.trust)
        self.plugins = Plugins(plugins)
        self.delay_jobs = config.delay_jobs
        self.held: list[Job] | None = None
        """What was enqueued and is not to be saved; None: nothing is held back."""
        self.hints = Hints()

    def enqueue(self, job: Any, /, *args: Never, **options: Unpack[Options]) -> Job:
        """Save a draft, or an object with perform(), and return the Job.

        With `connection=` it joins that connection's transaction. A job that a hook did not want (it raised `Cancel`)
        comes back cancelled, and one that was run inline as it ended: neither is saved. Raises EnqueueError or
        StoreError, and what an inline job raises.
        """
        if args:
            raise OptionError(loose_arguments(job, "enqueue", name_in_code(job)))
        draft = self._draft(job, options)
        try:
            if not self.plugins.all:
                return self._enqueued(draft)
            with self.plugins.around("around_enqueue", draft):
                return self._enqueued(draft)
        except Cancel as reason:
            return self._cancelled(draft, reason)

    async def aenqueue(self, job: Any, /, *args: Never, **options: Unpack[Options]) -> Job:
        """As `enqueue`, without blocking the event loop."""
        if args:
            raise OptionError(loose_arguments(job, "aenqueue", name_in_code(job)))
        draft = self._draft(job, options)
        try:
            with self.plugins.around("around_enqueue", draft):
                self._complete(draft)
                if self._kept_here(draft):
                    return self._held(draft) or await aran(self, draft)
                return await self._ainserted(draft)
        except Cancel as reason:
            return self._cancelled(draft, reason)

    def enqueue_many(self, jobs: Iterable[Any], /, **options: Unpack[Options]) -> list[Job]:
        """Save drafts and objects with perform(), all or none; the Jobs in the order given."""
        with uncollected():
            drafts = [self._draft(job, options) for job in several(jobs)]
        if self._completes_late(drafts):
            return self._inserted_many(Many(drafts, self._written), None)
        with ExitStack() as stack:
            with uncollected():
                batch = self._batch(drafts, stack)
            drafts, connection = batch.drafts, batch.connection
            batch.jobs.update({place: ran(self, draft) for place, draft in batch.inline.items()})
            return batch.all(self._inserted_many(Many(drafts), connection) if drafts else [])

    async def aenqueue_many(self, jobs: Iterable[Any], /, **options: Unpack[Options]) -> list[Job]:
        """As `enqueue_many`, without blocking the event loop."""
        with uncollected():
            drafts = [self._draft(job, options) for job in several(jobs)]
        if self._completes_late(drafts):
            return await self._ainserted_many(Many(drafts, self._written), None)
        with ExitStack() as stack:
            with uncollected():
                batch = self._batch(drafts, stack)
            drafts, connection = batch.drafts, batch.connection
            batch.jobs.update({place: await aran(self, draft) for place, draft in batch.inline.items()})
            return batch.all(await self._ainserted_many(Many(drafts), connection) if drafts else [])

    def _enqueued(self, draft: Draft) -> Job:
        self._complete(draft)
        if self._kept_here(draft):
            return self._held(draft) or ran(self, draft)
        return self._inserted(draft)

    def _inserted(self, draft: Draft) -> Job:
        """The Job of a completed draft, saved."""
        with self.hints:
            hint = self._hint(draft)
            if self.quick and draft.connection is None and (call := self.store.plain_insert(draft, hint)) is not None:
                return self._plainly_inserted(draft, call, hint)
            return self._saved(draft, *self.do(lambda: self.store.insert(draft, hint=hint), draft.connection))

    def _plainly_inserted(self, draft: Draft, call: tuple[Statement, Params], hint: str | None) -> Job:
        """What most enqueues are, without a generator's detour."""
        # Made before the wait, after which the processor's caches are cold.
        job = self._job(draft)
        try:
            rows = self.connections.ask(call)
        except SchemaMissing as error:
            self.explain(error)
            insert = self.anew(lambda: self.store.insert(draft, hint=hint), error)
            return self._saved(draft, *run(insert, self._perform))
        except StoreError as error:
            self.explain(error)
            self.store.silenced(error)
            return self._saved(draft, *self._perform(self.store.insert(draft)))
        job.id, job.created_at = self.store.plainly_inserted(rows)
        job.run_at = job.created_at
        if log.isEnabledFor(logging.INFO):
            self._log(job)
        return job

    async def _ainserted(self, draft: Draft) -> Job:
        insert = self.store.insert
        with self.hints:
            found = await self.ado(lambda: insert(draft, hint=self._hint(draft)), draft.connection)
        return self._saved(draft, *found)

    def _inserted_many(self, drafts: Many, connection: Any) -> list[Job]:
        """The Jobs of drafts, saved all or none."""
        insert = self.store.insert_many
        with self.hints:
            jobs = self.do(lambda: insert(drafts, made=self._job, hint=self._hint_of(drafts)), connection)
        return self._all_logged(jobs)

    async def _ainserted_many(self, drafts: Many, connection: Any) -> list[Job]:
        insert = self.store.insert_many
        with self.hints:
            jobs = await self.ado(lambda: insert(drafts, made=self._job, hint=self._hint_of(drafts)), connection)
        return self._all_logged(jobs)

    def _hint_of(self, drafts: Many) -> str | None:
        return self._hint(drafts.first, drafts.alike)

    def _all_logged(self, jobs: list[Job]) -> list[Job]:
        if log.isEnabledFor(logging.INFO):
            for job in jobs:
                self._log(job)
        return jobs

    def _joins(self, draft: Draft) -> bool:
        """Whether a draft is saved in a transaction of the application's, which may be rolled back."""
        return draft.connection is not None

    def _draft(self, job: Any, options: Mapping[str, Any]) -> Draft:
        draft = job if type(job) is Draft and not options else draft_of(job, options)
        if importing.modules:
            importing.notice(draft.task)
        if draft.jobs is not None and draft.jobs is not self:
            raise OptionError(
                f"{draft.task} is for {draft.jobs!r}, not for {self!r}: enqueue it there, or leave jobs= out"
            )
        return draft

    def _complete(self, draft: Draft) -> None:
        """Let the hooks change the draft, or raise Cancel, and write its payload."""
        if self.plugins.all:
            self.plugins.notify("on_enqueue", draft)
        self._written(draft)

    def _written(self, draft: Draft) -> Draft:
        return completed(draft, self.config, self.names, self.codec)

    def _batch(self, drafts: Iterable[Draft], stack: ExitStack) -> Batch:
        """What is to become of each of *drafts*; the plugins' contexts are left with the *stack*."""
        batch, wrapped = Batch(), bool(self.plugins.by_hook["around_enqueue"])
        for place, draft in enumerate(drafts):
            try:
                if wrapped:
                    with ExitStack() as own:
                        own.enter_context(self.plugins.around("around_enqueue", draft))
                        self._complete(draft)
                        # Left when all are saved.
                        stack.push(own.pop_all())
                else:
                    self._complete(draft)
            except Cancel as reason:
                batch.jobs[place] = self._cancelled(draft, reason)
                continue
            if not self._kept_here(draft):
                batch.saving[place] = draft
            elif held := self._held(draft):
                batch.jobs[place] = held
            else:
                batch.inline[place] = draft
        return batch

    def _completes_late(self, drafts: Sequence[Draft]) -> bool:
        """Whether *drafts* may be completed while the database takes them in: no hook has a say in what they become.

        Not on a connection of the application's, which their arguments' text forms may ask, too.
        """
        if self.plugins.all or self.held is not None or self.delay_jobs is not True:
            return False
        if not self.store.overlaps or not self.quick or not drafts:
            return False
        return all(draft.connection is None and type(draft.payload) is not Performance for draft in drafts)

    def _kept_here(self, draft: Draft) -> bool:
        """Whether a draft is not to be saved, but held back or run at once."""
        if self.held is not None or isinstance(self.delay_jobs, bool):
            return self.held is not None or not self.delay_jobs
        return not called(self.delay_jobs, draft)

    def _held(self, draft: Draft) -> Job | None:
        """The Job of a draft that is held back; None: it is not."""
        if self.held is None:
            return None
        job = self._waiting(draft)
        self.held.append(job)
        return job

    def _waiting(self, draft: Draft) -> Job:
        """The Job of a draft that is not saved, or not yet."""
        return unsaved(draft, self, State.READY if draft.run_at is None else State.SCHEDULED)

    def _cancelled(self, draft: Draft, reason: Cancel) -> Job:
        """The Job of a draft that a hook did not want."""
        log.info("%s was not enqueued: %s", draft.task, reason, extra={"task": draft.task, "queue": draft.queue})
        return unsaved(draft, self, State.CANCELLED, str(reason))

    def _saved(self, draft: Draft, id: int, state: State, run_at: datetime, created_at: datetime) -> Job:
        """The Job of a draft that the database has taken in."""
        job = self._job(draft, id, state, run_at, created_at)
        if log.isEnabledFor(logging.INFO):
            self._log(job)
        return job

    def _log(self, job: Job) -> None:
        arguments = ""
        if self.config.log_arguments:
            arguments = f" {redacted(job.payload or '', self.config.redact)}"
        extra = {"job_id": job.id, "task": job.task, "queue": job.queue}
        log.info("enqueued %s #%d on %s%s", job.task, job.id, job.queue, arguments, extra=extra)

    def _job(
        self,
        draft: Draft,
        id: int = 0,
        state: State = State.READY,
        run_at: datetime = EPOCH,
        created_at: datetime = EPOCH,
    ) -> Job:
        # By position: names take half as long again.
        return Job(
            id,
            state,
            draft.queue,
            draft.priority,  # type: ignore[arg-type]
            run_at,
            draft.task,
            draft.text,
            created_at,
            draft.max_attempts,
            draft.max_run_time,
            draft.keep_failed,
            Meta(draft.meta) if draft.meta else NONE,
            self,  # type: ignore[arg-type]
            (),
        )

    def _hint(self, draft: Draft, alike: bool = True) -> str | None:
        """News for idle workers of one draft, or of some that are *alike* or not, if it is time for some.

        Within a caller's transaction each enqueue sends it (PostgreSQL folds equal ones), and starts no debounce:
        the transaction may be rolled back.
        """
        if not self.config.hints:
            return None
        hint = f"{draft.priority} {draft.queue}" if draft.run_at is None else "@"
        if not alike:
            hint = LOOK
        if self._joins(draft):
            return hint
        return hint if self.hints.due(hint, stretch=draft.run_at is None) else None
