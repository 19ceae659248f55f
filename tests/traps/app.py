"""An application full of traps: honest code of its own, and a library's within reach of it by every way there is."""

from __future__ import annotations

import enum
import functools
import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from os import system as os_system
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pydantic

import belayed
from belayed import handle_asynchronously, task

sys.path.insert(0, str(Path(__file__).parent / "site-packages"))
import traplib

sys.path.pop(0)

ran: list[str] = []
"""What of the application has run."""


def honest(*args: Any, **kwargs: Any) -> str:
    ran.append("honest")
    return "honest"


@task(name="traps.registered")
def registered(*args: Any, **kwargs: Any) -> str:
    ran.append("registered")
    return "registered"


# Names of this module that lead to what is not of it.

loads = pickle.loads
system = traplib.system
popen = os_system
importer = __import__
partial = functools.partial(traplib.system, "x")
armed = traplib.armed()
lying = functools.wraps(honest)(functools.partial(traplib.loads))
posing = functools.wraps(honest)(traplib.trapped(honest))
cached = functools.wraps(honest)(functools.cache(traplib.loads))
retried = traplib.retry(traplib.system)
Foreign = traplib.Dangerous
library = traplib
overloaded = functools.singledispatch(honest)
overloaded.register(str)(traplib.loads)
overloaded.__qualname__ = "overloaded"
anonymous = lambda *args: ran.append("anonymous")  # noqa: E731 - it has no name to call it by


class Moved(traplib.Base):
    """Nothing of it is written here but its name."""


traplib.Dangerous.__module__, traplib.Dangerous.__qualname__ = __name__, "Moved2"
Moved2 = traplib.Dangerous


def __getattr__(name: str) -> Any:
    if traplib.armed_now:
        traplib.spring(f"app.__getattr__({name})")
    raise AttributeError(name)


