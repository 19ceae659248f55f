"""Names of code, and which code workers may import and run."""

from __future__ import annotations

import importlib
import reprlib
import site
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, GenericAlias, MethodType, ModuleType
from typing import Any, NamedTuple

from belayed.definitions import (
    ABSENT,
    attribute,
    bound,
    holders,
    instance_dict,
    is_class,
    is_own,
    is_own_class,
    module_of,
    read,
)
from belayed.errors import BrokenPayload, ConfigError, NotImportable, NotTrusted, UnknownTask, UntrustedPayload
from belayed.importing import warn, watched
from belayed.mistakes import RESTART

# multiprocessing's spawn runs the parent's script under the second name.
_MAIN = ("__main__", "__mp_main__")


class Main(NamedTuple):
    """The module that runs as `__main__`, as a worker started in `directory` imports it."""

    name: str
    file: str
    directory: str


class Trust:
    """Which packages workers may import code from: those named, or else the application's own.

    The application's own packages are the top-level ones found neither in the standard library nor in a
    site-packages or dist-packages directory, and those that `add` was given.
    """

    def __init__(self, packages: Iterable[str] | None = None) -> None:
        if isinstance(packages, str):
            raise ConfigError(f"trust {packages!r} is a string; write a list of packages: trust=[{packages!r}]")
        self.given = packages is not None
        """Whether packages were named: then they are all that is covered, and `--app` adds none."""
        self._prefixes: set[str] = set()
        self._covered: set[str] = set()
        self._foreign: set[str] = set()
        self.resolved: dict[str, object] = {}
        self._judged: dict[object, bool] = {}
        for package in packages or ():
            self.add(package)

    def add(self, package: str) -> None:
        """Cover *package* (a dotted name) and everything below it too."""
        if not _dotted(package):
            raise ConfigError(f"trust {package!r} is not the name of a package; write it as in an import: 'shop.jobs'")
        self._prefixes.add(package)
        self._judged.clear()

    def covers(self, module: str) -> bool:
        """Whether code of *module* may be run. Nothing is imported to find out."""
        top = module.partition(".")[0]
        if top in self._covered:
            return True
        if not self.given and top not in self._foreign:
            if _is_own(top):
                self._covered.add(top)
                return True
            if top in sys.modules:
                # What is not there yet may come.
                self._foreign.add(top)
        return any(module == prefix or module.startswith(prefix + ".") for prefix in self._prefixes)

    def check(self, name: str) -> None:
        """Raise UntrustedPayload unless *name* ("module:qualname", or a module) is covered: the worker's side."""
        if not self.covers(name.partition(":")[0]):
            raise UntrustedPayload(self.refusal(name))

    def require(self, name: str) -> None:
        """Raise NotTrusted unless *name* ("module:qualname", or a module) is covered: the enqueueing side."""
        if not self.covers(name.partition(":")[0]):
            raise NotTrusted(self.refusal(name))

    def refusal(self, name: str) -> str:
        module = name.partition(":")[0]
        return f"{name}: workers may not run code of {module!r}; {self.fix(module)}"

    def owns(self, module: str) -> bool:
        """As `covers`, of the name that a module goes by in this process."""
        try:
            return self.covers(home(module))
        except NotImportable:
            return False

    def runs(self, found: object) -> bool:
        """Whether workers may call *found*: by where the function was written that will run, through all decorators."""
        if type(found) in (classmethod, staticmethod):
            found = found.__func__  # type: ignore[attr-defined]
        if type(found) is not FunctionType:
            # Anything else may have a hash and an equality of its own.
            return is_own(found, self.owns)
        verdict = self._judged.get(found)
        if verdict is None:
            verdict = self._judged[found] = is_own(found, self.owns)
        return verdict

    def rebuilds(self, cls: type) -> bool:
        """Whether workers may make an object of *cls* from a row: what runs at its end is trusted, too."""
        finalizer = attribute(cls, "__del__")
        return finalizer is ABSENT or self.runs(finalizer)

    def absent(self, module: str) -> bool:
        """Whether *module* is covered by no rule only because its top-level package cannot be found here."""
        return not self.given and not self.covers(module) and _locations(module.partition(".")[0]) is None

    def forget(self) -> None:
        """Forget what was resolved and which packages were found to be the application's own."""
        self.resolved.clear()
        self._covered.clear()
        self._foreign.clear()
        self._judged.clear()

    def fix(self, module: str) -> str:
        top = module.partition(".")[0]
        named = ", ".join(repr(package) for package in sorted({*self._prefixes, top}))
        return f"if they should, configure(trust=[{named}{', …' if not self.given else ''}])"


