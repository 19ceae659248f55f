"""`retry`, `cancel`, `delete` and `clear`: change jobs by their ids, or all that match conditions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click

from belayed.changes import BATCH, Action
from belayed.cli.app import Place
from belayed.cli.choice import CHANGEABLE, DONE, MOST, Choice, choosing, words
from belayed.cli.show import counted, echo, echo_json, interactive, note, number
from belayed.errors import JobNotFound
from belayed.job import Filter, State
from belayed.jobs import Jobs
from belayed.store.answers import PASSED_OVER


@dataclass
class Change:
    """What became of it."""

    changed: int = 0
    running: int = 0
    """Jobs among them that run, and were asked to end."""
    unchanged: list[tuple[int, State | None]] = field(default_factory=list)
    """Ids given that were not changed, and where those jobs stand: None is nowhere."""


ids_argument = click.argument("ids", metavar="[ID]...", type=int, nargs=-1)


@click.command()
@ids_argument
@choosing("retry")
@click.pass_obj
def retry(place: Place, /, **choice: Any) -> None:
    """Run failed, cancelled or scheduled jobs now.

    Their counters begin at zero again.

    Give IDs, or conditions, all of which must hold; on a terminal you are asked first.
    """
    perform(place, "retry", Choice(**choice))


@click.command()
@ids_argument
@choosing("cancel")
@click.pass_obj
def cancel(place: Place, /, **choice: Any) -> None:
    """Cancel jobs.

    Waiting ones are cancelled at once; running ones are asked to stop.

    Give IDs, or conditions, all of which must hold; on a terminal you are asked first.
    """
    perform(place, "cancel", Choice(**choice))


@click.command()
@ids_argument
@choosing("delete")
@click.pass_obj
def delete(place: Place, /, **choice: Any) -> None:
    """Delete jobs and their history. Running ones stay.

    Give IDs, or conditions, all of which must hold; these need a terminal, where you are asked, or --yes.
    """
    perform(place, "delete", Choice(**choice))


@click.command()
@choosing("delete")
@click.pass_obj
def clear(place: Place, /, **choice: Any) -> None:
    """Delete all jobs that match.

    With --all that is every job that does not run.

    It needs a terminal, where you are asked, or --yes.
    """
    perform(place, "delete", Choice(**choice))


def perform(place: Place, action: Action, choice: Choice) -> None:
    """Do it, and say what became of it."""
    choice.check(action)
    jobs = place.jobs()
    if choice.ids:
        change = by_ids(jobs, action, tuple(dict.fromkeys(choice.ids)), choice.dry_run)
    else:
        change = by_filter(jobs, action, choice)
    if choice.as_json:
        echo_json(
            {
                "action": action,
                "dry_run": choice.dry_run,
                "changed": change.changed,
                "running": change.running,
                "unchanged": [{"id": id, "state": state and state.value} for id, state in change.unchanged],
            }
        )
    else:
        done = f"Would {action}" if choice.dry_run else DONE[action]
        asked = f"; {change.running:,} of them running: asked to stop" if change.running else ""
        if change.changed or not change.unchanged:
            echo(f"{done} {counted(change.changed, 'job')}{asked}.")
        for id, state in change.unchanged:
            note(f"Error: {why_unchanged(action, id, state)}")
    if change.unchanged:
        click.get_current_context().exit(1)


def by_ids(jobs: Jobs, action: Action, ids: tuple[int, ...], dry_run: bool) -> Change:
    """Change the jobs of these ids, or only see which it would be."""
    changed: set[int] = set()
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        if dry_run:
            found = jobs.find(ids=list(batch), states=list(CHANGEABLE[action]), limit=BATCH)
            changed.update(job.id for job in found)
        else:
            changed.update(jobs.changed(action, batch))
    running = count(jobs, {"ids": sorted(changed), "states": [State.RUNNING]}) if action == "cancel" and changed else 0
    return Change(len(changed), running, [(id, state_of(jobs, id)) for id in ids if id not in changed])


def by_filter(jobs: Jobs, action: Action, choice: Choice) -> Change:
    """Change all jobs that match, or only count them."""
    filter = choice.filter(action, jobs.do(jobs.store.now))
    asking = interactive() and not choice.yes
    total = count(jobs, filter)
    if choice.dry_run or not total:
        return Change(total)
    if asking and not click.confirm(f"{action.capitalize()} {number(total, MOST)} job{'s'[: total > 1]}?", err=True):
        note("Nothing was changed.")
        click.get_current_context().exit(1)
    done = 0

    def report(batch: int) -> None:
        nonlocal done
        done += batch
        advance(batch)

    try:
        with progress(total) as advance:
            jobs.bulk(action, filter, report)
    except KeyboardInterrupt:
        note(f"\nInterrupted: {counted(done, 'job')} changed.")
        raise
    # A filter that names an age may match more of them by now; it is said of those that were asked.
    running = count(jobs, {**filter, "states": [State.RUNNING]}) if State.RUNNING in filter.get("states", ()) else 0
    return Change(done, min(running, done))


def count(jobs: Jobs, filter: Filter) -> int:
    """How many jobs match, up to MOST."""
    total, last, page = 0, 0, 10 * BATCH
    while total < MOST:
        ids = jobs.do(lambda: jobs.store.matching(filter, after=last, count=page))  # noqa: B023
        total += len(ids)
        if len(ids) < page:
            break
        last = ids[-1]
    return total


def state_of(jobs: Jobs, id: int) -> State | None:
    try:
        return jobs.get(id).state
    except JobNotFound:
        return None


def why_unchanged(action: Action, id: int, state: State | None) -> str:
    if state is None:
        return f"there is no job {id}"
    if action == "delete" and state is State.RUNNING:
        return f"job {id} is running: cancel it first"
    if state in CHANGEABLE[action]:
        return f"job {id} is {state.value}, and stays as it is: {PASSED_OVER}"
    stands = f"{'has' if state is State.SUCCEEDED else 'is'} {state.value}"
    return f"job {id} {stands}: only {words(CHANGEABLE[action], 'and')} jobs can be {DONE[action].lower()}"


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, where it takes more than a moment; what is yielded moves it."""
    if total <= BATCH or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda batch: bar.advance(task, batch)
