"""Belayed for Django: `"belayed.django"` in INSTALLED_APPS, and jobs live in the project's database.

Nothing of Django is imported here: settings name this package before there are any.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

PLACES = {
    "TasksBackend": "belayed.django.backends",
    "ImmediateBackend": "belayed.django.backends",
    "DummyBackend": "belayed.django.backends",
    "EmailBackend": "belayed.django.mail",
}
"""The classes that settings name, and the modules that they are in."""

__all__ = ["DummyBackend", "EmailBackend", "ImmediateBackend", "TasksBackend"]


def __getattr__(name: str) -> Any:
    if name in PLACES:
        return getattr(import_module(PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
