"""Asks whether a job was enqueued: among those that wait or run in the store, or that are held back."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from belayed.codec.rebuilding import stateless
from belayed.config import current
from belayed.errors import PayloadError
from belayed.handling import BoundMethod, Handled, display_name
from belayed.job import LIVE, Filter, Job
from belayed.payload import Loaded, Performance, load, performance, readable, signature_of
from belayed.signature import Signature
from belayed.tasks import Task, check_call
from belayed.trust import home, name_of

CLOSE = timedelta(seconds=1)
"""How far a job's time may be from the expected one."""
SHOWN = 10
MOST = 10_000
"""How many jobs are looked at."""


def assert_enqueued(
    what: Any,
    *,
    args: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    queue: str | None = None,
    priority: int | str | None = None,
    run_at: datetime | timedelta | None = None,
    count: int | None = None,
    connection: Any = None,
    jobs: Any = None,
) -> Job:
    """Raise AssertionError unless such a job waits or runs (or *count* of them do); the newest of them.

    *what* is a task, a function, a method (`order.invoice`: of an equal order), a custom job (an equal one), its class,
    or a name. Arguments are compared as the job would get them, however they were passed; *run_at* to within a second.
    """
    given = jobs or current()
    wish = Wish(given, what, args, kwargs, queue, priority, run_at)
    return wish.asserted(given.held if given.held is not None else given.do(wish.operation, connection), count)


async def aassert_enqueued(
    what: Any,
    *,
    args: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    queue: str | None = None,
    priority: int | str | None = None,
    run_at: datetime | timedelta | None = None,
    count: int | None = None,
    connection: Any = None,
    jobs: Any = None,
) -> Job:
    """As `assert_enqueued`, without blocking the event loop."""
    given = jobs or current()
    wish = Wish(given, what, args, kwargs, queue, priority, run_at)
    return wish.asserted(given.held if given.held is not None else await given.ado(wish.operation, connection), count)


def refute_enqueued(
    what: Any = None,
    *,
    args: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    queue: str | None = None,
    priority: int | str | None = None,
    run_at: datetime | timedelta | None = None,
    connection: Any = None,
    jobs: Any = None,
) -> None:
    """Raise AssertionError if such a job waits or runs; without *what*, if any does."""
    given = jobs or current()
    wish = Wish(given, what, args, kwargs, queue, priority, run_at)
    wish.refuted(given.held if given.held is not None else given.do(wish.operation, connection))


async def arefute_enqueued(
    what: Any = None,
    *,
    args: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    queue: str | None = None,
    priority: int | str | None = None,
    run_at: datetime | timedelta | None = None,
    connection: Any = None,
    jobs: Any = None,
) -> None:
    """As `refute_enqueued`, without blocking the event loop."""
    given = jobs or current()
    wish = Wish(given, what, args, kwargs, queue, priority, run_at)
    wish.refuted(given.held if given.held is not None else await given.ado(wish.operation, connection))


class Wish:
    """What a job must be like."""

    def __init__(
        self,
        jobs: Any,
        what: Any,
        args: Iterable[Any] | None,
        kwargs: Mapping[str, Any] | None,
        queue: str | None,
        priority: int | str | None,
        run_at: datetime | timedelta | None,
    ) -> None:
        self.jobs, self.codec = jobs, jobs.codec
        self.subject = subject_of(what)
        self.owner = self.travelled(self.subject.owner)
        self.arguments: tuple[list[Any], dict[str, Any]] | None = None
        if args is not None or kwargs is not None:
            given = tuple(args or ()), dict(kwargs or {})
            if self.subject.signature is not None:
                check_call(self.subject.signature, self.subject.names[0], *given)
            self.arguments = self.codec.loads(self.codec.text(self.codec.encode_call(*given)))
        self.queue = queue
        self.priority = None if priority is None else jobs.names.number(priority)
        self.run_at = datetime.now(UTC) + jobs.store.ahead + run_at if isinstance(run_at, timedelta) else run_at

    def travelled(self, value: Any) -> Any:
        """An object as a job gets it; a custom job as a worker does."""
        if value is None:
            return None
        if isinstance(value, Performance):
            return load(value.write(self.codec), self.codec).hooks
        return value if stateless(value) else self.codec.loads(self.codec.text(self.codec.encode(value, "self")))

    def operation(self) -> Any:
        """Find the live jobs that may be like it."""
        filter: Filter = {"states": list(LIVE)}
        if self.subject.names:
            filter["tasks"] = list(self.subject.names)
        return self.jobs.store.find(filter, before=None, count=MOST)

    def asserted(self, found: Iterable[Job], count: int | None) -> Job:
        listed = list(found)
        good = [job for job in listed if self.fits(job)]
        if good and count in (None, len(good)):
            return good[0]
        many = f"{numbered(good)}{'' if count is None else f', not {count},'}"
        raise AssertionError(f"{many} like {self} enqueued; {self.shown(listed)}")

    def refuted(self, found: Iterable[Job]) -> None:
        if good := [job for job in found if self.fits(job)]:
            raise AssertionError(f"{numbered(good)} like {self} enqueued; {shown(good)}")

    def fits(self, job: Job) -> bool:
        """Whether a job is like it."""
        return (
            (not self.subject.names or job.task in self.subject.names)
            and self.queue in (None, job.queue)
            and self.priority in (None, job.priority)
            and (self.run_at is None or abs(job.run_at - self.run_at) <= CLOSE)
            and self.same_call(job)
        )

    def same_call(self, job: Job) -> bool:
        """Whether it is about an equal object, and has the same arguments."""
        if self.owner is None and self.arguments is None and self.subject.kind is None:
            return True
        try:
            loaded = load(job.payload or "", self.codec)
        except PayloadError:
            return False
        if self.owner is not None and not equal(self.owner, owner_of(loaded)):
            return False
        if self.subject.kind is not None and type(loaded.hooks) is not self.subject.kind:
            return False
        if self.arguments is None:
            return True
        signature, (args, kwargs) = signature_for(loaded), self.arguments
        return bool(bound(signature, args, kwargs) == bound(signature, loaded.args, loaded.kwargs))

    def __str__(self) -> str:
        words = [*self.subject.names[:1], *([self.subject.kind.__qualname__] if self.subject.kind else [])] or ["any"]
        if self.arguments is not None:
            args, kwargs = self.arguments
            words[0] += f"({', '.join([*map(repr, args), *(f'{name}={value!r}' for name, value in kwargs.items())])})"
        words += [
            f"{name}={value}" for name in ("queue", "priority", "run_at") if (value := getattr(self, name)) is not None
        ]
        return ", ".join(words)

    def shown(self, found: list[Job]) -> str:
        """The jobs that there are of this name."""
        return shown(found) if found else f"there is none {'of this name' if self.subject.names else 'at all'}"


