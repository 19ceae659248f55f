"""Backends for `TASKS`: the one that keeps tasks as jobs, and doubles for tests that know its options, too."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.apps import apps
from django.core import checks
from django.db import connections, transaction

from belayed.claim import current_job
from belayed.config import current
from belayed.definitions import holders
from belayed.django import compat, conf
from belayed.django.compat import (
    BaseTaskBackend,
    InvalidTask,
    TaskContext,
    TaskResultDoesNotExist,
    signals,
    task_backends,
)
from belayed.django.compat import TaskResultStatus as Status
from belayed.django.djangotasks import MARK, OF_JOB, BelayedTask, alias_of, error_of, local, made, result_of, task_of
from belayed.errors import AttemptStopped, JobNotFound, NotSerializable
from belayed.job import Draft, Job, Outcome
from belayed.methods import NO_RULES
from belayed.payload import FunctionCall, Target, adapters, registry, signature_of
from belayed.plugin import Plugin
from belayed.results import error_name, error_text
from belayed.retry import Fail, Rules
from belayed.tasks import check_call
from belayed.worker.verdict import formatted, grave_of

T = TypeVar("T")

OPTIONS = ("ANY_ARGUMENTS",)


class TasksBackend(BaseTaskBackend):
    """Tasks are jobs in the project's database, saved in the transaction that is open."""

    task_class = BelayedTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True
    keeps_jobs = True

    @property
    def any_arguments(self) -> bool:
        """Whether arguments may be all that Belayed takes, and not only JSON."""
        return bool(self.options.get("ANY_ARGUMENTS"))

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Save a job that runs *task*; its result as it is now."""
        conf.require_installed(f"TASKS[{self.alias!r}]")
        self.validate_task(task)
        jobs = current()
        job = jobs.enqueue(self.draft_of(task, args, kwargs))
        result = result_of(job, self.alias, any_arguments=self.any_arguments)
        if job.saved or job.ended:
            signals.task_enqueued.send(type(self), task_result=result)
        else:
            # It waits for the commit of another database's transaction, and has no id until then.
            transaction.on_commit(lambda: self.saved_later(job, result), using=jobs.elsewhere())
        return result

    def saved_later(self, job: Job, result: Any) -> None:
        object.__setattr__(result, "id", str(job.id))
        signals.task_enqueued.send(type(self), task_result=result)

    def draft_of(self, task: Any, args: Any, kwargs: Any) -> Draft:
        """The job not yet saved that runs *task*."""
        if not self.any_arguments:
            args, kwargs = strict(compat.normalize_json(args)), strict(compat.normalize_json(kwargs))
        function = task.func
        entry = registry.get(task.module_path)
        name = task.module_path if isinstance(entry, Adapter) and entry.task.func is function else None
        ref = f"{function.__module__}:{function.__qualname__}"
        call = FunctionCall(task.module_path, ref, tuple(args), kwargs, name)
        check_call(signature_of(Adapter(task)), task.module_path, tuple(args), kwargs)
        known = getattr(sys.modules.get(function.__module__), function.__name__, None)
        if rules_of(task) != rules_of(known):
            raise InvalidTask(
                f"{task.module_path}: retry_on, discard_on and backoff are read from the module by the worker, so they "
                "count for all its jobs: give them to @task(…), or bind what using() returns to the task's own name"
            )
        options: dict[str, Any] = {name: getattr(task, name, None) for name in OF_JOB}
        after = getattr(task, "delay", None) or task.run_after
        draft = Draft(call, task.module_path, task.queue_name, -task.priority, after, **options)
        draft.meta[MARK] = self.alias
        return draft

    def get_result(self, result_id: str) -> Any:
        """The result of a task by its id. Raises TaskResultDoesNotExist."""
        # Ids have at most 19 digits, and Python refuses to read thousands.
        if not str(result_id).isdecimal() or len(str(result_id)) > 19:
            raise TaskResultDoesNotExist(result_id)
        try:
            job = current().get(int(result_id))
        except JobNotFound as error:
            raise TaskResultDoesNotExist(result_id) from error
        return result_of(job, self.alias, any_arguments=self.any_arguments)

    async def aget_result(self, result_id: str) -> Any:
        """As `get_result`."""
        return await sync_to_async(self.get_result, thread_sensitive=True)(result_id)

    def check(self, **_given: Any) -> Iterable[checks.CheckMessage]:
        """What is wrong with this entry of TASKS."""
        found = []
        if not apps.is_installed("belayed.django"):
            found.append(
                checks.Error(
                    f"TASKS[{self.alias!r}] is Belayed's, which is not installed",
                    hint="Add 'belayed.django' to INSTALLED_APPS.",
                    id="belayed.E005",
                )
            )
        found += [
            checks.Error(
                f"TASKS[{self.alias!r}]['OPTIONS'] has no option {name!r}",
                hint=f"There are: {', '.join(OPTIONS)}. Settings of Belayed are in BELAYED.",
                id="belayed.E008",
            )
            for name in self.options
            if name not in OPTIONS
        ]
        return found


class ImmediateBackend(compat.ImmediateBackend):
    """Django's, which runs tasks at once, with the options of ours."""

    task_class = BelayedTask

    def validate_task(self, task: Any) -> None:
        """As Django's, which refuses a time to wait until."""
        super().validate_task(task)
        if getattr(task, "delay", None) is not None:
            raise InvalidTask("Backend does not support run_after.")


