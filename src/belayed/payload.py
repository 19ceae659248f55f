"""What a job runs: a function call, a method call, or an object with perform(); written to text and loaded again."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from json.encoder import encode_basestring as as_text
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from belayed.codec import Codec
from belayed.codec.rebuilding import blank, check_state, has_attributes_only, refill, stateless
from belayed.definitions import declared, is_class
from belayed.errors import (
    BrokenPayload,
    ConfigError,
    NotImportable,
    NotSerializable,
    NotTrusted,
    OptionError,
    PayloadError,
    SignatureChanged,
    UnknownTask,
    UnknownVersion,
    UntrustedPayload,
)
from belayed.methods import (
    HOOKS,
    NO_RULES,
    check_hooks,
    hook_of,
    hooks_of,
    method_of,
    on_the_object,
    rules_of,
    short,
)
from belayed.mistakes import RESTART, no_job, renamed
from belayed.retry import Rules
from belayed.signature import GENERATOR, Signature, generates
from belayed.trust import Trust, name_of, resolve

VERSION = 1


class Target:
    """A function that can be run later, with its rules: what `@task` and `@handle_asynchronously` make."""

    def __init__(self, function: Callable[..., Any], rules: Rules) -> None:
        if generates(function):
            raise ConfigError(f"{function.__module__}.{function.__qualname__} {GENERATOR}")
        self.function = function
        self.rules = rules
        self.is_async = inspect.iscoroutinefunction(function)

    @cached_property
    def signature(self) -> Signature:
        """What it takes."""
        return signature_of(self.function)


declared.append(Target)

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
    """The object and the name of its method; of a function that is not ours its name and ""; None: one of ours."""
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
        if self.name not in registry:
            require(self.ref, codec.trust)
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
        try:
            method_of(self.subject, self.method, codec.trust)
        except PayloadError as error:
            raise NotTrusted(f"delay({short(self.subject)}).{self.method}: {error}") from error
        if on_the_object(self.subject, [self.method]):
            raise NotTrusted(
                f"delay({short(self.subject)}).{self.method}: it is an attribute of this object, and workers call what "
                "its class has by that name; write it as a method, or call it something else"
            )
        args, kwargs = codec.encode_call(self.args, self.kwargs)
        call = {"method": self.method, "args": args, "kwargs": kwargs}
        try:
            subject = codec.encode(self.subject, "self")
        except NotSerializable as error:
            # A service without any state needs no text form: another object of its class is the same.
            if error.path != "self" or not stateless(self.subject):
                raise
            return codec.text({"v": VERSION, "of": codec.rebuilt(type(self.subject)), **call})
        return codec.text({"v": VERSION, "self": subject, **call})


@dataclass(slots=True)
class Performance:
    """An object with perform()."""

    task: str
    subject: Any

    def write(self, codec: Codec) -> str:
        cls = type(self.subject)
        try:
            method_of(self.subject, "perform", codec.trust)
            check_hooks(self.subject, codec.trust)
            rules_of(self.subject, codec.trust)
        except PayloadError as error:
            raise NotTrusted(f"cannot enqueue {short(self.subject)}: {error}") from error
        # Any object with perform() may be a job: what the codec cannot rebuild is rebuilt from its attributes.
        if not codec.is_formless(self.subject) or not has_attributes_only(cls):
            try:
                perform = codec.encode(self.subject, "job")
            except NotSerializable as error:
                if error.path != "job" or not has_attributes_only(cls):
                    raise
            else:
                return codec.text({"v": VERSION, "perform": perform})
        ref = codec.rebuilt(cls)
        state = check_state(self.subject, codec.trust, "job")
        fields = {name: codec.encode(value, f"job.{name}") for name, value in state.items()}
        return codec.text({"v": VERSION, "class": ref, "fields": fields})


def performance(subject: Any) -> Performance:
    """The payload of an object with perform(). Raises OptionError for anything else."""
    perform = hook_of(subject, "perform")
    if is_class(subject) or not callable(perform):
        raise OptionError(f"cannot enqueue {short(subject)}: it {no_job(subject, name_in_code(subject))}")
    if own := on_the_object(subject, ("perform", *HOOKS)):
        raise OptionError(
            f"cannot enqueue {short(subject)}: its {own} is an attribute of this object, and workers call what its "
            "class has by that name; write it as a method, or call it something else"
        )
    if signature_of(perform).generates:
        raise OptionError(f"cannot enqueue {short(subject)}: its perform() {GENERATOR}")
    if unheard := [name for name, hook in hooks_of(subject) if inspect.iscoroutinefunction(hook)]:
        raise OptionError(
            f"cannot enqueue {short(subject)}: its hook {unheard[0]} is async def, which nobody would await; write a "
            "plain def (perform itself may be async def)"
        )
    return Performance(displayed(setting(subject, "display_name")) or readable(name_of(type(subject))), subject)


def name_in_code(subject: object) -> str | None:
    """How the code calls a task; None: it is none."""
    return subject.function.__name__ if isinstance(subject, Target) else None


def displayed(name: Any) -> str:
    """A custom job's own name as it is shown: on one line, and not too long."""
    text = "" if name is None else " ".join(str(name).split())
    return "".join(char if char.isprintable() else "?" for char in text)[:255]


