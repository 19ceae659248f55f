"""Hints that may fail: what an operation writes never depends on whether workers can be told of it."""

from __future__ import annotations

from time import monotonic

from belayed.errors import StoreError
from belayed.steps import Answer, Ask, Steps
from belayed.store.dialect import Call, Dialect

SILENCE = 10.0
"""Seconds without hints after the database has refused one: each that it refuses costs the whole transaction again.
Workers find the jobs by looking."""


class Hinting(Dialect):
    """A dialect whose operations carry hints, as long as the database takes them."""

    hints = True
    silent_until = 0.0

    def told(self, hint: str | None) -> str | None:
        """*hint*, or None if none is to be sent now."""
        if hint is None or not self.hints or (self.silent_until and monotonic() < self.silent_until):
            return None
        return hint

    def written(self, calls: list[Call]) -> Steps[Answer]:
        """The answers of the calls that an operation writes by; if the database refuses only their hint, without it."""
        try:
            return (yield Ask(calls, last=True))
        except StoreError as error:
            self.silenced(error)
        silent = [(one, {**params, "hint": None} if "hint" in params else params) for one, params in calls]
        answers = iter((yield Ask([call for call in silent if call[0].name != "notify"], last=True)))
        return [[] if one.name == "notify" else next(answers) for one, _ in calls]

    def explanation(self, error: StoreError) -> Steps[None] | None:
        """What asks the database why it refused something, and raises an error that says so; None: *error* does."""
        return None

    def silenced(self, error: StoreError) -> None:
        """Send no hints for a while, if that is what the database refused; else, or if all is lost, raise *error*."""
        if error.of_hint:
            self.silent_until = monotonic() + SILENCE
        if not error.of_hint or not error.again:
            raise error
