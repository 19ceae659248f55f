"""What slots call where nobody listens."""

from __future__ import annotations


def nothing(*_args: object) -> None:
    """What is called where nobody listens."""


def may_start(_id: int) -> bool:
    """Where no supervisor takes jobs back."""
    return True


def nothing_waits() -> bool:
    """Where nobody writes outcomes, none waits to be written."""
    return True