def setting(subject: Any, name: str) -> Any:
    """A custom job's setting: an attribute, a property, or a method without arguments. None if it has none."""
    value = getattr(subject, name, None)
    return value() if callable(value) and not isinstance(value, type) else value


def call_hook(subject: Any, name: str, **given: Any) -> None:
    """Call a hook of a custom job, if it has it: with those of *given* that it names, or as many as it takes."""
    hook = hook_of(subject, name)
    if hook is not None:
        args, kwargs = signature_of(hook).chosen(given)
        hook(*args, **kwargs)


def readable(ref: str) -> str:
    """A name for people: `app.mail.send` of `app.mail:send`."""
    return ref.replace(":", ".")


def require(ref: str, trust: Trust) -> None:
    """Raise NotTrusted or NotImportable for a function's name that workers would refuse."""
    try:
        resolve(ref, trust, remember=False)
    except UntrustedPayload as error:
        raise NotTrusted(str(error)) from error
    except UnknownTask as error:
        raise NotImportable(str(error)) from error


def load(text: str, codec: Codec) -> Loaded:
    """A saved payload ready to run. Raises PayloadError."""
    return load_envelope(codec.loads(text), codec)


def load_envelope(envelope: Any, codec: Codec) -> Loaded:
    """What a payload's text says, decoded, ready to run. Raises PayloadError."""
    # Never isinstance, ==, str() or repr(): what the row says may be any object by now, and its class anybody's code.
    version = envelope.get("v") if type(envelope) is dict else None
    if type(version) is int and version == VERSION and (ready := load_task(envelope)) is not None:
        return ready
    if type(version) is not int:
        raise BrokenPayload("the payload is not in Belayed's format")
    if version > VERSION:
        raise UnknownVersion(
            f"the payload is of version {version}, written by a newer Belayed than this worker's ({VERSION}): "
            "upgrade the worker"
        )
    if "perform" in envelope or "class" in envelope:
        return load_performance(envelope, codec)
    args, kwargs = envelope.get("args"), envelope.get("kwargs")
    if type(args) is not list or type(kwargs) is not dict:
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
    return Loaded(found.function, tuple(args), kwargs, found.is_async, found.rules)


def load_function(envelope: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any], codec: Codec) -> Loaded:
    """A call of a registered task by its name, or of a trusted function."""
    found, ref = function_named(envelope, codec), envelope["call"]
    function = found.function if isinstance(found, Target) else found
    fits(signature_of(found), readable(ref), args, kwargs)
    if isinstance(found, Target):
        return Loaded(function, args, kwargs, found.is_async, found.rules)
    return Loaded(function, args, kwargs, is_async(function), NO_RULES, (ref, ""))


