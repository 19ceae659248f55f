"""What the tab key offers for queues and applications.

What is asked at each press of the tab key imports no application, and waits for no database for long.
"""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from belayed.misnamed import modules
from belayed.store.answers import named

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PATIENCE = 0.7
"""Seconds that a look into the database may take."""
SEEN = 100
"""Of so many of the newest jobs the queues are offered."""


def complete_queues(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str | CompletionItem]:
    """The queues whose names begin so; of several with commas the last is completed."""
    before, comma, last = incomplete.rpartition(",")
    given = ctx.params.get(param.name or "") or ()
    return [f"{before}{comma}{name}" for name in queues_of(ctx) if name.startswith(last) and name not in given]


def complete_app(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str | CompletionItem]:
    """The modules and packages in this folder."""
    return [name for name in modules(Path.cwd()) if name.startswith(incomplete)]


def queues_of(ctx: click.Context) -> list[str]:
    """The queues of the database that the command line or the environment names, if it answers soon."""
    found: set[str] = set()
    thread = threading.Thread(target=look, args=(ctx.find_root().obj, found), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return sorted(found.copy())


def look(place: Any, found: set[str]) -> None:
    """Put into *found* the queues of newest jobs, and those that are paused or that workers name."""
    from belayed.cli.app import Place, check_file
    from belayed.jobs import Jobs

    try:
        place = place or Place()
        if place.url is None and "BELAYED_URL" not in os.environ and place.application() is not None:
            # It alone knows where its jobs are.
            return
        jobs = Jobs(place.url, store_timeout=timedelta(seconds=PATIENCE))
        jobs.makes_tables = False
        check_file(jobs)
        found.add(jobs.names.default_queue)
        found.update(jobs.names.queues)
        found.update(jobs.paused())
        found.update(job.queue for job in jobs.find(limit=SEEN))
        found.update(named(jobs.workers()))
    except Exception:
        # There is nobody to tell: the shell shows a line that is being written.
        return
