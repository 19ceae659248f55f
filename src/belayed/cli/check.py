"""`check`: fails when jobs wait for too long, for whatever watches the machines."""

from __future__ import annotations

from datetime import datetime, timedelta
from heapq import nsmallest
from operator import attrgetter
from typing import Any

import click

from belayed.cli.app import Place, options
from belayed.cli.completing import complete_queues
from belayed.cli.show import (
    counted,
    echo,
    echo_json,
    iso,
    json_option,
    note,
    number,
    program,
    rough,
    seconds,
    styled,
    table,
)
from belayed.cli.times import time
from belayed.parsing import listed
from belayed.store.answers import Overdue
from belayed.store.lanes import Serving

SHOWN = 50
"""Queues for people, unless they ask for all."""
oldest, name = attrgetter("oldest"), attrgetter("queue")


@click.command()
@click.option(
    "--max-age", type=time, metavar="TIME", default="300", help="For how long a due job may wait. Default: 300 s."
)
@click.option(
    "--queue",
    "-q",
    "queues",
    metavar="NAMES",
    multiple=True,
    shell_complete=complete_queues,
    help="Of these queues; default: all.",
)
@click.option("--all", "whole", is_flag=True, help=f"Show all such queues, not the {SHOWN} whose jobs wait longest.")
@json_option
@options
@click.pass_obj
def check(place: Place, max_age: timedelta, queues: tuple[str, ...], whole: bool, as_json: bool) -> None:
    """Fail if jobs wait for too long.

    It exits with 1 if jobs that are due have waited for longer than the age without an attempt. Jobs for later, jobs
    that run or have been tried, and jobs of paused queues do not count.
    """
    jobs = place.jobs()
    serving = Serving(listed(",".join(queues)))
    found = [one for one in jobs.overdue(max_age) if serving.serves(one.queue)]
    now = jobs.do(jobs.store.now)
    late = sum(one.jobs for one in found if not one.paused)
    if as_json:
        echo_json({"ok": not late, "max_age": seconds(max_age), "jobs": late, "queues": [record(one) for one in found]})
    else:
        show(found if whole else sorted(nsmallest(SHOWN, found, key=oldest), key=name), now)
        if len(found) > SHOWN and not whole:
            echo(f"and {counted(len(found) - SHOWN, 'more queue')}: --all\n")
        what = "job has" if late == 1 else "jobs have"
        age = f"for more than {rough(max_age)} without an attempt"
        echo(f"{number(late)} {what} waited {age}." if late else f"No job has waited {age}.")
    if late:
        if not as_json:
            note(f"See who serves them: `{program()} status`, or `{program()} doctor`.")
        click.get_current_context().exit(1)


def show(found: list[Overdue], now: datetime) -> None:
    if found:
        rows = [
            (one.queue, number(one.jobs), rough(now - one.oldest), styled("paused", "yellow") if one.paused else "")
            for one in found
        ]
        table(("Queue", ">Waiting", ">Oldest", ""), rows, elastic=("Queue",))
        echo()


def record(one: Overdue) -> dict[str, Any]:
    return {"name": one.queue, "jobs": one.jobs, "oldest": iso(one.oldest), "paused": one.paused}