def numbered(found: list[Job]) -> str:
    """`no job`, `1 job`, `2 jobs`."""
    return f"{len(found) or 'no'} job{'s' if len(found) > 1 else ''}"


def shown(found: list[Job]) -> str:
    """Jobs, one on each line."""
    lines = [
        f"  {job.task} on {job.queue}, priority {job.priority}, due {job.run_at:%Y-%m-%d %H:%M:%S %Z}: {job.payload}"
        for job in found[:SHOWN]
    ]
    more = [f"  … and {len(found) - SHOWN:,} more"] if len(found) > SHOWN else []
    return "\n".join(["there are:", *lines, *more])


@dataclass
class Subject:
    """What a job is to run: by which names, and about which object, if it matters."""

    names: tuple[str, ...] = ()
    owner: Any = None
    signature: Signature | None = None
    kind: type | None = None
    """The class of the custom job, whose objects have names of their own."""


def subject_of(what: Any) -> Subject:
    """What *what* stands for. Raises OptionError for what can be no job."""
    if what is None or isinstance(what, str):
        return Subject((what,) if what else ())
    if isinstance(what, Task):
        return Subject((what.name, *what.aliases), None, signature_of(what))
    if isinstance(what, Handled):
        function = what.function
        return Subject((f"{home(function.__module__)}.{function.__qualname__}",))
    if isinstance(what, BoundMethod):
        name = what.target.attribute or what.target.function.__name__
        return Subject((display_name(what.subject, name),), what.subject, what.signature)
    if inspect.ismethod(what):
        return Subject((display_name(what.__self__, what.__name__),), what.__self__, signature_of(what))
    if isinstance(what, type):
        return Subject(kind=what) if hasattr(what, "display_name") else Subject((readable(name_of(what)),))
    if inspect.isroutine(what):
        return Subject((readable(name_of(what)),), None, signature_of(what))
    payload = performance(what)
    return Subject((payload.task,), payload)


def owner_of(loaded: Loaded) -> Any:
    """The object that a job is about; None: it calls a function."""
    owner, method = loaded.subject or (None, "")
    return owner if method else None


def signature_for(loaded: Loaded) -> Signature:
    """What arguments a job's function or method takes."""
    owner, method = loaded.subject or (None, "")
    if not method:
        return signature_of(loaded.call)
    found = getattr(owner, method)
    return found.signature if isinstance(found, BoundMethod) else signature_of(found)


def bound(signature: Signature, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Any:
    """Arguments by their parameters, defaults filled in; None if they do not fit."""
    try:
        found = signature.whole.bind(*args, **kwargs)
    except TypeError:
        return None
    found.apply_defaults()
    return found.arguments


def equal(one: Any, other: Any) -> bool:
    """Whether two objects are equal, or alike where their class does not say what that is."""
    alike = type(one) is type(other) and "__eq__" not in {*chain.from_iterable(map(vars, type(one).__mro__[:-1]))}
    return bool(one == other) or (alike and hasattr(one, "__dict__") and vars(one) == vars(other))
