"""What a task of `django.tasks` is on our backends, and what a job that runs one looks like as a result."""

from __future__ import annotations

import builtins
import copy
import importlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.utils import timezone

from belayed.config import current
from belayed.django.compat import (
    InvalidTask,
    Task,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
)
from belayed.errors import ConfigError, OptionError, PayloadError, UnknownTask
from belayed.job import Job, State
from belayed.options import CHECKS
from belayed.payload import registry
from belayed.redaction import imported
from belayed.retry import Backoff, Errors, Rules
from belayed.signature import GENERATOR, generates
from belayed.trust import resolve

MARK = "django_tasks"
"""In a job's `meta`: the alias of the backend that it was enqueued by."""

OWN = ("max_attempts", "max_run_time", "keep_failed", "retry_on", "discard_on", "backoff")
OF_JOB = OWN[:3]
STATUS = {
    State.SCHEDULED: TaskResultStatus.READY,
    State.READY: TaskResultStatus.READY,
    State.RUNNING: TaskResultStatus.RUNNING,
    State.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
    State.FAILED: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BelayedTask(Task):
    """A task with what Belayed knows beyond Django: `@task(max_attempts=5)`, or `.using(max_attempts=5)`."""

    # Django 6.0 has no defaults for these.
    priority: int = 0
    backend: str = "default"
    queue_name: str = "default"
    run_after: datetime | None = None
    takes_context: bool = False
    max_attempts: int | None = None
    max_run_time: timedelta | None = None
    keep_failed: bool | None = None
    retry_on: Errors | None = None
    discard_on: Errors = ()
    backoff: Backoff | None = None
    delay: timedelta | None = None
    """A `run_after` that is told from when the task is enqueued."""

    def __post_init__(self) -> None:
        try:
            for name in OF_JOB:
                CHECKS[name](getattr(self, name))
            self.rules()
            if generates(self.func):
                raise ConfigError(f"{self.module_path} {GENERATOR}")
        except (OptionError, ConfigError) as error:
            raise InvalidTask(str(error)) from error
        # Without super(): a class with slots is made anew, and this would be of the one before.
        Task.__post_init__(self)
        if not apps.ready:
            made.setdefault(self.module_path, self)

    def using(self, *, run_after: datetime | timedelta | None = None, **changes: Any) -> BelayedTask:
        """The same task with other options. *run_after* may be a timedelta from when it is enqueued."""
        own = {name: changes.pop(name) for name in OWN if name in changes}
        if isinstance(run_after, timedelta):
            own |= {"delay": run_after, "run_after": None}
            run_after = None
        elif run_after is not None:
            own["delay"] = None
        found = Task.using(self, run_after=run_after, **changes)
        return replace(found, **own) if own else found

    def rules(self) -> Rules:
        return Rules(self.retry_on, self.discard_on, self.backoff)


made: dict[str, BelayedTask] = {}
"""The tasks that were there when Django had started, and so are in every process, by the paths of their functions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyResult(TaskResult):
    """A result whose arguments are more than JSON."""

    def __post_init__(self) -> None:
        """Leave them as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownError(TaskError):
    """An attempt's error, whose class is looked up without importing what a row names."""

    @property
    def exception_class(self) -> type[BaseException]:
        """The class. Raises ImportError where its module is neither imported nor one that workers may run."""
        path = self.exception_class_path
        if current().trust.covers(path):
            try:
                importlib.import_module(path.rpartition(".")[0])
            except ImportError:
                pass
        found = imported(path)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
        raise ImportError(f"{path!r} is not an exception that is imported here, or that workers may import")


def alias_of(job: Job) -> str | None:
    """The backend of ours that the job was enqueued by, as its row and the settings say; None: by none."""
    alias = job.meta.get(MARK)
    if type(alias) is not str or alias not in task_backends.settings:
        return None
    return alias if getattr(task_backends[alias], "keeps_jobs", False) else None


def result_of(job: Job, alias: str, *, any_arguments: bool = False, given: Any = None) -> Any:
    """The TaskResult of a job, with the arguments *given*, if they are known.

    Raises TaskResultDoesNotExist for one that is of no task of this backend.
    """
    if alias_of(job) != alias:
        raise TaskResultDoesNotExist(str(job.id))
    try:
        task = task_of(job)
    except PayloadError as error:
        raise TaskResultDoesNotExist(f"{job.id}: there is no task {job.task} any more") from error
    args, kwargs = given or arguments(job)
    failed = job.attempts
    started = [one.started_at for one in failed if one.started_at] + ([job.started_at] if job.started_at else [])
    workers = [one.worker or "" for one in failed]
    if job.state in (State.RUNNING, State.SUCCEEDED):
        workers.append(job.worker or "")
    kind = AnyResult if any_arguments else TaskResult
    result = kind(
        task=moved(task, priority=-job.priority, queue_name=job.queue),
        id=str(job.id) if job.saved else "",
        status=STATUS[job.state],
        enqueued_at=local(job.created_at),
        started_at=local(started[0]) if started else None,
        last_attempted_at=local(started[-1]) if started else None,
        finished_at=local(job.finished_at),
        args=args,
        kwargs=kwargs,
        backend=alias,
        errors=[error_of(one.error_type, one.message, one.traceback) for one in failed if one.error_type],
        worker_ids=workers,
    )
    if job.state is State.SUCCEEDED:
        object.__setattr__(result, "_return_value", job.result)
    return result


def task_of(job: Job) -> Any:
    """The task that a job runs. Raises PayloadError, also for what is no task, or not code that workers may run."""
    if isinstance(known := getattr(registry.get(job.task), "task", None), Task):
        return known
    module, _, name = job.task.rpartition(".")
    found = resolve(f"{module}:{name}", current().trust)
    if not isinstance(found, Task):
        raise UnknownTask(f"{job.task} is not a task of django.tasks")
    return found


def moved(task: Any, **to: Any) -> Any:
    """*task* as its job has it now, which may be in a queue, or of a priority, that TASKS does not allow."""
    found = copy.copy(task)
    for name, value in to.items():
        object.__setattr__(found, name, value)
    return found


def arguments(job: Job) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a job. Those of a large one that has succeeded are not kept."""
    if job.payload is None or job.jobs is None:
        return [], {}
    try:
        envelope = job.jobs.decode(job.payload)
    except PayloadError:
        return [], {}
    found = envelope if isinstance(envelope, dict) else {}
    args, kwargs = found.get("args"), found.get("kwargs")
    return args if isinstance(args, list) else [], kwargs if isinstance(kwargs, dict) else {}


def error_of(kind: str | None, message: str | None, traceback: str | None) -> Any:
    """An attempt's error, as Django tells it: of a group only the group's own class, as Django imports it."""
    path = (kind or "Exception").partition("[")[0]
    if "." not in path:
        path = f"{'builtins' if hasattr(builtins, path) else 'belayed.errors'}.{path}"
    return KnownError(exception_class_path=path, traceback=traceback or f"{path}: {message or ''}")


def local(moment: datetime | None) -> datetime | None:
    """A time as the project has them: aware, or naive with USE_TZ off."""
    from django.conf import settings

    if moment is None or settings.USE_TZ:
        return moment
    return timezone.make_naive(moment)
