"""Which jobs a command changes: its options, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from belayed.changes import Action
from belayed.cli.app import options
from belayed.cli.completing import complete_queues
from belayed.cli.show import interactive, json_option
from belayed.cli.times import before, moment
from belayed.job import LIVE, Filter, State

F = TypeVar("F", bound=Callable[..., Any])

MOST = 1_000_000
"""Matching jobs are counted up to so many."""
WAITING_OR_ENDED = tuple(state for state in State if state is not State.RUNNING)
CHANGEABLE: dict[Action, tuple[State, ...]] = {
    "retry": (State.SCHEDULED, State.FAILED, State.CANCELLED),
    "cancel": LIVE,
    "delete": WAITING_OR_ENDED,
}
"""The states that each action changes."""
MEANT: dict[Action, tuple[State, ...]] = {**CHANGEABLE, "retry": (State.FAILED,)}
"""The states that are meant where none is named."""
DONE: dict[Action, str] = {"retry": "Retried", "cancel": "Cancelled", "delete": "Deleted"}


@dataclass
class Choice:
    """Which jobs, and how to go about it, as the command line says."""

    ids: tuple[int, ...] = ()
    states: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    created_before: timedelta | datetime | None = None
    created_after: timedelta | datetime | None = None
    all: bool = False
    dry_run: bool = False
    yes: bool = False
    as_json: bool = False

    def check(self, action: Action) -> None:
        """Raise UsageError for a choice that says nothing or too much."""
        conditions = any((self.states, self.queues, self.tasks, self.created_before, self.created_after))
        if not (self.ids or conditions or self.all):
            raise click.UsageError("which jobs? Give IDs, conditions such as --state or --queue, or --all")
        if sum(map(bool, (self.ids, conditions, self.all))) > 1:
            raise click.UsageError("give IDs, or conditions, or --all: not several of them")
        if action == "delete" and not (self.ids or self.yes or self.dry_run or interactive()):
            raise click.UsageError("nobody is here to confirm it: add --yes, or --dry-run to see how many jobs it is")

    def filter(self, action: Action, now: datetime) -> Filter:
        """The conditions, always with the states that the action means."""
        filter: Filter = {"states": [State(state) for state in self.states] or list(MEANT[action])}
        if self.queues:
            filter["queues"] = list(self.queues)
        if self.tasks:
            filter["tasks"] = list(self.tasks)
        if self.created_before:
            filter["created_before"] = before(now, self.created_before)
        if self.created_after:
            filter["created_after"] = before(now, self.created_after)
        return filter


def choosing(action: Action) -> Callable[[F], F]:
    """The options that say which jobs."""

    def decorate(command: F) -> F:
        states = click.Choice([state.value for state in CHANGEABLE[action]])
        meant = words(MEANT[action], "or")
        for option in reversed(
            [
                click.option("--state", "states", type=states, multiple=True, help=f"In this state; default: {meant}."),
                click.option(
                    "--queue",
                    "queues",
                    metavar="NAME",
                    multiple=True,
                    shell_complete=complete_queues,
                    help="Of this queue.",
                ),
                click.option("--task", "tasks", metavar="NAME", multiple=True, help="Of this task."),
                click.option("--created-before", metavar="WHEN", type=moment, help="Before an age (7d) or a time."),
                click.option("--created-after", metavar="WHEN", type=moment, help="After an age (12h) or a time."),
                click.option("--all", is_flag=True, help="All in the default states."),
                click.option("--dry-run", is_flag=True, help="Say how many jobs it would be; change nothing."),
                click.option("--yes", "-y", is_flag=True, help="Do not ask."),
                json_option,
                options,
            ]
        ):
            command = option(command)
        return command

    return decorate


def words(states: Sequence[State], last: str) -> str:
    """`failed`, `ready and failed`, `scheduled, failed and cancelled`, with *last* for "and"."""
    return f" {last} ".join(part for part in (", ".join(states[:-1]), states[-1]) if part)