def name_of(obj: object, *, exact: bool = False) -> str:
    """The "module:qualname" by which a worker can import *obj*, a function or a class.

    The name may lead to what decorates *obj*, unless it must be *exact*. Raises NotImportable.
    """
    name = declared_name(obj)
    module, qualname = obj.__module__, name.partition(":")[2]
    found: object = sys.modules.get("__main__" if module in _MAIN else module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not _leads_back(found, obj, exact):
        # A named tuple that a library or a function has made has no other name.
        plain = "pass tuple(x) or x._asdict(), or " if isinstance(obj, type) and hasattr(obj, "_asdict") else ""
        raise NotImportable(
            f"{name} is not the {type(obj).__name__} that was given, but {reprlib.repr(found)}; "
            f"{plain}bind it to its own name in its module"
        )
    return name


def declared_name(obj: object) -> str:
    """The "module:qualname" that *obj* was defined by, not yet looked up. Raises NotImportable."""
    module, qualname = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or type(obj) is GenericAlias:
        raise NotImportable(f"{reprlib.repr(obj)} has no name to import it by; use a function or class of a module")
    if "<lambda>" in qualname:
        raise NotImportable(f"{module}.{qualname}: a worker cannot import a lambda; write a function: def name(…)")
    if "<locals>" in qualname:
        raise NotImportable(
            f"{module}.{qualname} is defined inside a function, where a worker cannot import it; "
            "move it to the top level of its module"
        )
    if type(obj) is MethodType and not isinstance(obj.__self__, type):
        raise NotImportable(
            f"{module}.{qualname} is a method of one object; pass the object, and call the method in the job"
        )
    if any(part.startswith("__") for part in qualname.split(".")):
        raise NotImportable(f"{module}.{qualname} is a name that workers do not look up; give it one without the __")
    if not _dotted(qualname):
        raise NotImportable(f"{module}.{qualname} has no importable name; give it one: class Name({qualname}): …")
    return f"{running_main().name if module in _MAIN else module}:{qualname}"


def resolve(name: str, trust: Trust, *, remember: bool = True) -> object:
    """The function or class called *name* ("module:qualname"), imported if *trust* covers it.

    Workers *remember* it, as their code stays what it is. Raises UntrustedPayload before anything is imported, and for
    what only lies in a covered module without being defined there; UnknownTask with the real cause; BrokenPayload for
    what is no name.
    """
    if remember and type(name) is str and (known := trust.resolved.get(name)) is not None:
        return known
    module, qualname = _split(name)
    if trust.absent(module):
        missing = ModuleNotFoundError(f"No module named {module.partition('.')[0]!r}", name=module)
        raise UnknownTask(_unknown(name, module, missing)) from missing
    trust.check(name)
    root = _import(name, module)
    found = _found(name, root, qualname, trust)
    if not (_is_at_home(found, module, qualname, root) or _is_known_elsewhere(found, trust)):
        raise UntrustedPayload(f"{name} is not defined in {module}, but only found there; name it by its own module")
    if is_class(found) and not is_own_class(found, trust.owns):
        raise UntrustedPayload(
            f"{name} is not defined in {module}, whatever it says: its methods were written elsewhere"
        )
    if not is_class(found) and not trust.runs(found):
        origin = module_of(found)
        where = "in part elsewhere" if trust.owns(origin) else f"in {origin!r}; {trust.fix(origin)}"
        raise UntrustedPayload(f"{name} is not defined in {module}, whatever it says, but {where}")
    if remember:
        trust.resolved[name] = found
    return found


def _found(name: str, root: ModuleType, qualname: str, trust: Trust) -> Any:
    """What a qualified name leads to from a module: through classes only, and without asking any code for it."""
    module = name.partition(":")[0]
    found: Any = root
    for part in qualname.split("."):
        if part.startswith("__"):
            raise UntrustedPayload(f"{name} names an attribute of Python's own, which is not defined in {module}")
        if found is root:
            raw = (instance_dict(root) or {}).get(part, ABSENT)
        elif is_class(found):
            raw = attribute(found, part)
        else:
            kind = "imported" if issubclass(type(found), ModuleType) else "no class"
            raise UntrustedPayload(f"{name} leads through what is {kind}; what is in it is not defined in {module}")
        if raw is ABSENT:
            error = AttributeError(f"{part!r} is not there")
            raise UnknownTask(
                f"{name}: this worker's {module} has no {qualname} ({error}); {RESTART}, or deploy the code that has it"
            ) from error
        # Only what is trusted is asked what it is on its class: a property, say, would run.
        in_class = found is not root and type(raw) is not FunctionType and not is_class(raw)
        found = bound(raw, found) if in_class and trust.runs(raw) else raw
    return found


def _place(found: Any) -> tuple[Any, Any]:
    """The module and the qualified name that *found* goes by."""
    if type(found) is MethodType:
        found = found.__func__
    function = holders[type(found)](found) if type(found) in holders else found
    return read(function, "__module__"), read(function, "__qualname__")


def _is_at_home(found: object, module: str, qualname: str, root: ModuleType) -> bool:
    owner, own_name = _place(found)
    in_main = root is sys.modules.get("__main__") and owner in _MAIN
    return (owner == module or in_main) and own_name == qualname


def _is_known_elsewhere(found: object, trust: Trust) -> bool:
    """Whether a row could name it by where it is defined: then this name, left by a rename or a move, opens nothing."""
    module, qualname = _place(found)
    if not (isinstance(module, str) and isinstance(qualname, str) and trust.owns(module)):
        return False
    root = sys.modules.get("__main__" if module in _MAIN else module)
    try:
        there = root and _found(f"{module}:{qualname}", root, qualname, trust)
    except (UntrustedPayload, UnknownTask):
        return False
    # Each look-up of a class method makes a new, equal object.
    return there is found or (type(found) is MethodType and type(there) is MethodType and there == found)


def home(module: str) -> str:
    """The name by which a worker imports *module*, which may be the running script. Raises NotImportable."""
    return running_main().name if module in _MAIN else module


def running_main() -> Main:
    """How a worker imports the module that runs as `__main__`. Raises NotImportable where it cannot."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if file is None or file.startswith("<"):
        raise NotImportable(
            "a worker cannot import what was typed in (a prompt, a notebook, python -c or standard input); "
            "put it in a module"
        )
    path = Path(file).absolute()
    if spec is not None and spec.name not in _MAIN:
        return Main(spec.name, str(path), str(Path.cwd()))
    if path.stem in _MAIN:
        raise NotImportable(f"a worker cannot import {path} by a name; put the code in another module of its package")
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise NotImportable(f"a worker cannot import {path}; rename the file to a Python name that ends in .py")
    return Main(path.stem, str(path), str(path.parent))


def _dotted(text: object) -> bool:
    return isinstance(text, str) and all(part.isidentifier() for part in text.split("."))


def _split(name: object) -> tuple[str, str]:
    if type(name) is str:
        module, _, qualname = name.partition(":")
        if _dotted(module) and _dotted(qualname):
            return module, qualname
    # Anything but text may be an object out of a row, whose repr may be anybody's code.
    shown = reprlib.repr(name) if type(name) in (str, int, type(None)) else f"a {read(type(name), '__qualname__')}"
    raise BrokenPayload(f"{shown} names no code; a name is written module:qualname")


def _leads_back(found: object, obj: object, exact: bool) -> bool:
    # Each look-up of a class method makes a new, equal object.
    if found is obj or (type(obj) is MethodType and found == obj):
        return True
    if exact or found is None or type(obj) is MethodType:
        return False
    same = [getattr(found, attribute, None) == getattr(obj, attribute) for attribute in ("__module__", "__qualname__")]
    return getattr(found, "__wrapped__", None) is obj or all(same)


def _import(name: str, module: str) -> ModuleType:
    try:
        if running_main().name == module:
            return sys.modules["__main__"]
    except NotImportable:
        pass
    try:
        for index, char in enumerate(module):
            if char == "." and "__path__" not in (instance_dict(importlib.import_module(module[:index])) or {}):
                # The import system would ask the module for it, which may have a __getattr__.
                raise ModuleNotFoundError(
                    f"No module named {module!r}; {module[:index]!r} is not a package", name=module
                )
        if module in sys.modules:
            return importlib.import_module(module)
        try:
            with watched(module):
                return importlib.import_module(module)
        finally:
            warn()
    # A script without an `if __name__ == "__main__"` may well exit when it is imported.
    except (Exception, SystemExit) as error:
        raise UnknownTask(_unknown(name, module, error)) from error


def _unknown(name: str, module: str, error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return f"{name}: this worker finds no module {module} ({text}); start it where the module can be imported"
    return f"{name}: this worker cannot import {module} ({text}); mend that and start it again"


def is_of_application(module: str) -> bool:
    """Whether a module is neither of the standard library nor of a package that was installed, nor Belayed's."""
    try:
        return _is_own(home(module).partition(".")[0])
    except NotImportable:
        return True


def _is_own(top: str) -> bool:
    # Belayed itself never counts: it would, when run from a source tree, and then tests and production would differ.
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return False
    locations = _locations(top)
    return bool(locations) and not any(_is_foreign(location) for location in locations or ())


def _locations(top: str) -> list[str] | None:
    """Where the files of the top-level module *top* are; empty if it has none; None if there is no such module."""
    try:
        main = running_main()
        if main.name == top:
            return [main.file]
    except NotImportable:
        pass
    if not top.isidentifier() or top in _MAIN:
        return []
    try:
        spec = find_spec(top)
    except (ValueError, ImportError, AttributeError):
        return []
    if spec is None:
        return None
    if spec.has_location and spec.origin:
        return [spec.origin]
    return list(spec.submodule_search_locations or ())


def _is_foreign(location: str) -> bool:
    # Both spellings: installers link site-packages to a cache elsewhere, and virtual environments to their base.
    for path in {Path(location).absolute(), Path(location).resolve()}:
        if not {"site-packages", "dist-packages"}.isdisjoint(path.parts):
            return True
        if any(path.is_relative_to(folder) for folder in _foreign_folders()):
            return True
    return False


@cache
def _foreign_folders() -> frozenset[Path]:
    paths = sysconfig.get_paths()
    folders = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    return frozenset(spelled for folder in folders for spelled in (Path(folder).absolute(), Path(folder).resolve()))
