"""`@task`: functions that can be run later, by a name that outlives their place in the code."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Never, ParamSpec, TypeVar, Unpack, cast, overload

from belayed.config import current
from belayed.errors import ConfigError, NotImportable, OptionError
from belayed.job import Draft, Job, Options
from belayed.mistakes import METHODS, OF_TASK, misplaced, no_attribute, no_function
from belayed.options import AS_THEY_ARE, NAMES, check_task, checked, resolved, shortened
from belayed.payload import FunctionCall, Target, readable, registry
from belayed.retry import Backoff, Errors, Rules
from belayed.signature import GENERATOR, Signature
from belayed.trust import declared_name, name_of

P = ParamSpec("P")
R = TypeVar("R")


class Task(Target, Generic[P, R]):
    """A function that can be run later. Calling it runs it here and now, as if it were not decorated."""

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        aliases: Iterable[str] = (),
        rules: Rules | None = None,
        options: Options | None = None,
    ) -> None:
        refuse_methods(function)
        super().__init__(function, rules or Rules())
        self.name = name or default_name(function)
        self.aliases = (aliases,) if isinstance(aliases, str) else tuple(aliases)
        for one in (self.name, *self.aliases):
            check_task(one)
        self.options: dict[str, Any] = checked(options or {}, OF_TASK)
        functools.update_wrapper(cast(Callable[P, R], self), function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return cast("Callable[P, R]", self.function)(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    @functools.cached_property
    def asks(self) -> bool:
        """Whether any of its options is to be called at each enqueue."""
        return any(callable(value) for name, value in self.options.items() if name not in AS_THEY_ARE)

    @functools.cached_property
    def ref(self) -> str:
        """The `module:function` by which a worker imports it. Raises NotImportable: no worker could run such a job."""
        return name_of(self.function)

    def using(self, *args: Never, **options: Unpack[Options]) -> Task[P, R]:
        """The same task with other options: `send.using(queue="mail").enqueue(1)`."""
        if args:
            raise OptionError("using() takes options by their names: .using(queue=…); arguments go in .enqueue(…)")
        other: Task[P, R] = Task.__new__(Task)
        vars(other).update(vars(self))
        vars(other).pop("asks", None)
        other.options = {**self.options, **checked(options)}
        return other

    def draft(self, *args: P.args, **kwargs: P.kwargs) -> Draft:
        """A job not yet saved. Raises TypeError for arguments that the function does not take."""
        if not self.signature.plainly(len(args), kwargs):
            check_call(self.signature, self.name, args, kwargs, ".using({})")
        call = FunctionCall(self.name, self.ref, args, kwargs, self.name)
        return Draft(call, self.name, **(resolved(self.options) if self.asks else self.options))

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Save a job that calls the function with these arguments."""
        draft = self.draft(*args, **kwargs)
        job: Job = (draft.jobs or current()).enqueue(draft)
        return job

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Save a job that calls the function with these arguments, without blocking the event loop."""
        return await aenqueued(self.draft(*args, **kwargs))

    delay = enqueue
    adelay = aenqueue

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, METHODS, vars(self).get("__name__", "send"))


@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    aliases: Iterable[str] = (),
    retry_on: Errors | None = None,
    discard_on: Errors = (),
    backoff: Backoff | None = None,
    **options: Unpack[Options],
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    aliases: Iterable[str] = (),
    retry_on: Errors | None = None,
    discard_on: Errors = (),
    backoff: Backoff | None = None,
    **options: Unpack[Options],
) -> Task[P, R] | Callable[[Callable[P, R]], Task[P, R]]:
    """Make a function, `def` or `async def`, one that can be run later.

    `name` is stored with each job (default: the module's and the function's); `aliases` are names that it once had.
    `retry_on`, `discard_on` and `backoff` are its rules for failures, see belayed.retry.Rules.
    """
    rules = Rules(retry_on, discard_on, backoff)

    def decorated(function: Callable[P, R]) -> Task[P, R]:
        return registered(Task(function, name=name, aliases=aliases, rules=rules, options=options))

    return decorated if function is None else decorated(function)


def registered(task: Task[P, R]) -> Task[P, R]:
    """Make *task* known to workers of this process by its name and aliases. Raises ConfigError for a name in use."""
    names = (task.name, *task.aliases)
    for name in names:
        other = registry.get(name)
        # Importing a module again, as reloaders do, makes the same task anew.
        if isinstance(other, Task) and place(other.function) != place(task.function):
            raise ConfigError(
                f"two tasks are called {name!r}: {place(other.function)} and {place(task.function)}; "
                "give one of them another name: @task(name=…)"
            )
    registry.update(dict.fromkeys(names, task))
    return task


def default_name(function: Callable[..., Any]) -> str:
    """The module's and the function's name: a script's own, not `__main__`."""
    try:
        return readable(declared_name(function))
    except NotImportable:
        return readable(place(function))


def place(function: Callable[..., Any]) -> str:
    """Where a function is defined."""
    return f"{function.__module__}:{function.__qualname__}"


def refuse_methods(function: Callable[..., Any]) -> None:
    """Raise ConfigError for what is no plain function."""
    if isinstance(function, str):
        raise ConfigError(f"@task({shortened(function)}): options go by their names, @task(queue=…) or @task(name=…)")
    # A decorated function would be unwrapped below, and its job enqueue it again and again.
    if isinstance(function, classmethod | staticmethod | Target) or not inspect.isfunction(inspect.unwrap(function)):
        raise ConfigError(f"@task takes a function, not {function!r}: {no_function(function)}")
    first = next(iter(inspect.signature(function).parameters), None)
    if "." in function.__qualname__.rpartition("<locals>.")[2] and first in ("self", "cls"):
        raise ConfigError(f"@task on the method {function.__qualname__}: for methods there is @handle_asynchronously")


def check_call(
    signature: Signature, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], place: str = "delay(…, {})"
) -> None:
    """Raise TypeError, as the call would, for arguments that do not fit; OptionError for a generator function.

    *place* is how options are written, which may be among the arguments by mistake.
    """
    if signature.generates:
        raise OptionError(f"cannot enqueue {name}: it {GENERATOR}")
    try:
        signature.check(args, kwargs)
    except TypeError as error:
        meant = misplaced(kwargs, signature.whole.parameters, NAMES, place)
        raise TypeError(f"{name}{signature.whole}: {error}{meant}") from None


def enqueued(draft: Draft) -> Job:
    """The draft, saved in the `Jobs` that it names or the program's."""
    return cast(Job, (draft.jobs or current()).enqueue(draft))


async def aenqueued(draft: Draft) -> Job:
    """The draft, saved in the `Jobs` that it names or the program's, without blocking the event loop."""
    return cast(Job, await (draft.jobs or current()).aenqueue(draft))
