"""Keeps a URL with a password out of command lines, which everybody on the machine can read."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from belayed.addresses import hidden

HANDED = "_BELAYED_URL"
"""The variable by which one process of ours hands the next what --url says: only the user and root can read it."""


def handed() -> str | None:
    """The URL that the process before this one has handed over. What this one starts does not get it."""
    return os.environ.pop(HANDED, None)


def without(words: Sequence[str], option: str) -> tuple[list[str], str | None]:
    """A command line without an option that takes a value, and the value that was given last."""
    kept: list[str] = []
    value, follows = None, False
    for word in words:
        if follows:
            value, follows = word, False
        elif word == option:
            follows = True
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
        else:
            kept.append(word)
    return kept, value


def leave_out_url(url: str | None) -> None:
    """Begin this process again without its --url, if that holds a secret. The process id stays the same."""
    if url is None or url == hidden(url) or os.name != "posix":
        return
    words, given = without(sys.argv[1:], "--url")
    if given != url:
        # It came from elsewhere, or this is a program that calls the command as a function.
        return
    python = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with suppress(OSError):
        # Else it goes on with it.
        os.execve(sys.executable, [*python, *words], {**os.environ, HANDED: url})  # noqa: S606
