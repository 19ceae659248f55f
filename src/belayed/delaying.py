"""Any call, later: `delay(obj).method(…)`, and the mix-in `Delayable`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Never, Unpack, cast

from belayed.codec.registry import behind
from belayed.errors import OptionError
from belayed.handling import BoundMethod, Handled, display_name
from belayed.job import Draft, Options
from belayed.methods import short
from belayed.mistakes import loose_arguments
from belayed.options import checked, resolved
from belayed.payload import FunctionCall, MethodCall, name_in_code, readable, signature_of
from belayed.tasks import Task, aenqueued, check_call, enqueued
from belayed.trust import name_of


def delay(subject: Any, /, *args: Never, **options: Unpack[Options]) -> Delayed:
    """Any call of *subject*, later: `delay(user).notify("hi")`, `delay(send_mail)(1)`; the call returns the Job."""
    if args:
        raise OptionError(loose_arguments(subject, "delay", name_in_code(subject)))
    return Delayed(subject, checked(options), enqueued)


def adelay(subject: Any, /, *args: Never, **options: Unpack[Options]) -> Delayed:
    """As `delay`, to be awaited: `await adelay(user).notify("hi")`."""
    if args:
        raise OptionError(loose_arguments(subject, "adelay", name_in_code(subject)))
    return Delayed(subject, checked(options), aenqueued)


class Delayed:
    """What `delay(obj)` returns: a method called on it is enqueued. Nothing is until then."""

    __slots__ = ("_options", "_save", "_subject")

    def __init__(self, subject: Any, options: dict[str, Any], save: Callable[[Draft], Any]) -> None:
        self._subject, self._options, self._save = behind(subject), options, save

    def __repr__(self) -> str:
        return f"<delay of {short(self._subject)}>"

    def __getattr__(self, name: str) -> Callable[..., Any]:
        # Names of the protocol kind are asked for by debuggers, copiers and printers: none of them wants a job.
        # The proxy's own are not there yet while it is copied.
        if name.startswith("__") or name in Delayed.__slots__:
            raise AttributeError(f"what delay() returns does not enqueue {name}")
        method = getattr(self._subject, name)
        if not callable(method):
            raise AttributeError(  # noqa: TRY004  # as of any name that an object does not have
                f"{short(self._subject)}.{name} is no method, so it cannot be enqueued"
            )
        return functools.partial(self._enqueue, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a call of the function itself."""
        subject = self._subject
        if isinstance(subject, Task):
            return self._save(subject.using(**cast(Options, self._options)).draft(*args, **kwargs))
        if isinstance(subject, Handled):
            return self._save(subject.draft_of(None, args, kwargs, self._options))
        if isinstance(subject, type) or not callable(subject):
            raise OptionError(f"delay({short(subject)}) wants a method: delay(obj).method(…)")
        if inspect.ismethod(subject):
            return getattr(Delayed(subject.__self__, self._options, self._save), subject.__name__)(*args, **kwargs)
        ref = name_of(subject)
        check_call(signature_of(subject), readable(ref), args, kwargs)
        return self._save(
            Draft(FunctionCall(readable(ref), ref, args, kwargs), readable(ref), **resolved(self._options))
        )

    def _enqueue(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._save(method_draft(self._subject, name, args, kwargs, self._options))


class Delayable:
    """A mix-in: `user.delay.activate(device)`, `user.delay(queue="mail").notify("hi")`; `adelay` for awaiting."""

    @property
    def delay(self) -> DelayWith:
        """Calls of this object, later."""
        return DelayWith(self, {}, enqueued)

    @property
    def adelay(self) -> DelayWith:
        """Calls of this object, later, to be awaited."""
        return DelayWith(self, {}, aenqueued)


class DelayWith(Delayed):
    """What `obj.delay` is: called with options it takes them; a method of it is enqueued."""

    __slots__ = ()

    def __call__(self, **options: Unpack[Options]) -> Delayed:
        return Delayed(self._subject, checked(options), self._save)


def method_draft(
    subject: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> Draft:
    """A job not yet saved that calls a method of *subject*."""
    method = getattr(subject, name)
    if isinstance(method, BoundMethod):
        return method.target.draft_of(method.subject, args, kwargs, options)
    display = display_name(subject, name)
    check_call(signature_of(method), display, args, kwargs)
    return Draft(MethodCall(display, subject, name, args, kwargs), display, **resolved(options, subject))
