"""What a process is called in lists of processes. By setproctitle, an extra."""

from __future__ import annotations

from importlib.util import find_spec

from belayed.errors import ConfigError


def set_title(title: str | None) -> None:
    """Call this process by *title*; None leaves it. Raises ConfigError without setproctitle."""
    if title is None:
        return
    if find_spec("setproctitle") is None:
        raise ConfigError("--prefix needs setproctitle: pip install 'belayed[titles]'")
    from setproctitle import setproctitle

    setproctitle(title)