def function_named(envelope: dict[str, Any], codec: Codec) -> Any:
    """The Target or function that a payload names. Raises PayloadError."""
    name, ref = envelope.get("task"), envelope.get("call")
    if type(ref) is not str or (name is not None and type(name) is not str):
        raise BrokenPayload("the payload names no function")
    found: Any = registry.get(name) if name is not None else None
    if found is None:
        try:
            found = adapted(resolve(ref, codec.trust))
        except UnknownTask as error:
            raise UnknownTask(f"{error}{renamed(name, ref)}") from error
        found = registry.get(name, found) if name is not None else found
    if is_class(found) or not (isinstance(found, Target) or callable(found)):
        raise UnknownTask(f"{ref} is no function in this worker's code")
    return found


def load_method(envelope: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any], codec: Codec) -> Loaded:
    """A call of a method: an override in a subclass is honoured, and a decorated one runs its body."""
    subject, method = envelope.get("self"), envelope["method"]
    if "of" in envelope:
        subject = blank(resolve(envelope["of"], codec.trust), codec.trust)
    if type(method) is not str or method.startswith("__"):
        raise BrokenPayload(f"the payload names no method: {method if type(method) is str else short(method)}")
    call = method_of(subject, method, codec.trust)
    target = getattr(call, "target", call)
    if isinstance(target, Target) and hasattr(call, "now"):
        fits(call.signature, f"{short(subject)}.{method}", args, kwargs)
        return Loaded(call.now, args, kwargs, target.is_async, target.rules, (subject, method))
    fits(signature_of(call), f"{short(subject)}.{method}", args, kwargs)
    return Loaded(call, args, kwargs, is_async(call), NO_RULES, (subject, method))


def load_performance(envelope: dict[str, Any], codec: Codec) -> Loaded:
    """An object with perform(), rebuilt."""
    if "perform" in envelope:
        subject = envelope["perform"]
    else:
        subject = blank(resolve(envelope["class"], codec.trust), codec.trust)
        refill(subject, envelope.get("fields"), codec.trust)
    perform = method_of(subject, "perform", codec.trust)
    check_hooks(subject, codec.trust)
    return Loaded(perform, (), {}, is_async(perform), rules_of(subject, codec.trust), (subject, "perform"), subject)


def fits(signature: Signature, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise SignatureChanged if the saved arguments do not fit."""
    try:
        signature.check(args, kwargs)
    except TypeError as error:
        raise SignatureChanged(
            f"the saved arguments do not fit {name}{signature.whole}: {error}; its signature has changed since the job "
            f"was enqueued: {RESTART}, give new parameters defaults, or deploy the code that fits and retry"
        ) from error


signatures: dict[bool, WeakKeyDictionary[FunctionType, Signature]] = {
    False: WeakKeyDictionary(),
    True: WeakKeyDictionary(),
}
"""Of functions, and without their first parameter of those that are bound. Some are made anew for each look-up."""


def signature_of(found: Any) -> Signature:
    """The signature of a task, function or bound method, remembered."""
    if type(found) is partial and "__wrapped__" in vars(found):
        # What a decorator's object gives for a method: `inspect` would show the parameters of the function in it, all.
        return Signature(partial(vars(found)["__wrapped__"], *found.args, **found.keywords))
    function = found.function if isinstance(found, Target) else getattr(found, "__func__", found)
    bound = (function is not found and not isinstance(found, Target)) or dispatches(function)
    # Only these are few: a method of C has its object with it, and what is called instead of one need have no hash.
    if type(function) is not FunctionType:
        return Signature(function, skip_first=bound)
    signature = signatures[bound].get(function)
    if signature is None:
        signature = signatures[bound][function] = Signature(function, skip_first=bound)
    return signature


def dispatches(function: Any) -> bool:
    """Whether it is a bound `functools.singledispatchmethod`, which looks like a function that is not bound."""
    code = function.__code__.co_qualname if type(function) is FunctionType else type(function).__qualname__
    return code.startswith(("singledispatchmethod.__get__.", "_singledispatchmethod_get"))


def is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
