"""What a test leaves behind in its process is gone before the next one begins."""

from __future__ import annotations

import asyncio
import gc
import logging
import logging.config
import os
import signal
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from belayed.config import current
from belayed.safelog import log
from tests import leavings
from tests.leavings import put_back

BELAYED = logging.getLogger("belayed")


def imports_app(tmp_path: Path) -> None:
    (tmp_path / "left_app.py").write_text("")
    sys.path.insert(0, str(tmp_path))
    __import__("left_app")


def changes_variables(_: Path) -> None:
    os.environ["BELAYED_URL"] = "sqlite:///left.db"
    os.environ.pop("PATH")


LEFT: dict[str, Callable[[Path], Any]] = {
    "a level": lambda _: BELAYED.setLevel(logging.INFO),
    "a level of the root": lambda _: logging.root.setLevel(logging.ERROR),
    "a handler": lambda _: BELAYED.addHandler(logging.NullHandler()),
    "a filter": lambda _: BELAYED.addFilter(lambda record: False),
    "no propagation": lambda _: setattr(BELAYED, "propagate", False),
    "a logger of its own": lambda _: logging.getLogger(f"belayed.left{len(leavings.LOGGERS)}").setLevel("ERROR"),
    "a configuration": lambda _: logging.config.dictConfig({"version": 1, "root": {"level": "ERROR"}}),
    "disabled levels": lambda _: logging.disable(logging.ERROR),
    "variables": changes_variables,
    "a folder": os.chdir,
    "a signal handler": lambda _: signal.signal(signal.SIGUSR1, lambda *_: None),
    "a module": imports_app,
    "a module in the place of another": lambda _: sys.modules.update(json=ModuleType("json")),
    "arguments": lambda _: sys.argv.append("--left"),
    "garbage": lambda _: gc.disable(),
    "a policy": lambda _: asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy()),
    "jobs": lambda _: setattr(current, "jobs", object()),
    "a complaint": lambda _: log.complain(ValueError()),
}


def state() -> list[Any]:
    found = {kept.name: kept.read() for kept in leavings.KEPT}
    # One that a test was the first to ask for stays, untouched.
    found["loggers"] = {one: values for one, values in found["loggers"].items() if values != leavings.UNTOUCHED}
    return list(found.values())


@pytest.mark.parametrize("leave", LEFT.values(), ids=LEFT)
def test_what_a_test_leaves_in_its_process_is_put_back(leave: Callable[[Path], Any], tmp_path: Path) -> None:
    asyncio.new_event_loop().close()
    before = state()

    with put_back():
        leave(tmp_path)
        changed = state() != before

    assert changed
    assert state() == before


def test_modules_that_a_test_was_the_first_to_import_stay() -> None:
    name = next(name for name in ("this", "antigravity", "xdrlib", "chunk") if name not in sys.modules)

    with put_back():
        sys.modules[name] = ModuleType(name)

    assert sys.modules.pop(name)


def test_to_put_all_back_takes_no_test_long(record_property: Callable[[str, Any], None]) -> None:
    def put() -> None:
        with put_back():
            pass

    seconds = min(timeit.repeat(put, number=200, repeat=5)) / 200

    record_property("microseconds to look for what a test leaves behind", round(seconds * 1e6))
    assert seconds < 0.001
