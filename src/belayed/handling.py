"""`@handle_asynchronously`: functions and methods whose every call is enqueued."""

# The overloads of the decorator are meant to overlap.
# pyright: reportOverlappingOverload=false

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from belayed.claim import running
from belayed.definitions import declared
from belayed.errors import ConfigError
from belayed.job import Draft, Job, Options
from belayed.methods import RULES, short
from belayed.options import checked, resolved
from belayed.payload import FunctionCall, MethodCall, Target, readable, signature_of
from belayed.retry import Backoff, Errors, Rules
from belayed.signature import Signature
from belayed.tasks import aenqueued, check_call, enqueued
from belayed.trust import home, name_of

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


def display_name(subject: Any, method: str) -> str:
    """What a job that calls this method is called: `app.models.User.notify`."""
    cls = subject if isinstance(subject, type) else type(subject)
    return f"{home(cls.__module__)}.{cls.__qualname__}.{method}"


class Handled(Target, Generic[P, R]):
    """A function or method whose calls are enqueued: what `@handle_asynchronously` makes of a `def`."""

    def __init__(self, function: Any, rules: Rules, options: dict[str, Any]) -> None:
        self.wrapper = type(function) if isinstance(function, classmethod | staticmethod) else None
        function = function.__func__ if self.wrapper else function
        if not inspect.isfunction(function):
            raise ConfigError(f"@handle_asynchronously takes a function or method, not {function!r}")
        super().__init__(function, rules)
        self.options = options
        self.attribute: str | None = None
        functools.update_wrapper(cast(Any, self), function)

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        # Delayed Job's name for the body: user.activate_without_delay(device).
        if f"{name}_without_delay" not in vars(owner):
            setattr(owner, f"{name}_without_delay", WithoutDelay(self))

    def __repr__(self) -> str:
        return f"<{self.function.__module__}.{self.function.__qualname__}, handled asynchronously>"

    @overload
    def __get__(self, subject: None, owner: type) -> Handled[P, R]: ...
    @overload
    def __get__(self: Handled[Concatenate[S, Q], R], subject: S, owner: type | None = None) -> BoundMethod[Q, R]: ...
    @overload
    def __get__(self, subject: object, owner: type | None = None) -> BoundMethod[P, R]: ...
    def __get__(self, subject: Any, owner: type | None = None) -> Any:
        if self.wrapper is not None:
            return BoundMethod(self, owner or type(subject))
        # Below Python 3.13 @classmethod binds what it wraps to the class; then the class is the subject.
        return self if subject is None else BoundMethod(self, subject)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        if self.attribute is not None and args:
            # User.activate(user, device), as overrides of old call it: the same as user.activate(device).
            bound: Any = self.__get__(args[0])
            return cast(Job, bound(*args[1:], **kwargs))
        if self.runs_here(None):
            return cast(Job, self.function(*args, **kwargs))
        return enqueued(self.draft_of(None, args, kwargs, {}))

    def now(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body here; what it returns."""
        self.refuse_unbound()
        return cast(R, self.function(*args, **kwargs))

    def draft(self, *args: P.args, **kwargs: P.kwargs) -> Draft:
        """A job not yet saved."""
        return self.draft_of(None, args, kwargs, {})

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Save a job that runs the body with these arguments; of a coroutine function, to be awaited."""
        return enqueued(self.draft(*args, **kwargs))

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Save a job that runs the body with these arguments, without blocking the event loop."""
        return await aenqueued(self.draft(*args, **kwargs))

    def runs_here(self, subject: object | None) -> bool:
        """Whether the running attempt is this very call: then its body runs, as `super()` calls must."""
        job = running.get()
        if job is None or job.subject is None:
            return False
        owner, name = job.subject
        if subject is not None:
            return owner is subject and name == (self.attribute or self.function.__name__)
        if name or owner != name_of(self.function):
            return False
        # The attempt has called the decorator above this one. Whatever the body calls is another job.
        job.subject = None
        return True

    def refuse_unbound(self) -> None:
        """Raise ConfigError for a method that was reached without its object or class."""
        inner = self.function.__qualname__.rpartition("<locals>.")[2]
        if self.attribute is None and "." in inner:
            raise ConfigError(
                f"{self.function.__qualname__}: write @handle_asynchronously above @classmethod or @staticmethod, "
                "not below"
            )

    def draft_of(self, subject: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]) -> Draft:
        """A job not yet saved that runs the body with these arguments."""
        if subject is None and self.attribute is not None and args:
            return self.draft_of(args[0], args[1:], kwargs, options)
        options = {**self.options, **options}
        if subject is None:
            self.refuse_unbound()
            ref = name_of(self.function)
            check_call(signature_of(self), readable(ref), args, kwargs)
            return Draft(FunctionCall(readable(ref), ref, args, kwargs), readable(ref), **resolved(options))
        name = self.attribute or self.function.__name__
        display = display_name(subject, name)
        check_call(BoundMethod(self, subject).signature, display, args, kwargs)
        return Draft(MethodCall(display, subject, name, args, kwargs), display, **resolved(options, subject))


class BoundMethod(Generic[P, R]):
    """A method of an object or class whose calls are enqueued."""

    __slots__ = ("subject", "target")

    def __init__(self, target: Handled[Any, R], subject: Any) -> None:
        self.target, self.subject = target, subject

    def __repr__(self) -> str:
        return f"<{short(self.subject)}.{self.target.function.__name__}, handled asynchronously>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        if self.target.runs_here(self.subject):
            return cast(Job, self.now(*args, **kwargs))
        return cast(Job, self.enqueue(*args, **kwargs))

    def now(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body here; what it returns."""
        if self.target.wrapper is staticmethod:
            return cast(R, self.target.function(*args, **kwargs))
        return cast(R, self.target.function(self.subject, *args, **kwargs))

    def draft(self, *args: P.args, **kwargs: P.kwargs) -> Draft:
        """A job not yet saved."""
        return self.target.draft_of(self.subject, args, kwargs, {})

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Save a job that runs the body with these arguments; of a coroutine function, to be awaited."""
        draft = self.draft(*args, **kwargs)
        return aenqueued(draft) if isinstance(self.target, HandledCoroutine) else enqueued(draft)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Save a job that runs the body with these arguments, without blocking the event loop."""
        return await aenqueued(self.draft(*args, **kwargs))

    @property
    def signature(self) -> Signature:
        """What arguments the call takes."""
        if self.target.wrapper is staticmethod:
            return signature_of(self.target)
        return signature_of(self.target.function.__get__(self.subject))

    @property
    def __wrapped__(self) -> Any:
        return self.target.function


class HandledCoroutine(Handled[P, R]):
    """What `@handle_asynchronously` makes of an `async def`: awaiting a call enqueues, `now()` is the coroutine."""

    @overload
    def __get__(self, subject: None, owner: type) -> HandledCoroutine[P, R]: ...
    @overload
    def __get__(
        self: HandledCoroutine[Concatenate[S, Q], R], subject: S, owner: type | None = None
    ) -> BoundCoroutine[Q, R]: ...
    @overload
    def __get__(self, subject: object, owner: type | None = None) -> BoundCoroutine[P, R]: ...
    def __get__(self, subject: Any, owner: type | None = None) -> Any:
        bound = super().__get__(subject, cast(type, owner))
        return BoundCoroutine(self, bound.subject) if isinstance(bound, BoundMethod) else bound

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[Job]:  # type: ignore[override]
        if self.attribute is not None and args:
            bound: Any = self.__get__(args[0])
            return cast("Awaitable[Job]", bound(*args[1:], **kwargs))
        if self.runs_here(None):
            return cast("Awaitable[Job]", self.function(*args, **kwargs))
        return aenqueued(self.draft_of(None, args, kwargs, {}))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Save a job that runs the body with these arguments, when awaited."""
        return aenqueued(self.draft(*args, **kwargs))

    def now(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]
        """The coroutine of the body."""
        return cast("Coroutine[Any, Any, R]", super().now(*args, **kwargs))


class BoundCoroutine(BoundMethod[P, R]):
    """A coroutine method whose awaited calls are enqueued."""

    __slots__ = ()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[Job]:  # type: ignore[override]
        return cast("Awaitable[Job]", super().__call__(*args, **kwargs))

    def now(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]
        """The coroutine of the body."""
        return cast("Coroutine[Any, Any, R]", super().now(*args, **kwargs))


class WithoutDelay:
    """`method_without_delay`, as Delayed Job calls the body."""

    def __init__(self, handled: Handled[Any, Any]) -> None:
        self.handled = handled

    def __get__(self, subject: Any, owner: type | None = None) -> Any:
        return self.handled.__get__(subject, cast(type, owner)).now


declared.append(WithoutDelay)


class Untyped:
    """What nobody's parameter is said to be: only a first parameter without a type takes it."""


class OfClass(Protocol[P, R]):
    """What becomes of a class method, however it is reached; and of a function that takes a class first.

    Type checkers see a class method as the latter.
    """

    def __call__(self, cls: Any, /, *args: P.args, **kwargs: P.kwargs) -> Job: ...
    def now(self, cls: Any, /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def __get__(self, subject: Any, owner: type | None = None) -> BoundMethod[P, R]: ...


class CoroutineOfClass(Protocol[P, R]):
    """The same of an `async def`."""

    def __call__(self, cls: Any, /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[Job]: ...
    def now(self, cls: Any, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...
    def __get__(self, subject: Any, owner: type | None = None) -> BoundCoroutine[P, R]: ...


class Decorator:
    """`@handle_asynchronously(…)`, waiting for its function."""

    def __init__(self, rules: Rules, options: dict[str, Any]) -> None:
        self.rules, self.options = rules, options

    @overload
    def __call__(
        self, function: Callable[Concatenate[Untyped, P], Coroutine[Any, Any, R]]
    ) -> HandledCoroutine[..., R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Untyped, P], R]) -> Handled[..., R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[type[Any], P], Coroutine[Any, Any, R]]
    ) -> CoroutineOfClass[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[type[Any], P], R]) -> OfClass[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> HandledCoroutine[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> Handled[P, R]: ...
    def __call__(self, function: Any) -> Any:
        inner = function.__func__ if isinstance(function, classmethod | staticmethod) else function
        kind = HandledCoroutine if inspect.iscoroutinefunction(inner) else Handled
        return kind(function, self.rules, self.options)


@overload
def handle_asynchronously(
    function: Callable[Concatenate[Untyped, P], Coroutine[Any, Any, R]], /
) -> HandledCoroutine[..., R]: ...
@overload
def handle_asynchronously(function: Callable[Concatenate[Untyped, P], R], /) -> Handled[..., R]: ...
@overload
def handle_asynchronously(  # type: ignore[overload-overlap]
    function: Callable[Concatenate[type[Any], P], Coroutine[Any, Any, R]], /
) -> CoroutineOfClass[P, R]: ...
@overload
def handle_asynchronously(function: Callable[Concatenate[type[Any], P], R], /) -> OfClass[P, R]: ...
@overload
def handle_asynchronously(function: Callable[P, Coroutine[Any, Any, R]], /) -> HandledCoroutine[P, R]: ...
@overload
def handle_asynchronously(function: Callable[P, R], /) -> Handled[P, R]: ...
@overload
def handle_asynchronously(
    *,
    retry_on: Errors | None = None,
    discard_on: Errors = (),
    backoff: Backoff | None = None,
    **options: Unpack[Options],
) -> Decorator: ...
def handle_asynchronously(
    function: Any = None,
    /,
    *,
    retry_on: Errors | None = None,
    discard_on: Errors = (),
    backoff: Backoff | None = None,
    **options: Unpack[Options],
) -> Any:
    """Make each call of a function or method enqueue it; `.now(…)` runs it here.

    Written above `@classmethod` and `@staticmethod`. Of an `async def`, awaiting the call enqueues. A callable option
    that takes an argument gets the instance. A worker runs the body; a subclass's override, if there is one.
    """
    decorator = Decorator(Rules(retry_on, discard_on, backoff), checked(options, RULES))
    return decorator if function is None else decorator(function)
