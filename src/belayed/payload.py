"""What a job runs: a function call, a method call, or an object with perform(); written to text and loaded again."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from json.encoder import encode_basestring as as_text
from types import FunctionType
from typing import Any

from belayed.codec import Codec
from belayed.codec.records import stateless
from belayed.codec.registry import Reference, by_name
from belayed.errors import (
    BrokenPayload,
    NotSerializable,
    NotTrusted,
    OptionError,
    SignatureChanged,
    UnknownTask,
    UnknownVersion,
    UntrustedPayload,
)
from belayed.retry import Rules
from belayed.signature import Signature
from belayed.trust import name_of, resolve, running_main

VERSION = 1
NO_RULES = Rules()
HOOKS = ("enqueue", "before", "success", "error", "failure", "after", "reschedule_at")


class Target:
    """A function that can be run later, with its rules: what `@task` and `@handle_asynchronously` make."""

    def __init__(self, function: Callable[..., Any], rules: Rules) -> None:
        self.function = function
        self.rules = rules
        self.is_async = inspect.iscoroutinefunction(function)

    @cached_property
    def signature(self) -> Signature:
        """What it takes."""
        return signature_of(self.function)


registry: dict[str, Target] = {}
"""Tasks by name and alias. What is registered is trusted."""

adapters: dict[type, Callable[[Any], Target]] = {}
"""How the tasks of other libraries become ours, by their class."""


def adapted(found: Any) -> Any:
    """A task of another library as one of ours; anything else as it is."""
    for base in type(found).__mro__ if adapters else ():
        if base in adapters:
            return adapters[base](found)
    return found


@dataclass(slots=True)
class Loaded:
    """A payload ready to run."""

    call: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    is_async: bool = False
    rules: Rules = NO_RULES
    subject: tuple[object, str] | None = None
    hooks: Any = None
    """The object with perform(), whose methods are the hooks; None for calls."""


@dataclass(slots=True)
class FunctionCall:
    """A call of a function that a worker can import; `name` is set if it is a registered task."""

    task: str
    ref: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str | None = None

    def write(self, codec: Codec) -> str:
        if self.name is None:
            codec.trust.require(self.ref)
        before, after = envelope(self.ref, self.name)
        if not self.kwargs and (text := codec.plainly(self.args)) is not None:
            return f'{before}{text},"kwargs":{{}}{after}'
        args, kwargs = codec.encode_call(self.args, self.kwargs)
        return f'{before}{codec.text(args)},"kwargs":{codec.text(kwargs)}{after}'


@lru_cache(1000)
def envelope(ref: str, name: str | None) -> tuple[str, str]:
    """What stands before and after the arguments of a function's call."""
    task = f',"task":{as_text(name)}' if name is not None else ""
    return f'{{"v":{VERSION},"call":{as_text(ref)},"args":', f"{task}}}"


@dataclass(slots=True)
class MethodCall:
    """A call of a method; the object travels as the codec can name or rebuild it."""

    task: str
    subject: object
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def write(self, codec: Codec) -> str:
        if not method_trusted(self.subject, self.method, codec):
            raise NotTrusted(
                f"delay({short(self.subject)}).{self.method}: neither its class nor the method is the application's "
                "own code; write a function of yours that calls it, or name its package in configure(trust=[…])"
            )
        args, kwargs = codec.encode_call(self.args, self.kwargs)
        call = {"method": self.method, "args": args, "kwargs": kwargs}
        try:
            subject = codec.encode(self.subject, "self")
        except NotSerializable as error:
            # A service without any state needs no text form: another object of its class is the same.
            if error.path != "self" or not stateless(self.subject):
                raise
            ref = name_of(type(self.subject))
            codec.trust.require(ref)
            return codec.text({"v": VERSION, "of": ref, **call})
        return codec.text({"v": VERSION, "self": subject, **call})


@dataclass(slots=True)
class Performance:
    """An object with perform()."""

    task: str
    subject: Any

    def write(self, codec: Codec) -> str:
        cls = type(self.subject)
        try:
            perform = codec.encode(self.subject, "job")
        except NotSerializable as error:
            # Any object with perform() may be a job: what the codec cannot rebuild is rebuilt from its attributes.
            if error.path != "job" or not hasattr(self.subject, "__dict__") or cls.__module__ == "builtins":
                raise
            ref = name_of(cls)
            codec.trust.require(ref)
            fields = {name: codec.encode(value, f"job.{name}") for name, value in vars(self.subject).items()}
            return codec.text({"v": VERSION, "class": ref, "fields": fields})
        return codec.text({"v": VERSION, "perform": perform})


