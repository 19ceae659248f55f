"""`--reload`: children are replaced when the application's code changes. By watchfiles, an extra."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from belayed.errors import ConfigError

SHOWN = 3
"""So many changed files are named."""
LOOK = 200
"""Milliseconds after which the watching thread looks whether it is to end."""


@contextmanager
def reloading(folder: Path, renew: Callable[[str], None]) -> Iterator[None]:
    """Call *renew* with the reason when Python code in *folder* changes. Raises ConfigError without watchfiles."""
    require()
    # Its own line about each change would come before ours.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    ended = threading.Event()

    def watch() -> None:
        from watchfiles import PythonFilter
        from watchfiles import watch as changes

        for found in changes(
            folder, watch_filter=PythonFilter(), stop_event=ended, rust_timeout=LOOK, raise_interrupt=False
        ):
            renew(described(folder, {Path(path) for _, path in found}))

    thread = threading.Thread(target=watch, name="belayed-reload", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2)


def require() -> None:
    """Raise ConfigError if watchfiles is not installed."""
    if find_spec("watchfiles") is None:
        raise ConfigError("--reload needs watchfiles: pip install 'belayed[reload]'")


def described(folder: Path, paths: set[Path]) -> str:
    """Which files have changed, in words."""
    names = sorted(str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path) for path in paths)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more} changed"
