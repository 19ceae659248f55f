"""What slots call where nobody listens."""

from __future__ import annotations


def nothing(*_args: object) -> None:
    """What is called where nobody listens."""


def never(*_args: object) -> bool:
    """Where each line is to be logged."""
    return False


def always(*_args: object) -> bool:
    """Where no supervisor takes jobs back; and where nobody writes outcomes, so that none waits to be written."""
    return True
