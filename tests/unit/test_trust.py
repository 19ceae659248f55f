"""Names of code, and which code may be run."""

from __future__ import annotations

import functools
import sys
import timeit
from collections import namedtuple
from collections.abc import Iterator
from os import system  # noqa: F401 - it lies in this module and is not of it
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from belayed.errors import BrokenPayload, ConfigError, NotImportable, NotTrusted, UnknownTask, UntrustedPayload
from belayed.trust import Trust, name_of, resolve

HERE = __name__


def logged(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    wrapper.original = function
    return wrapper


@logged
def decorated() -> None:
    """Reached by its name is the wrapper."""


def function() -> None:
    """A function of a module."""


renamed = function


class Class:
    def method(self) -> None:
        """A method."""

    @classmethod
    def make(cls) -> None:
        """A class method."""

    class Inner:
        """A class in a class."""


class Child(Class):
    """It inherits `make`."""


Renamed = Class
Class.Moved = Child


def shadowed() -> str:
    return "first"


first = shadowed


class shadowed:  # noqa: N801 - it takes the name of the function
    """Another of the same name."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that programs are imported from; what was imported is forgotten."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.dj(34)
@pytest.mark.parametrize(
    ("obj", "name"),
    [
        (function, "function"),
        (decorated, "decorated"),
        (decorated.original, "decorated"),
        (Class, "Class"),
        (Class.Inner, "Class.Inner"),
        (Class.method, "Class.method"),
        (Class.make, "Class.make"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_name_leads_back_to_what_it_names(obj, name):
    found = name_of(obj)

    assert found == f"{HERE}:{name}"
    assert resolve(found, Trust()) in (obj, decorated)


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (lambda: 0, "a worker cannot import a lambda; write a function"),
        (logged(function), None),
        (Child.make, "is not the method that was given"),
        (Class().method, "is a method of one object; pass the object"),
        ([].append, "has no name to import it by; use a function or class of a module"),
        (functools.partial(function), "has no name to import it by"),
        (list[int], "has no name to import it by"),
        (5, "5 has no name to import it by"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_imported_by_name_has_none(obj, message):
    if message is None:
        assert name_of(obj) == f"{HERE}:function"
        return

    with pytest.raises(NotImportable, match=message):
        name_of(obj)


@pytest.mark.parametrize("obj", [first, decorated.original], ids=["shadowed", "decorated"])
def test_an_exact_name_leads_to_nothing_else(obj):
    with pytest.raises(NotImportable, match=r"is not the function that was given, but <.*; bind it to its own name"):
        name_of(obj, exact=True)


@pytest.mark.dj(34)
def test_what_is_defined_in_a_function_has_no_name():
    def local() -> None:
        """It is gone when the test is."""

    with pytest.raises(NotImportable, match=r"is defined inside a function, .* move it to the top level of its module"):
        name_of(local)


def test_a_function_of_a_module_that_nobody_can_import_has_no_name():
    namespace: dict[str, Any] = {"__name__": "made_up"}
    exec("def made(): pass", namespace)

    with pytest.raises(NotImportable, match="made_up:made is not the function that was given, but None"):
        name_of(namespace["made"])


@pytest.mark.parametrize(
    "attribute", ["system", "sys.exit", "Child.make", "Class.__class__", "sys", "Trust", "decorated.original"]
)
def test_only_what_a_module_defines_is_reached_through_it(attribute):
    with pytest.raises(UntrustedPayload, match="not defined"):
        resolve(f"{HERE}:{attribute}", Trust())


@pytest.mark.parametrize(("old", "new"), [("renamed", function), ("Renamed", Class), ("Class.Moved", Child)])
def test_a_name_that_a_rename_has_left_leads_to_what_can_be_named_anyway(old, new):
    assert resolve(f"{HERE}:{old}", Trust()) is new


def test_a_name_that_a_move_has_left_leads_to_what_is_trusted_where_it_is(package):
    (package / "shop_app.py").write_text("from shop_jobs import Job, run")
    (package / "shop_jobs.py").write_text("class Job: pass\ndef run(): pass")

    assert resolve("shop_app:run", Trust()) is sys.modules["shop_jobs"].run
    assert resolve("shop_app:Job", Trust()) is sys.modules["shop_jobs"].Job
    with pytest.raises(UntrustedPayload, match="only found there"):
        resolve("shop_app:run", Trust(["shop_app"]))


@pytest.mark.parametrize(
    "name", ["", "os", "os:", ":x", "os.system", "a b:c", "a:b:c", "a.:b", "a:<lambda>", 5, None, ["a"]]
)
def test_what_is_no_name_is_broken(name):
    with pytest.raises(BrokenPayload, match="a name is written module:qualname"):
        resolve(name, Trust())


@pytest.mark.parametrize("name", ["os:system", "builtins:eval", "pytest:main", "belayed.codec:Codec", "__main__:main"])
def test_code_of_others_is_not_trusted(name):
    trust = Trust()

    with pytest.raises(UntrustedPayload, match=r"if they should, configure\(trust=\['"):
        resolve(name, trust)
    with pytest.raises(NotTrusted, match=f"{name}: workers may not run code of '{name.partition(':')[0]}'"):
        trust.require(name)


def test_untrusted_code_is_not_imported(package):
    (package / "bait.py").write_text("raise SystemExit('imported')")

    with pytest.raises(UntrustedPayload):
        resolve("bait:function", Trust(["shop"]))

    assert "bait" not in sys.modules


@pytest.mark.parametrize(
    ("module", "covered"),
    [
        ("shop.jobs", True),
        ("shop.jobs.mail", True),
        ("shop.jobsx", False),
        ("shop", False),
        ("app.x", True),
        (HERE, False),
    ],
)
def test_named_packages_cover_themselves_and_what_is_below(module, covered):
    trust = Trust(["shop.jobs", "app"])

    assert trust.covers(module) is covered


def test_an_added_package_is_covered_too():
    trust = Trust()

    trust.add("pytest")

    assert trust.covers("pytest.plugins")
    assert trust.covers(HERE)
    assert not trust.covers("_pytest")


@pytest.mark.parametrize("packages", ["app", ["my-app"], [""], [5]])
def test_a_package_that_is_no_name_is_refused(packages):
    with pytest.raises(ConfigError, match="trust"):
        Trust(packages)


def test_a_namespace_package_is_judged_by_where_it_lies(package):
    (package / "own_space").mkdir()
    (package / "site-packages" / "their_space").mkdir(parents=True)
    sys.path.insert(0, str(package / "site-packages"))
    trust = Trust()

    covered = [trust.covers(f"{name}.module") for name in ("own_space", "their_space")]

    sys.path.remove(str(package / "site-packages"))
    assert covered == [True, False]


def test_a_package_linked_into_site_packages_is_not_the_applications(package):
    (package / "cache" / "linked").mkdir(parents=True)
    (package / "cache" / "linked" / "__init__.py").touch()
    (package / "site-packages").mkdir()
    (package / "site-packages" / "linked").symlink_to(package / "cache" / "linked")
    sys.path.insert(0, str(package / "site-packages"))

    covered = Trust().covers("linked")

    sys.path.remove(str(package / "site-packages"))
    assert not covered


def test_a_module_without_a_file_is_not_the_applications(monkeypatch):
    monkeypatch.setitem(sys.modules, "made_up", ModuleType("made_up"))

    assert not Trust().covers("made_up")


@pytest.mark.dj(217)
@pytest.mark.parametrize(
    ("source", "message", "cause"),
    [
        (
            None,
            "finds no module shop_app.*No module named 'shop_app'.*start it where the module can be",
            ModuleNotFoundError,
        ),
        ("import no_such_library", "cannot import shop_app .*No module named 'no_such_library'", ModuleNotFoundError),
        ("from os import no_such", "ImportError: cannot import name 'no_such'", ImportError),
        ("1 / 0", "ZeroDivisionError: division by zero", ZeroDivisionError),
        ("raise SystemExit(3)", "SystemExit: 3", SystemExit),
        ("(", "SyntaxError", SyntaxError),
        ("", "this worker's shop_app has no run", AttributeError),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("packages", [None, ["shop_app"]])
def test_a_name_that_this_worker_cannot_import_is_unknown_with_its_cause(package, source, message, cause, packages):
    if source is not None:
        (package / "shop_app.py").write_text(source)

    with pytest.raises(UnknownTask, match=message) as caught:
        resolve("shop_app:run", Trust(packages))

    assert type(caught.value.__cause__) is cause


def test_what_was_resolved_is_remembered_until_it_is_forgotten(package):
    (package / "shop_app.py").write_text("def run(): pass")
    trust = Trust()
    first_found = resolve("shop_app:run", trust)

    del sys.modules["shop_app"]
    remembered = resolve("shop_app:run", trust)
    trust.forget()
    anew = resolve("shop_app:run", trust)

    assert remembered is first_found
    assert anew is not first_found


def test_a_repeated_resolve_costs_next_to_nothing():
    trust = Trust()
    name = f"{HERE}:function"
    resolve(name, trust)

    seconds = min(timeit.repeat(lambda: resolve(name, trust), number=1000, repeat=5)) / 1000

    # Well under 1 µs where nothing else runs; an import or a look at the path takes a hundred times as long.
    assert seconds < 10e-6


def test_a_named_tuple_that_has_no_name_of_its_own_is_answered_with_plain_values():
    row = namedtuple("Row", ["id", "title"])  # noqa: PYI024 (as libraries make it)

    with pytest.raises(NotImportable, match=r"but None; pass tuple\(x\) or x\._asdict\(\), or bind it to its own name"):
        name_of(row)
