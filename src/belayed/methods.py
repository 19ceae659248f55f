"""Methods by their names: found on the class of an object as they were written, judged, and bound to the object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from belayed.definitions import (
    ABSENT,
    attribute,
    attributes,
    bound,
    instance_dict,
    is_class,
    is_method,
    module_of,
    qualname,
)
from belayed.errors import UnknownTask, UntrustedPayload
from belayed.mistakes import RESTART
from belayed.retry import Rules
from belayed.trust import Trust, home

NO_RULES = Rules()
HOOKS = ("enqueue", "before", "success", "error", "failure", "after", "reschedule_at")
RULES = ("retry_on", "discard_on", "backoff")


def method_of(subject: object, name: str, trust: Trust) -> Any:
    """The method of an object, or of a class, that a job calls.

    It is the class's own or inherited: an attribute of the object, a property, `__getattr__` and the metaclass have no
    say. Raises UnknownTask if there is none, UntrustedPayload if its code is not what workers may run.
    """
    raw = attribute(class_of(subject), name)
    if raw is ABSENT or not is_method(raw):
        raise UnknownTask(f"{short(subject)} has no method {name} in this worker's code; {RESTART}, or deploy it")
    return judged(raw, subject, name, trust)


def judged(raw: Any, subject: object, name: str, trust: Trust) -> Any:
    """The method that an attribute *raw* of a class stands for. Raises UntrustedPayload."""
    if not trust.runs(raw):
        raise UntrustedPayload(f"{short(subject)}.{name} is not the application's own code: {reason(raw, name, trust)}")
    return bound(raw, subject)


def reason(raw: Any, name: str, trust: Trust) -> str:
    """Why a method may not be run, and what to do about it. Raises NotImportable where there is no module at all."""
    module = module_of(raw)
    # What was typed in says better why it is none that workers know.
    home(module)
    if not module or trust.owns(module):
        kind = "class" if is_class(raw) else qualname(type(raw))
        return (
            f"it is a {kind}, not a function, or it calls code of other packages; write a method that calls it: "
            f"def {name}(…)"
        )
    return f"it is defined in {module!r}; write a method of yours that calls it, or {trust.fix(module)}"


def hook_of(subject: object, name: str) -> Any:
    """A method that a custom job may have, as its class says; None if it has none."""
    raw = attribute(class_of(subject), name)
    return bound(raw, subject) if raw is not ABSENT and is_method(raw) and not is_class(raw) else None


def hooks_of(subject: object) -> list[tuple[str, Any]]:
    """The hooks that a custom job has, by their names, each as `hook_of` gives it."""
    found = attributes(class_of(subject), HOOKS)
    return [(name, bound(raw, subject)) for name, raw in found.items() if is_method(raw) and not is_class(raw)]


def check_hooks(subject: object, trust: Trust) -> None:
    """Raise UntrustedPayload if a custom job has a hook that workers may not run."""
    for name, raw in attributes(class_of(subject), HOOKS).items():
        if is_method(raw) and not trust.runs(raw):
            judged(raw, subject, name, trust)


def rules_of(subject: object, trust: Trust) -> Rules:
    """The rules that the class of a custom job states as attributes. Raises UntrustedPayload for a foreign backoff."""
    found = attributes(class_of(subject), RULES)
    given: dict[str, Any] = {name: raw for name, raw in found.items() if raw is not None}
    if "backoff" in given and is_method(given["backoff"]):
        given["backoff"] = judged(given["backoff"], subject, "backoff", trust)
    return Rules(**given) if given else NO_RULES


def on_the_object(subject: object, names: Sequence[str]) -> str | None:
    """By which of these *names* an object itself has something to call, which no worker would; None: by none."""
    own = None if is_class(subject) else instance_dict(subject)
    return next((name for name in names if name in own and callable(own[name])), None) if own else None


def class_of(subject: Any) -> type:
    """The class whose methods are those of *subject*: itself, if it is one."""
    return subject if is_class(subject) else type(subject)


def short(value: object) -> str:
    """A value for messages: its class, never its contents."""
    name = qualname(class_of(value))
    return name if is_class(value) else f"a {name}"