def logged(function: Any) -> Any:
    def logging(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return logging


class Names:
    """Attributes that are there to be called, and lead elsewhere."""

    read = staticmethod(pickle.loads)
    run = traplib.system
    shell = staticmethod(os_system)
    load = classmethod(traplib.loads)
    make = traplib.Dangerous
    own_class = Exception
    armed = traplib.armed()
    getter = traplib.Getter()
    setter = traplib.Setter()
    partial = functools.partial(traplib.system)
    partialmethod = functools.partialmethod(traplib.system, "x")
    bound = traplib.armed().__call__
    logged = logged(traplib.system)
    logged_object = logged(traplib.armed())
    wrapped = traplib.retry(traplib.loads)
    posing = functools.wraps(honest)(traplib.trapped(honest))
    cached = functools.wraps(honest)(functools.cache(traplib.loads))
    module = traplib
    overloaded = functools.singledispatchmethod(honest)
    pop = list.pop
    update = dict.update

    @property
    def asked(self) -> Any:
        ran.append("a property")
        return traplib.system

    @functools.cached_property
    def asked_once(self) -> Any:
        ran.append("a cached property")
        return traplib.system


Names.overloaded.register(str)(traplib.loads)


class Plain(Names, traplib.Base):
    """Rebuilt from its attributes."""

    def perform(self) -> str:
        ran.append("Plain.perform")
        return "performed"

    def greet(self, *args: Any) -> str:
        ran.append("Plain.greet")
        return "hello"

    @classmethod
    def opened(cls, *args: Any) -> str:
        ran.append("Plain.opened")
        return "opened"


@dataclass(eq=False, repr=False)
class Data(Names, traplib.Base):
    old: Any = None
    action: Callable[..., Any] = traplib.system

    def greet(self, *args: Any) -> str:
        ran.append("Data.greet")
        return "hello"

    def perform(self) -> str:
        ran.append("Data.perform")
        return "performed"


@dataclass
class Described(traplib.Base):
    """A field whose value a library takes."""

    lazily: Any = field(default=None)

    def greet(self, *args: Any) -> str:
        return "hello"


Described.lazily = traplib.Setter()


@attrs.define(eq=False, repr=False, slots=False)
class Defined(Names, traplib.Base):
    old: Any = None

    def greet(self, *args: Any) -> str:
        ran.append("Defined.greet")
        return "hello"

    def perform(self) -> str:
        ran.append("Defined.perform")
        return "performed"


class Named(NamedTuple):
    old: Any = None

    def greet(self, *args: Any) -> str:
        ran.append("Named.greet")
        return "hello"

    def perform(self) -> str:
        ran.append("Named.perform")
        return "performed"


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    old: Any = None
    _hidden: Any = pydantic.PrivateAttr(default=None)

    @pydantic.field_validator("old")
    @classmethod
    def checked(cls, value: Any) -> Any:
        if traplib.armed_now:
            traplib.spring("a validator")
        return value

    def greet(self, *args: Any) -> str:
        ran.append("Model.greet")
        return "hello"


class Colour(enum.Enum):
    RED = 1

    def greet(self, *args: Any) -> str:
        ran.append("Colour.greet")
        return "hello"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Odd(metaclass=traplib.Meta):
    """Its metaclass is the library's."""

    def perform(self) -> str:
        ran.append("Odd.perform")
        return "performed"


class Watched(traplib.Watcher):
    def perform(self) -> str:
        ran.append("Watched.perform")
        return "performed"

    def greet(self, *args: Any) -> str:
        ran.append("Watched.greet")
        return "hello"


class Ending(traplib.Finalized):
    def perform(self) -> str:
        ran.append("Ending.perform")
        return "performed"


class Hooking(traplib.Hooked):
    def perform(self) -> str:
        ran.append("Hooking.perform")
        return "performed"


class Idle(traplib.Base):
    """Its perform() is the library's."""


class Settings(dict):
    """A dict of the application's."""

    def perform(self) -> str:
        return "performed"


class Thread(threading.Thread):
    def greet(self, *args: Any) -> str:
        ran.append("Thread.greet")
        return "hello"


class Decorated:
    """Methods of its own, under decorators of libraries: they are to work."""

    @traplib.retry
    def retried(self) -> str:
        return "retried"

    @traplib.atomic()
    def atomic(self) -> str:
        return "atomic"

    @traplib.Wrapper
    def object(self) -> str:
        return "object"

    @traplib.retry
    @traplib.atomic()
    @logged
    def thrice(self) -> str:
        return "thrice"

    @functools.cache  # noqa: B019
    def cached(self) -> str:
        return "cached"

    @classmethod
    @traplib.retry
    def of_class(cls) -> str:
        return "of_class"

    @staticmethod
    @traplib.retry
    def static() -> str:
        return "static"

    @pydantic.validate_call
    def validated(self) -> str:
        return "validated"

    @functools.wraps(threading.Thread.run)
    def run(self) -> str:
        return "run"

    def _private(self) -> str:
        return "_private"

    lambda_ = lambda self: "lambda_"  # noqa: E731
    fixed = functools.partialmethod(lambda self, text: text, "fixed")
    renamed = _private

    @handle_asynchronously
    def handled(self) -> str:
        return "handled"


class Money:
    """Registered, and of the library's kind otherwise."""

    inherited = traplib.Base.inherited

    def __init__(self, cents: Any) -> None:
        self.cents = cents

    def greet(self, *args: Any) -> str:
        ran.append("Money.greet")
        return "hello"


class Row(traplib.Base):
    """A reference."""

    def greet(self, *args: Any) -> str:
        ran.append("Row.greet")
        return "hello"


ROWS = {1: Row()}

belayed.register(Money, name="traps.money", encode=lambda money: money.cents, decode=Money)
belayed.register_reference(
    Row, name="traps.row", key=lambda row: 1, load=lambda key: ROWS[1] if type(key) is int else None
)
