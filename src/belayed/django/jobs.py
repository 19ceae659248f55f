"""Jobs in one of Django's databases: every operation on Django's own connection, in the transaction that is open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, sync_to_async
from django.apps import apps
from django.core.exceptions import SynchronousOnlyOperation
from django.db import DatabaseError, OperationalError, connections, transaction

from belayed.claim import Running
from belayed.completion import JobTransaction
from belayed.config import MEMORY, Config, current
from belayed.connections import wrap
from belayed.connections.base import ENDED, OPEN, is_of_hint, store_error
from belayed.database import Operation, Plan
from belayed.django import blocks, conf
from belayed.django.connections import Upkeep
from belayed.django.places import Around, Loading, Places
from belayed.django.routing import refusal, remedy, where
from belayed.django.trusting import ProjectTrust
from belayed.drafts import Many
from belayed.errors import BelayedError, ConfigError, JobNotFound, SchemaMissing, StoreError
from belayed.job import Draft, Job
from belayed.jobs import Jobs
from belayed.plugin import Plugin, Within
from belayed.steps import Ask, Request, Steps, run
from belayed.waiting import Waiting, waits

T = TypeVar("T")


STARTING = (
    "they are used while Django starts, in an application's ready() or a module that it imports; each command starts "
    "so, `migrate` too, before it can make them: enqueue where it happens once, in a command or a receiver of "
    "post_migrate"
)
OF_TASKS: list[Plugin] = []
"""What tells receivers of Django's tasks, where there are any."""


class DjangoConnection:
    """The thread's connection to a database, in whose transaction operations take part."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def perform(self, steps: Steps[T]) -> T:
        """The result of *steps*: in the open transaction, or in one of their own."""
        outer = connections[self.alias]
        try:
            outer.ensure_connection()
        except SynchronousOnlyOperation as error:
            raise SynchronousOnlyOperation(
                "Django's connections are not for coroutines: await the twin of the call, whose name begins with an a, "
                "as in `await f.aenqueue(…)`, or call it by sync_to_async"
            ) from error
        outer.validate_no_broken_transaction()
        inner: Any = wrapped(outer)
        with ExitStack() as stack:

            def send(request: Request) -> Any:
                # One statement alone needs no transaction, nor the two trips that begin and end one.
                alone = isinstance(request, Ask) and (request.read or (request.last and len(request.calls) == 1))
                if not (outer.in_atomic_block or alone):
                    stack.enter_context(transaction.atomic(using=self.alias))
                try:
                    answer = inner.send(request)
                except StoreError:
                    outer.errors_occurred = True
                    raise
                if request.last:
                    # Here, where the operation hears of it: what its commit refuses, it may do without.
                    ended(stack)
                return answer

            return run(steps, send)


def ended(stack: ExitStack) -> None:
    """Commit what was begun for an operation, if anything was. Raises StoreError."""
    try:
        stack.close()
    except DatabaseError as error:
        refusal = refusal_of(error)
        refusal.again = True
        raise refusal from error


def refusal_of(error: DatabaseError) -> StoreError:
    """The error of ours for a commit that was refused, as by a constraint that is deferred, or got no answer."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    sqlstate = getattr(cause, "sqlstate", None)
    # Of class 40 is what had to give way to others: it was rolled back.
    is_answer = is_of_hint(sqlstate, str(cause)) or (sqlstate or "").startswith("40")
    gone = isinstance(error, OperationalError) and not is_answer
    return store_error(cause, sqlstate=sqlstate, gone=gone, uncertain=gone)


class DjangoBlock:
    """Django's atomic() as the block of a job's own transaction."""

    def __init__(self, alias: str) -> None:
        self.alias, self.dialect = alias, conf.dialect_of(alias)
        self.atomic: Any = None

    def perform(self, steps: Steps[T]) -> T:
        return DjangoConnection(self.alias).perform(steps)

    def begin(self) -> None:
        # Durable: it is committed at its end, and not with a block around it.
        atomic = transaction.atomic(using=self.alias, durable=True)
        try:
            atomic.__enter__()
        except RuntimeError as error:
            raise BelayedError(OPEN) from error
        self.atomic = atomic

    def intact(self) -> None:
        if not connections[self.alias].in_atomic_block:
            raise BelayedError(ENDED)
        connections[self.alias].validate_no_broken_transaction()

    def commit(self) -> None:
        atomic, self.atomic = self.atomic, None
        try:
            atomic.__exit__(None, None, None)
        except DatabaseError as error:
            raise refusal_of(error) from error

    def roll_back(self) -> None:
        if self.atomic is not None:
            atomic, self.atomic = self.atomic, None
            transaction.set_rollback(True, using=self.alias)
            atomic.__exit__(None, None, None)