class DummyBackend(compat.DummyBackend):
    """Django's, which only remembers tasks, with the options of ours."""

    task_class = BelayedTask


class NotJson(Fail, TypeError):
    """A task has returned what is no JSON: it fails for good, as its work is done."""


class Adapter(Target):
    """A task of `django.tasks` as one of ours."""

    def __init__(self, task: Any) -> None:
        super().__init__(wrapped(task), rules_of(task))
        self.task = task
        self.is_async = inspect.iscoroutinefunction(task.func)


def rules_of(task: Any) -> Rules:
    """A task's own rules for its failures."""
    return task.rules() if isinstance(task, BelayedTask) else NO_RULES


def wrapped(task: Any) -> Any:
    """The function of a task, given its context, with a result that is JSON."""
    function, signature = task.func, inspect.signature(task.func)
    if task.takes_context:
        parameters = list(signature.parameters.values())[1:]
        signature = signature.replace(parameters=parameters)
    if inspect.iscoroutinefunction(function):

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return returned(task, await function(*context(task), *args, **kwargs))

        called: Any = awaited
    else:

        def plainly(*args: Any, **kwargs: Any) -> Any:
            return returned(task, function(*context(task), *args, **kwargs))

        called = plainly
    called.__signature__ = signature
    return called


def context(task: Any) -> list[Any]:
    """The first argument of a task that takes its context."""
    if not task.takes_context:
        return []
    job = current_job()
    alias = alias_of(job)
    if alias is None:
        raise Fail(f"{task.module_path} takes the context of its task, and this job was not enqueued through TASKS")
    return [TaskContext(task_result=result_of(job, alias, any_arguments=True))]


def returned(task: Any, value: Any) -> Any:
    """What a task has returned, in JSON. Raises NotJson."""
    backend: Any = task_backends[task.backend]
    if not getattr(backend, "any_arguments", False):
        try:
            value = strict(compat.normalize_json(value))
        except (TypeError, ValueError) as error:
            raise NotJson(f"{task.module_path} returned what is no JSON: {error}") from error
    last.set(value)
    return value


