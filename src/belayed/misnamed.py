"""An application that is not found, or cannot be imported: what was most likely meant, and what there is to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path, PurePosixPath

from belayed.mistakes import nearest

LOOKED_AT = 1000
"""Files of a folder that are looked at for a module of a like name."""


def as_module(name: str, folder: Path) -> str | None:
    """The name of the module in a file that was named as one, such as `./shop/jobs.py`; None: it was not."""
    path, colon, attribute = name.partition(":")
    if "/" not in path and not path.endswith(".py"):
        return None
    bare = path.removesuffix(".py")
    module = ".".join(PurePosixPath(bare).parts)
    is_there = (folder / f"{bare}.py").is_file() or (folder / bare / "__init__.py").is_file()
    return f"{module}{colon}{attribute}" if is_there and is_dotted(module) else None


def is_dotted(module: str) -> bool:
    return all(part.isidentifier() for part in module.split("."))


def like(module: str, folder: Path) -> str | None:
    """The module in *folder* whose name is most like *module*."""
    package, _, last = module.rpartition(".")
    found = nearest(last, modules(folder.joinpath(*package.split("."))))
    return f"{package}.{found}" if package and found else found


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