def wrapped(outer: Any) -> Any:
    """The driver's connection below Django's, for operations. Raises ConfigError for one that Belayed does not know."""
    found = outer.connection
    if type(found).__module__.partition(".")[0] == "psycopg2":
        raise ConfigError("Belayed takes psycopg 3, and Django uses psycopg2 here: pip install 'psycopg[binary]'")
    try:
        return wrap(found)
    except ConfigError as error:
        kind, engine = type(found), outer.settings_dict["ENGINE"]
        raise ConfigError(
            f"the engine {engine} of the database {outer.alias!r} opens connections that Belayed does not know, of "
            f"{kind.__module__}.{kind.__qualname__}: it takes those of sqlite3 and psycopg; name another database by "
            "BELAYED = {'DATABASE': …}"
        ) from error


class DjangoJobs(Jobs):
    """The `Jobs` of a project: those of the setting BELAYED, in its database."""

    quick = False  # All goes through Django's connections.
    kind_of_trust = ProjectTrust

    def __init__(self, alias: str | None = None) -> None:
        self.alias = alias or conf.alias()
        self.migrate_command = f"python manage.py migrate{where(self.alias)}"
        self.upkeep = Upkeep()
        self.places, self.resting = Places(self.upkeep), self.upkeep.rest
        self.source = partial(conf.parameters_of, self.alias)
        own = conf.plugins()
        # Those that tell receivers of Django's tasks are within the project's: the arguments are loaded for them.
        plugins = [self.upkeep, *own, *OF_TASKS]
        try:
            conf.pin(self.alias)
            super().__init__(conf.url_of(self.alias), plugins=plugins, **conf.of_jobs())
        except ConfigError as error:
            raise ConfigError(f"BELAYED: {error}") from error
        if self.config.prefix != Config().prefix:
            raise ConfigError(
                "BELAYED_PREFIX is set, but Django's migrations make the tables, whose names begin with belayed_: "
                "unset it; a database (BELAYED['DATABASE']) or a schema (BELAYED['SCHEMA']) keeps applications apart"
            )
        self.are_plugins_around = any(type(one).around_attempt is not Plugin.around_attempt for one in own)

    def __repr__(self) -> str:
        return f"<Jobs in Django's database {self.alias!r}>"

    @property
    def url(self) -> str:
        """Where the database is now: tests move it."""
        return conf.url_of(self.alias)

    @url.setter
    def url(self, _value: str) -> None:
        """Said by DATABASES."""

    def move(self, url: str) -> None:
        """Refuse: jobs live where Django's settings say. Raises ConfigError."""
        raise ConfigError(
            "jobs of a Django project live where DATABASES and BELAYED['DATABASE'] say, so no other URL is taken; in "
            "tests its test database keeps them apart (TestCase, pytest.mark.django_db)"
        )

    def prepare(self) -> None:
        """Before a worker's process runs jobs: raise ConfigError or StoreError if it could not."""
        if self.address.target == MEMORY:
            raise ConfigError(
                f"the database {self.alias!r} is in memory, where no other process reaches it: name a file, or run "
                "jobs by belayed.testing.drain()"
            )
        self.check_schema()
        connections.close_all()

    def check_worker(self) -> None:
        """Before a worker runs here: raise ConfigError if it could not see the jobs that this thread enqueues."""
        if blocks.is_open(self.alias):
            raise ConfigError(
                f"a transaction is open here on the database {self.alias!r}: a worker sees none of the jobs in it, and "
                f"on SQLite waits for its end; {blocks.until_when(self.alias, 'run the worker')}"
            )

    def migrate(self) -> list[int]:
        """Refuse: the tables are made by Django's migrations. Raises ConfigError."""
        text = f"the tables of jobs are made by Django's migrations here: {self.migrate_command}"
        if (why := refusal(self.alias)) is not None:
            text = f"{text}; but {': '.join(why)}"
        raise ConfigError(text)

    def migrate_remedy(self) -> str:
        """A command, or why that alone does not help: database routers have a say in where tables are."""
        return remedy(self.alias)

    def how_to_migrate(self) -> str:
        """`migrate_remedy` as a part of a sentence."""
        return super().how_to_migrate() if apps.ready else STARTING

    async def amigrate(self) -> list[int]:
        """As `migrate`."""
        return self.migrate()

    def do(self, operation: Operation[T], connection: Any = None) -> T:
        """The operation's answer, in Django's transaction or that of the caller's connection."""
        if connection is not None:
            return super().do(operation, connection)
        if not self.store.pinned:
            # Of Django's connections: an application with a schema for each tenant sets their search path.
            self.pin()
        try:
            return run(self.existing(operation), DjangoConnection(self.alias).perform)
        except StoreError as error:
            self.explain(error)
            raise

    async def ado(self, operation: Operation[T], connection: Any = None) -> T:
        """The operation's answer. Django's connections are of threads: it is asked for in that of the request."""
        if connection is not None:
            return await super().ado(operation, connection)
        return await sync_to_async(self.do, thread_sensitive=True)(operation)

    def anew(self, operation: Operation[T], error: SchemaMissing) -> Plan[T]:
        """None: tables are made by `migrate` alone."""
        text = f"Belayed's tables are not in the database {self.alias!r}: {self.how_to_migrate()}"
        raise SchemaMissing(text) from error
        yield

    def around_coroutine(self, run: Running) -> AbstractAsyncContextManager[None]:
        """A thread, and so connections, for an `async def` job of a worker."""
        return self.places.place(run)

    async def aclose(self) -> None:
        """Close what is open in this event loop."""
        self.places.close()
        await super().aclose()

    def within(self, around: AbstractContextManager[None]) -> Within:
        """What the code of an `async def` job is within: the project's plugins are called where its connections are."""
        return Around(around) if self.are_plugins_around else Loading(around, self.upkeep)

    def awaited(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns. What it does in the database, it does on the connection of this thread."""
        if asyncio._get_running_loop() is not None:
            return super().awaited(coroutine)

        async def answered() -> T:
            return await coroutine

        return async_to_sync(answered)()

    def transaction_of(self, run: Running, connection: Any, using: str | None = None) -> JobTransaction:
        """See CurrentJob.transaction."""
        if using is None:
            return super().transaction_of(run, connection)
        if using != self.alias:
            raise ConfigError(f"using={using!r}: a job is completed where jobs live, in the database {self.alias!r}")
        if asyncio._get_running_loop() is not None:
            raise ConfigError(
                f"using={using!r}: Django's transactions are of threads, not of coroutines; make the task a plain def, "
                "or put the block into a function and await sync_to_async(function)()"
            )
        if not self.store.pinned:
            self.pin()
        return JobTransaction(self.store, self.config, self.codec, run, DjangoBlock(using))

    def _perform(self, steps: Steps[T]) -> T:
        if not self.store.pinned:
            self.pin()
        try:
            return DjangoConnection(self.alias).perform(steps)
        except StoreError as error:
            self.explain(error)
            raise

    async def _aperform(self, steps: Steps[T]) -> T:
        return await sync_to_async(self._perform, thread_sensitive=True)(steps)

    def _looked_at(self, waiting: Waiting) -> Job:
        job = super()._looked_at(waiting)
        if job.ended or not blocks.is_open(self.alias):
            return job
        # As workers see it: the open transaction may have made it, or show only what was there when it began.
        outside = None
        if self.address.target != MEMORY:
            waiting.beside = waiting.beside or self.connections.open()
            outside = waiting.beside.perform(self.store.get(job.id))
        if outside is None:
            raise JobNotFound(
                f"no worker sees job {job.id} ({job.task}): the transaction that has enqueued it is still open here, "
                f"on the database {self.alias!r}, and a wait in it would never end; "
                f"{blocks.until_when(self.alias, 'wait')}"
            )
        return job.take(self._found(job.id, outside))

    async def _alooked_at(self, waiting: Waiting) -> Job:
        return await sync_to_async(self._looked_at, thread_sensitive=True)(waiting)

    def _obstacle(self, job: Job) -> str:
        if waits(job) and self.store.one_writer and blocks.is_open(self.alias):
            return "and the transaction that is open here may keep workers from writing: wait after its end"
        return super()._obstacle(job)

    async def _aobstacle(self, job: Job) -> str:
        return await sync_to_async(self._obstacle, thread_sensitive=True)(job)

    def _joins(self, draft: Draft) -> bool:
        return draft.connection is not None or connections[self.alias].in_atomic_block

    def _inserted(self, draft: Draft) -> Job:
        elsewhere = None if draft.connection is not None else self.elsewhere()
        if elsewhere is None:
            return super()._inserted(draft)
        job = self._waiting(draft)
        transaction.on_commit(lambda: self._later(job, draft), using=elsewhere)
        return job

    async def _ainserted(self, draft: Draft) -> Job:
        return await sync_to_async(self._inserted, thread_sensitive=True)(draft)

    def _inserted_many(self, drafts: Many, connection: Any) -> list[Job]:
        elsewhere = None if connection is not None else self.elsewhere()
        if elsewhere is None:
            return super()._inserted_many(drafts, connection)
        return [self._inserted(draft) for draft in drafts]

    async def _ainserted_many(self, drafts: Many, connection: Any) -> list[Job]:
        return await sync_to_async(self._inserted_many, thread_sensitive=True)(drafts, connection)

    def _later(self, job: Job, draft: Draft) -> None:
        """Save a job after the commit that it has waited for."""
        job.take(super()._inserted(draft))

    def elsewhere(self) -> str | None:
        """The database whose transaction is open here, if it is not that of the jobs: then they wait for its commit."""
        if connections[self.alias].in_atomic_block:
            return None
        return next((one.alias for one in connections.all(initialized_only=True) if one.in_atomic_block), None)


def install() -> None:
    """Let the program's `Jobs` be Django's."""
    current.make = partial(made, DjangoJobs)


def changed(*, setting: str, **_more: Any) -> None:
    """Settings were changed by a test: the next use reads them again."""
    if setting in ("BELAYED", "DATABASES"):
        current.jobs = None


def made(kind: Callable[[], DjangoJobs], *_args: Any, **_settings: Any) -> DjangoJobs:
    return kind()