def performance(subject: Any) -> Performance:
    """The payload of an object with perform(). Raises OptionError for anything else."""
    if not callable(getattr(subject, "perform", None)) or isinstance(subject, type):
        hint = ": write it as an instance" if isinstance(subject, type) else ""
        raise OptionError(
            f"cannot enqueue {short(subject)}: it has no method perform(){hint}; "
            "enqueue a task's draft (send_mail.draft(…)) or an object with perform()"
        )
    if unheard := [name for name in HOOKS if inspect.iscoroutinefunction(getattr(subject, name, None))]:
        raise OptionError(
            f"cannot enqueue {short(subject)}: its hook {unheard[0]} is async def, which nobody would await; write a "
            "plain def (perform itself may be async def)"
        )
    return Performance(displayed(attribute(subject, "display_name")) or readable(name_of(type(subject))), subject)


def displayed(name: Any) -> str:
    """A custom job's own name as it is shown: on one line, and not too long."""
    text = "" if name is None else " ".join(str(name).split())
    return "".join(char if char.isprintable() else "?" for char in text)[:255]


def attribute(subject: Any, name: str) -> Any:
    """A custom job's setting: an attribute, a property, or a method without arguments. None if it has none."""
    value = getattr(subject, name, None)
    return value() if callable(value) and not isinstance(value, type) else value


def call_hook(subject: Any, name: str, **given: Any) -> None:
    """Call a hook of a custom job, if it has it: with those of *given* that it names, or as many as it takes."""
    hook = getattr(subject, name, None)
    if callable(hook):
        args, kwargs = signature_of(hook).chosen(given)
        hook(*args, **kwargs)


def readable(ref: str) -> str:
    """A name for people: `app.mail.send` of `app.mail:send`."""
    return ref.replace(":", ".")


def short(value: object) -> str:
    """A value for messages: its class, never its contents."""
    return value.__qualname__ if isinstance(value, type) else f"a {type(value).__qualname__}"


def method_trusted(subject: object, method: str, codec: Codec) -> bool:
    """Whether a row may call *method*: the object's class, or the method itself, must be trusted code.

    Without this a row could call `unlink` of any path, which the codec rebuilds.
    """
    cls = subject if isinstance(subject, type) else type(subject)
    if codec.trust.covers(home(cls.__module__)):
        return True
    function = inspect.unwrap(
        getattr(inspect.getattr_static(cls, method, None), "__func__", None) or getattr(cls, method)
    )
    module = getattr(function, "__module__", None)
    return isinstance(function, Target) or (isinstance(module, str) and codec.trust.covers(home(module)))


def home(module: str) -> str:
    """The name by which a worker imports *module*, which may be the running script. Raises NotImportable."""
    return running_main().name if module in ("__main__", "__mp_main__") else module


def load(text: str, codec: Codec) -> Loaded:
    """A saved payload ready to run. Raises PayloadError."""
    envelope = codec.loads(text)
    if type(envelope) is dict and envelope.get("v") == VERSION and (ready := load_task(envelope)) is not None:
        return ready
    if not isinstance(envelope, dict) or not isinstance(envelope.get("v"), int):
        raise BrokenPayload("the payload is no envelope of Belayed's")
    if envelope["v"] > VERSION:
        raise UnknownVersion(
            f"the payload is of version {envelope['v']}, written by a newer Belayed than this worker's ({VERSION}): "
            "upgrade the worker"
        )
    if "perform" in envelope or "class" in envelope:
        return load_performance(envelope, codec)
    args, kwargs = envelope.get("args"), envelope.get("kwargs")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise BrokenPayload("the payload has no arguments")
    if "method" in envelope:
        return load_method(envelope, tuple(args), kwargs, codec)
    return load_function(envelope, tuple(args), kwargs, codec)


def load_task(envelope: dict[str, Any]) -> Loaded | None:
    """A call of a task that is registered here by its name: what most jobs are. None: it is anything else."""
    name, args, kwargs = envelope.get("task"), envelope.get("args"), envelope.get("kwargs")
    if type(name) is not str or type(args) is not list or type(kwargs) is not dict:
        return None
    found = registry.get(name)
    if not isinstance(found, Target) or not found.signature.plainly(len(args), kwargs):
        return None
    return Loaded(found.function, tuple(args), kwargs, found.is_async, found.rules, (found, ""))


def load_function(envelope: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any], codec: Codec) -> Loaded:
    """A call of a registered task by its name, or of a trusted function."""
    name, ref = envelope.get("task"), envelope.get("call")
    if not isinstance(ref, str) or not isinstance(name, str | None):
        raise BrokenPayload("the payload names no function")
    found: Any = registry.get(name) if name is not None else None
    if found is None:
        found = adapted(resolve(ref, codec.trust))
        found = registry.get(name, found) if name is not None else found
    function = found.function if isinstance(found, Target) else found
    if not callable(function) or isinstance(function, type):
        raise UnknownTask(f"{ref} is no function in this worker's code")
    fits(signature_of(found), readable(ref), args, kwargs)
    if isinstance(found, Target):
        return Loaded(function, args, kwargs, found.is_async, found.rules, (found, ""))
    return Loaded(function, args, kwargs, is_async(function), NO_RULES, (found, ""))


