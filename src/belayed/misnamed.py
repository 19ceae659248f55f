"""An application that is not found, or cannot be imported: what was most likely meant, and what there is to do."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from types import ModuleType

from belayed.mistakes import nearest

LOOKED_AT = 1000
"""Files of a folder that are looked at for a module of a like name."""


def as_module(name: str, folder: Path, written: Callable[[str], str]) -> str | None:
    """What to do where a file was named as an application, such as `./shop/jobs.py`; None: no file was."""
    path, colon, attribute = name.partition(":")
    if (file := file_named(path, folder)) is None:
        return None
    root = start_for(file, folder)
    *packages, last = file.relative_to(root).parts
    word = re.sub(r"^(?=\d)|\W", "_", last.removesuffix(".py"))
    module = ".".join((*packages, word))
    command = written(f"{module}{colon}{attribute}")
    if word != last.removesuffix(".py"):
        renamed = word + last[len(last.removesuffix(".py")) :]
        return f"{last} is no name of a module: rename it {renamed}, then {command}"
    if root != folder:
        return f"it is in another folder: cd {quote(str(root))}, then {command}"
    how = "with dots" if packages and "/" in path else "without .py"
    return f"a module is named {how}: {command}"


def file_named(path: str, folder: Path) -> Path | None:
    """The file or the folder of a package that *path* is, with or without .py, where it is no name of a module."""
    bare = path.removesuffix(".py")
    if bare == path and is_dotted(path):
        return None
    for place in (folder / bare, folder.joinpath(*bare.split("."))):
        # Not resolved: a link has the name that it is imported by.
        base = Path(os.path.normpath(place))
        if (file := base.with_name(f"{base.name}.py")).is_file():
            return file
        if (base / "__init__.py").is_file():
            return base
    return None


def start_for(file: Path, folder: Path) -> Path:
    """The folder to start in, so that *file* is imported: this one, if it can be."""
    root = file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    between = root.relative_to(folder).parts if root.is_relative_to(folder) else ("..",)
    return folder if all(part.isidentifier() for part in between) else root


def is_dotted(module: str) -> bool:
    return all(part.isidentifier() for part in module.split("."))


def like(module: str, folder: Path) -> str | None:
    """The module in *folder* whose name is most like *module*."""
    package, _, last = module.rpartition(".")
    found = nearest(last, modules(folder.joinpath(*package.split("."))))
    return f"{package}.{found}" if package and found else found


def holder(module: str) -> tuple[ModuleType, str] | None:
    """The innermost module that is imported of those that *module* begins with, and the name that follows."""
    outer, _, inner = module.rpartition(".")
    while outer:
        if isinstance(found := sys.modules.get(outer), ModuleType):
            return found, inner
        outer, _, inner = outer.rpartition(".")
    return None


def submodule(found: object, module: str, attribute: str) -> str | None:
    """The module that is meant by `module:attribute`, if it is one within a package, with what follows."""
    first, dot, rest = attribute.partition(".")
    if not (hasattr(found, "__path__") and first.isidentifier()) or find_spec(f"{module}.{first}") is None:
        return None
    return f"{module}.{first}{':' if dot else ''}{rest}"


def modules(folder: Path) -> list[str]:
    """The modules and packages in a folder, by their files."""
    names = []
    try:
        for path in sorted(folder.iterdir())[:LOOKED_AT]:
            name = path.stem if path.suffix == ".py" else path.name if (path / "__init__.py").is_file() else ""
            if name.isidentifier() and not name.startswith("__"):
                names.append(name)
    except OSError:
        pass
    return names


def deeper(module: str, folder: Path) -> Path | None:
    """The folder just below in which *module* is."""
    top = module.partition(".")[0]
    try:
        below = [path for path in sorted(folder.iterdir())[:LOOKED_AT] if path.is_dir() and path.name[0] != "."]
    except OSError:
        return None
    return next((path for path in below if top in modules(path)), None)


def advice(error: BaseException) -> str:
    """What to do about an error that came of an import; empty: it says enough itself."""
    kind = type(error)
    if isinstance(error, SystemExit):
        return 'it exits when it is imported: put what it does as a program below if __name__ == "__main__":'
    if kind.__module__ == "django.core.exceptions" and kind.__name__ in ("ImproperlyConfigured", "AppRegistryNotReady"):
        return "a Django project is not set up here: use its own command, python manage.py belayed work"
    if "partially initialized module" in str(error):
        return "modules import one another in a circle: let one of them import inside the function that needs it"
    if isinstance(error, ModuleNotFoundError) and error.name:
        settings = os.environ.get("DJANGO_SETTINGS_MODULE", "")
        if f"{settings}.".startswith(f"{error.name}."):
            near = like(settings, Path.cwd())
            meant = f"did you mean {near}?" if near else "start where it is found, beside the project's manage.py"
            return (
                f"DJANGO_SETTINGS_MODULE is {settings!r}, and there is no module {error.name} in {Path.cwd()} or among "
                f"the installed packages; {meant}"
            )
        return (
            f"{error.name.partition('.')[0]} is not installed for {sys.executable}: install it there, or start this "
            "command from the application's own environment"
        )
    if isinstance(error, KeyError) and came_from_environment(error):
        return f"the variable {error.args[0]} is not set where this command runs: {error.args[0]}=… before it"
    return ""


def came_from_environment(error: BaseException) -> bool:
    entry = error.__traceback__
    while entry is not None and entry.tb_next is not None:
        entry = entry.tb_next
    return entry is not None and entry.tb_frame.f_code is type(os.environ).__getitem__.__code__
