"""Where people read more: pages of the documentation, by the titles that they have wherever it is read."""

from __future__ import annotations

from enum import StrEnum


class Page(StrEnum):
    """A page of the documentation; its value is the title."""

    DJANGO = "Django"

    def named(self, part: str = "") -> str:
        """How texts name the page, or the part of it below a heading."""
        return f"{f'{part!r} on ' if part else ''}the page {self.value!r} of Belayed's documentation"