def strict(value: Any) -> Any:
    """*value*, if it is JSON that comes back as it was. Raises NotSerializable."""
    if isinstance(value, float) and not math.isfinite(value):
        raise NotSerializable("arguments", f"{value} is no JSON", "pass None in its place")
    if isinstance(value, dict):
        if wrong := next((key for key in value if not isinstance(key, str)), None):
            raise NotSerializable("arguments", f"the key {wrong!r} is no text", LIFTED)
        for inner in value.values():
            strict(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            strict(inner)
    return value


LIFTED = "pass texts, or let TASKS[…]['OPTIONS'] = {'ANY_ARGUMENTS': True} lift Django's rule"


last: ContextVar[Any] = ContextVar("last")
"""What the attempt that runs here has returned."""
signalled: ContextVar[tuple[int, Any] | None] = ContextVar("signalled", default=None)
"""The id of the job that runs here, and the arguments that receivers were given: those of its tenant, say."""


class Signals(Plugin):
    """Tells Django's receivers what becomes of its tasks: at the end of an attempt, just before it is on record."""

    @contextmanager
    def around_attempt(self, job: Job) -> Iterator[None]:
        alias = alias_of(job)
        if alias is None:
            yield
            return
        signalled.set(None)
        started = off_loop(lambda: self.tell(signals.task_started, job, alias))
        signalled.set((job.id, started))
        last.set(None)
        yield
        off_loop(lambda: self.tell(signals.task_finished, job, alias, Status.SUCCESSFUL))

    def on_error(self, job: Job, error: BaseException) -> None:
        if alias_of(job) is not None and cancels(job, error):
            self.on_failure(job, error)

    def on_failure(self, job: Job, error: BaseException) -> None:
        alias = alias_of(job)
        if alias is None:
            return

        def tell() -> None:
            try:
                # Receivers look at sys.exc_info().
                raise error
            except BaseException:
                self.tell(signals.task_finished, job, alias, Status.FAILED, error)

        off_loop(tell)

    def tell(self, signal: Any, job: Job, alias: str, status: Any = None, error: BaseException | None = None) -> Any:
        """Send a signal about a job, which may have just ended, and is not recorded as such yet; the arguments."""
        if job.attempt <= 1 and job.loaded_attempts is None:
            job.loaded_attempts = ()
        known = signalled.get()
        given = known[1] if known is not None and known[0] == job.id else None
        if given is None and status is not None and rows_depend_on_plugins(job):
            # After a crash no plugin is around this: none of the arguments is better than another tenant's rows.
            given = [], {}
        result = result_of(job, alias, any_arguments=True, given=given)
        ends: dict[str, Any] = {}
        if status is not None:
            ends = {"status": status, "finished_at": local(job.finished_at or datetime.now(UTC))}
        if status is Status.SUCCESSFUL:
            ends["_return_value"] = last.get()
        elif error is not None and not job.ended:
            told = error_of(error_name(error), error_text(error), formatted(error))
            ends["errors"] = [*result.errors, told]
        for name, value in ends.items():
            object.__setattr__(result, name, value)
        signal.send(type(task_backends[alias]), task_result=result)
        return result.args, result.kwargs


def rows_depend_on_plugins(job: Job) -> bool:
    """Whether the arguments of a job may be rows that the project's plugins have a say in."""
    jobs: Any = current()
    return bool(jobs.are_plugins_around and job.payload and jobs.codec.is_tagged(job.payload))


def cancels(job: Job, error: BaseException) -> bool:
    """Whether an error ends its job as cancelled, which is failed for Django."""
    if isinstance(error, AttemptStopped):
        return error.outcome == Outcome.CANCELLED
    return not grave_of(error, rules_of(task_of(job)))


def off_loop(call: Callable[[], T]) -> T:
    """Make a call that may use the database: in a thread of its own, if an event loop runs in this one."""
    if asyncio._get_running_loop() is None:
        return call()

    def called() -> T:
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1, thread_name_prefix="belayed-django") as pool:
        return pool.submit(contextvars.copy_context().run, called).result()


def install() -> None:
    """Let jobs run tasks of `django.tasks`."""
    adapters[compat.Task] = Adapter
    for kind in (compat.Task, BelayedTask):
        holders[kind] = attrgetter("func")


def register() -> None:
    """Let workers run the tasks that are there now, whose application it may be: like those of Belayed's own @task."""
    for path, task in made.items():
        # Its module may have bound other options to it since.
        found = vars(sys.modules[task.func.__module__]).get(task.func.__name__)
        task = found if isinstance(found, BelayedTask) and found.func is task.func else task
        registry.setdefault(path, Adapter(task))
