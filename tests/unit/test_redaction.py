"""Secrets are hidden by the names of arguments, also by position: as the code that is called names them."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from belayed import handle_asynchronously, register, register_reference, task
from belayed.codec import Codec
from belayed.payload import FunctionCall, MethodCall, performance
from belayed.redaction import nameless, redacted
from belayed.tasks import Task
from belayed.trust import Trust, name_of

NAMES = ("password", "token")
codec = Codec(Trust(["tests"]))


def mute(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that says nothing of what it calls."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


@task(name="redaction.log_in", aliases=["redaction.sign_in"])
def log_in(name: str, password: str) -> None: ...


def plain(name: str, password: str) -> None: ...


def optional(name: str, user: str = "", password: str = "", *, token: str = "") -> None: ...


def more(name: str, *tokens: str, user: str = "") -> None: ...


def only(name: str, *, token: str) -> None: ...


def anything(name: str, *rest: str, **others: str) -> None: ...


@logged
def wrapped(name: str, password: str) -> None: ...


@handle_asynchronously
def handled(name: str, password: str) -> None: ...


@functools.singledispatch
def dispatched(name: object, user: str) -> None: ...


@dispatched.register
def _(name: str, password: str) -> None: ...


@dataclass
class Account:
    owner: str
    password: str = "s3cret"

    def open(self, name: str, password: str) -> None: ...

    @classmethod
    def made(cls, name: str, password: str) -> None: ...

    @staticmethod
    def checked(name: str, password: str) -> None: ...

    @logged
    def wrapped(self, name: str, password: str) -> None: ...

    @mute
    def muted(self, name: str, password: str) -> None: ...

    @handle_asynchronously
    def later(self, name: str, password: str) -> None: ...

    @handle_asynchronously
    @classmethod
    def later_made(cls, name: str, password: str) -> None: ...

    @handle_asynchronously
    @staticmethod
    def later_checked(name: str, password: str) -> None: ...

    def full(self, kind: str, name: str, password: str) -> None: ...

    half = functools.partialmethod(full, "kind")

    @functools.singledispatchmethod
    def single(self, name: object, user: str) -> None: ...

    @single.register
    def _(self, name: str, password: str) -> None: ...


class Savings(Account):
    pass


class Service:
    def call(self, name: str, password: str) -> None: ...

    class Inner:
        def call(self, name: str, password: str) -> None: ...


class Row:
    """Kept elsewhere: it travels as its key, and nothing says of which class it is."""

    def __init__(self, key: int = 1) -> None:
        self.key = key

    def unlock(self, name: str, code: str) -> None: ...


class Vault(Row):
    def unlock(self, name: str, password: str) -> None: ...

    def bolt(self, name: str, password: str) -> None: ...


class Known(Row):
    """As Row, but its key says the class."""


class KnownVault(Known):
    def unlock(self, name: str, password: str) -> None: ...


class Money:
    def pay(self, name: str, password: str) -> None: ...


@dataclass
class Newsletter:
    name: str
    password: str

    def perform(self) -> None: ...


class Loose:
    def __init__(self, name: str, password: str) -> None:
        self.name, self.password = name, password
        self.me = [{"token": password}]

    def perform(self) -> None: ...


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    register_reference(Row, name="redaction.row", key=lambda row: row.key, load=Row)
    register_reference(Known, name="redaction.known", key=lambda row: 1, load=Known, kind=lambda key: KnownVault)
    register(Money, name="redaction.money", encode=lambda money: 1, decode=lambda plain: Money())


def function_call(found: Any, *args: Any, **kwargs: Any) -> str:
    ref = name_of(found.function if isinstance(found, Task) else found)
    return FunctionCall("", ref, args, kwargs, found.name if isinstance(found, Task) else None).write(codec)


def method_call(subject: Any, method: str, *args: Any, **kwargs: Any) -> str:
    return MethodCall("", subject, method, args, kwargs).write(codec)


def shown(text: str) -> Any:
    return json.loads(redacted(text, NAMES)).get("args")


@pytest.mark.parametrize("function", [log_in, plain, wrapped, handled.function, dispatched, Account.checked])
def test_arguments_of_a_function_have_its_names(function):
    text = function_call(function, "ada", "s3cret")

    assert shown(text) == ["ada", "***"]
    assert not nameless(text)


@pytest.mark.parametrize(
    ("subject", "method"),
    [
        *[(Account("x"), name) for name in ("open", "made", "checked", "wrapped", "later", "later_made", "half")],
        *[(Account("x"), name) for name in ("later_checked", "single")],
        (Account, "made"),
        (Account, "checked"),
        (Account, "later_made"),
        (Savings("x"), "open"),
        (Service(), "call"),
        (Service.Inner(), "call"),
        (Row(), "unlock"),
        (Vault(), "bolt"),
        (KnownVault(), "unlock"),
        (Money(), "pay"),
    ],
)
def test_arguments_of_a_method_have_the_names_that_it_gives_them(subject, method):
    text = method_call(subject, method, "ada", "s3cret")

    assert shown(text) == ["ada", "***"]
    assert "s3cret" not in redacted(text, NAMES)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "found"),
    [
        (optional, ("ada",), {"token": "s3cret"}, ["ada"]),
        (optional, ("ada", "bob"), {"password": "s3cret"}, ["ada", "bob"]),
        (optional, ("ada", "bob", "s3cret"), {}, ["ada", "bob", "***"]),
        (more, ("ada",), {}, ["ada"]),
        (more, ("ada", "s3cret", "s3cret"), {"user": "bob"}, ["ada", "***", "***"]),
        (only, ("ada",), {"token": "s3cret"}, ["ada"]),
        (anything, ("ada", "bob", "eve"), {"a-token": "s3cret"}, ["ada", "bob", "eve"]),
        (plain, (), {"name": "ada", "password": "s3cret"}, []),
    ],
)
def test_some_positions_more_of_them_and_keywords(function, args, kwargs, found):
    text = function_call(function, *args, **kwargs)

    assert shown(text) == found
    assert "s3cret" not in redacted(text, NAMES)


def test_what_a_saved_call_gives_too_much_has_no_name():
    """The row is older than the code: what it would take by keyword only is not given by position."""
    for function in (only, plain):
        text = json.dumps({"v": 1, "call": name_of(function), "args": ["ada", "s3cret", "s3cret"], "kwargs": {}})

        assert shown(text) == ["ada", "***", "***"]


def test_a_task_is_found_by_its_alias_and_by_what_runs_rather_than_by_what_the_column_says():
    for name in ("redaction.log_in", "redaction.sign_in"):
        text = json.dumps({"v": 1, "call": "gone:log_in", "task": name, "args": ["ada", "s3cret"], "kwargs": {}})

        assert shown(text) == ["ada", "***"]


def test_code_with_a_decorator_that_hides_names_shows_none():
    assert shown(method_call(Account("x"), "muted", "ada", "s3cret")) == ["***", "***"]


@pytest.mark.parametrize("subject", [Newsletter("ada", "s3cret"), Loose("ada", "s3cret")])
def test_fields_of_custom_jobs_are_hidden_by_their_names(subject):
    text = redacted(performance(subject).write(codec), NAMES)

    assert "s3cret" not in text
    assert "ada" in text


HERE = __name__
UNFOUND = [
    {"call": f"{HERE}:nothing"},
    {"call": "nowhere:log_in"},
    {"call": "antigravity:fly"},
    {"call": "math:hypot"},
    {"call": 7},
    {},
    {"task": ["unhashable"], "call": f"{HERE}:nothing"},
    {"method": "open", "of": f"{HERE}:Nothing"},
    {"method": "nothing", "of": f"{HERE}:Account"},
    {"method": 7, "of": f"{HERE}:Account"},
    {"method": "open", "self": 7},
    {"method": "open", "self": {"$": "nobody", "v": 1}},
    {"method": "open", "self": {"$": "name", "v": None}},
    {"method": "open", "self": {"$": "dataclass", "v": []}},
    {"method": "open", "self": {"$": ["name"], "v": 1}},
    {"method": "log_in", "self": {"$": "name", "v": f"{HERE}:plain"}},
]


@pytest.mark.parametrize("envelope", UNFOUND)
def test_code_that_cannot_be_found_shows_no_position_and_hides_by_name(envelope):
    text = json.dumps({"v": 1, **envelope, "args": ["s3cret", {"x": 1}], "kwargs": {"token": "s3cret", "name": "ada"}})

    found = redacted(text, NAMES)

    assert shown(text) == ["***", "***"]
    assert "s3cret" not in found
    assert '"name":"ada"' in found
    assert nameless(text)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("args", ["s3cret", {"$": "tuple", "v": ["s3cret"]}, {"name": "s3cret"}])
def test_arguments_that_are_not_a_list_are_hidden(args):
    assert "s3cret" not in redacted(json.dumps({"v": 1, "call": f"{HERE}:plain", "args": args, "kwargs": {}}), NAMES)


def test_a_class_whose_kind_raises_shows_no_position():
    class Odd:
        pass

    def kind(key: Any) -> type:
        raise SystemError(key)

    register_reference(Odd, name="redaction.odd", key=id, load=Row, kind=kind)
    text = json.dumps({"v": 1, "self": {"$": "redaction.odd", "v": 1}, "method": "open", "args": ["s3cret"]})

    assert shown(text) == ["***"]