def load_method(envelope: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any], codec: Codec) -> Loaded:
    """A call of a method: an override in a subclass is honoured, and a decorated one runs its body."""
    subject, method = envelope.get("self"), envelope["method"]
    if "of" in envelope:
        cls = resolve(str(envelope["of"]), codec.trust)
        if not isinstance(cls, type):
            raise BrokenPayload(f"{envelope['of']!r} is no class")
        subject = object.__new__(cls)
    if not isinstance(method, str) or method.startswith("__"):
        raise BrokenPayload(f"the payload names no method: {method!r}")
    try:
        bound = getattr(subject, method)
        trusted = method_trusted(subject, method, codec)
    except AttributeError as error:
        raise UnknownTask(f"{short(subject)} has no method {method} in this worker's code") from error
    if not trusted:
        raise UntrustedPayload(f"{method} of {short(subject)} is not code that this worker may run")
    target = getattr(bound, "target", None)
    if isinstance(target, Target):
        fits(bound.signature, f"{short(subject)}.{method}", args, kwargs)
        return Loaded(bound.now, args, kwargs, target.is_async, target.rules, (subject, method))
    if not callable(bound):
        raise UnknownTask(f"{short(subject)}.{method} is no method in this worker's code")
    fits(signature_of(bound), f"{short(subject)}.{method}", args, kwargs)
    return Loaded(bound, args, kwargs, is_async(bound), NO_RULES, (subject, method))


def load_performance(envelope: dict[str, Any], codec: Codec) -> Loaded:
    """An object with perform(), rebuilt."""
    if "perform" in envelope:
        subject = envelope["perform"]
    else:
        cls, fields = resolve(str(envelope["class"]), codec.trust), envelope.get("fields")
        if not isinstance(cls, type) or not isinstance(fields, dict):
            raise BrokenPayload("the payload names no class with fields")
        subject = object.__new__(cls)
        subject.__dict__.update(fields)
    perform = getattr(subject, "perform", None)
    if not callable(perform):
        raise UnknownTask(f"{short(subject)} has no method perform() in this worker's code")
    return Loaded(perform, (), {}, is_async(perform), rules_of(subject), (subject, "perform"), subject)


def rules_of(subject: Any) -> Rules:
    """The rules that a custom job states as attributes; `reschedule_at` stands for a backoff of its own."""
    given = {
        name: value
        for name in ("retry_on", "discard_on", "backoff")
        if (value := inspect.getattr_static(subject, name, None)) is not None
    }
    if isinstance(given.get("backoff"), staticmethod) or inspect.isfunction(given.get("backoff")):
        given["backoff"] = subject.backoff
    return Rules(**given) if given else NO_RULES


def fits(signature: Signature, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise SignatureChanged if the saved arguments do not fit."""
    try:
        signature.check(args, kwargs)
    except TypeError as error:
        raise SignatureChanged(
            f"the saved arguments do not fit {name}{signature.whole}: {error}; its signature has changed since the job "
            "was enqueued: give new parameters defaults, or deploy the code that fits and retry"
        ) from error


signatures: dict[Any, Signature] = {}


def signature_of(found: Any) -> Signature:
    """The signature of a task, function or bound method, remembered."""
    function = found.function if isinstance(found, Target) else getattr(found, "__func__", found)
    bound = function is not found and not isinstance(found, Target)
    # Only these are few: a method of C has its object with it, and what is called instead of one need have no hash.
    if not isinstance(function, FunctionType):
        return Signature(function, skip_first=bound)
    signature = signatures.get((function, bound))
    if signature is None:
        signature = signatures[function, bound] = Signature(function, skip_first=bound)
    return signature


def is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def rules_told(text: str, codec: Codec) -> Rules:
    """The rules of a job whose arguments cannot be loaded, as far as its payload's text tells. Never raises."""
    try:
        envelope = json.loads(text)
        if "method" in envelope:
            kind = resolve(envelope["of"], codec.trust) if "of" in envelope else kind_told(envelope["self"], codec)
            found = inspect.getattr_static(kind, envelope["method"])
        elif "class" in envelope:
            return rules_of(resolve(envelope["class"], codec.trust))
        elif "perform" in envelope:
            return rules_of(kind_told(envelope["perform"], codec))
        else:
            found = registry.get(envelope.get("task")) or adapted(resolve(envelope["call"], codec.trust))
    except Exception:
        return NO_RULES
    return found.rules if isinstance(found, Target) else NO_RULES


def kind_told(plain: Any, codec: Codec) -> Any:
    """The class of a saved object. Raises whatever there is to raise for one that cannot be told."""
    entry = by_name.get(plain["$"])
    if isinstance(entry, Reference):
        return entry.kind(plain["v"]) if entry.kind else entry.type_
    return resolve(plain["v"][0], codec.trust)
