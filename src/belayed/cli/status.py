"""`status`: what waits, what runs and who works; and `pause` and `resume`, which it shows."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any

import click

from belayed import origin
from belayed.addresses import hidden
from belayed.cli.app import Place, options
from belayed.cli.completing import complete_queues
from belayed.cli.daemon import local_status, pid_path
from belayed.cli.known import known_queues, stranger
from belayed.cli.queues import Queue, by_queue, foremost
from belayed.cli.records import worker_record
from belayed.cli.show import (
    ago,
    counted,
    echo,
    echo_json,
    iso,
    json_option,
    note,
    number,
    one_line,
    program,
    rough,
    seconds,
    styled,
    table,
)
from belayed.cli.working import FILE, identifier
from belayed.job import ENDED
from belayed.store.answers import WorkerRow, served

SHOWN = 50
"""Queues and workers for people, unless they ask for all."""
MOST = 1_000_000
"""Ended jobs are counted up to so many, so that a long history costs no more."""


@click.command()
@click.option(
    "--local", is_flag=True, help="Say whether the worker that `belayed start` started runs; exit with 3 if not."
)
@click.option("--pid-file", type=FILE, metavar="FILE", help="With --local: its PID file.")
@click.option("--identifier", "-i", type=identifier, metavar="ID", help="With --local: the one started with this.")
@click.option("--all", "whole", is_flag=True, help=f"Show all queues and workers, not {SHOWN} of each at most.")
@json_option
@options
@click.pass_obj
def status(
    place: Place, local: bool, pid_file: Path | None, identifier: str | None, whole: bool, as_json: bool
) -> None:
    """Show the queues, what has ended, and the workers.

    Of many queues it shows those whose jobs wait longest and the largest. As JSON all are shown.
    """
    if local:
        local_status(pid_path(pid_file, identifier), as_json)
        return
    jobs = place.jobs()
    counts = jobs.counts(most=MOST)
    now = jobs.do(jobs.store.now)
    queues = by_queue(counts.live, jobs.paused(), now)
    workers = jobs.workers()
    if as_json:
        echo_json(
            {
                "url": hidden(jobs.url),
                "url_given": origin.named_by(jobs.address) or None,
                "now": iso(now),
                "queues": [queue_record(queue, now) for queue in queues],
                "ended": {state.value: counts.ended.get(state, 0) for state in ENDED},
                "ended_counted_up_to": MOST,
                "workers": [worker_record(worker, now) for worker in workers],
            }
        )
        return
    most = max(len(queues), len(workers)) if whole else SHOWN
    show_queues(foremost(queues, most), now)
    show_left("queue", len(queues) - most)
    echo()
    ended = [f"{number(counts.ended.get(state, 0), MOST)} {state.value}" for state in ENDED]
    echo(f"Ended and kept: {', '.join(ended)}.")
    echo()
    # The oldest come first; a new one is of more interest than one that has died.
    show_workers(sorted(workers, key=lambda worker: not worker.alive)[:most], now)
    show_left("worker", len(workers) - most)
    echo()
    echo(f"Database: {origin.shown(jobs.address)}")
    if origin.nearby_project() is not None and (advice := origin.advice(jobs.address)):
        note(advice.removeprefix("; "))


def show_left(what: str, count: int) -> None:
    """Say how many are not shown."""
    if count > 0:
        echo(f"and {counted(count, f'more {what}')}: --all")


@click.command()
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True, shell_complete=complete_queues)
@options
@click.pass_obj
def pause(place: Place, queues: tuple[str, ...]) -> None:
    """Let no worker start jobs of a queue until it is resumed. Running jobs go on."""
    jobs = place.jobs()
    known = known_queues(jobs)
    for queue in queues:
        word = stranger(queue, known, jobs)
        jobs.pause(queue)
        echo(f"Paused {one_line(queue)}: its jobs wait for `{program()} resume {one_line(quote(queue))}`.")
        if word is not None:
            note(f"{one_line(word)} `{program()} resume {one_line(quote(queue))}` takes it back.")


@click.command()
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True, shell_complete=complete_queues)
@options
@click.pass_obj
def resume(place: Place, queues: tuple[str, ...]) -> None:
    """Let workers start jobs of a paused queue again."""
    jobs = place.jobs()
    paused = jobs.paused()
    for queue in queues:
        if queue in paused:
            jobs.resume(queue)
            echo(f"Resumed {one_line(queue)}.")
        else:
            echo(f"{one_line(queue)} was not paused.")


def show_queues(queues: list[Queue], now: datetime) -> None:
    if not queues:
        note("No jobs wait or run.")
        return
    rows = [
        (
            queue.name,
            number(queue.ready),
            number(queue.scheduled),
            number(queue.running),
            rough(now - queue.oldest) if queue.oldest else "",
            styled("paused", "yellow") if queue.paused else "",
        )
        for queue in queues
    ]
    table(("Queue", ">Ready", ">Scheduled", ">Running", ">Oldest waiting", ""), rows, elastic=("Queue",))


def show_workers(workers: list[WorkerRow], now: datetime) -> None:
    if not workers:
        note(f"No workers: start one with `{program()} work`.")
        return
    # The name that a worker gives itself is these two.
    named = any(worker.name != f"{worker.host}:{worker.pid}" for worker in workers)
    rows = [
        (
            worker.name,
            *((worker.host, str(worker.pid)) if named else ()),
            ", ".join(served(worker)),
            number(worker.running),
            ago(worker.started_at, now),
            ago(worker.beat_at, now),
            styled("alive", "green") if worker.alive else styled("lapsed", "red"),
        )
        for worker in workers
    ]
    columns = ("Worker", *(("Host", ">PID") if named else ()), "Queues", ">Running", "Started", "Last beat", "")
    table(columns, rows, elastic=("Worker", "Host", "Queues"))


def queue_record(queue: Queue, now: datetime) -> dict[str, Any]:
    return {
        "name": queue.name,
        "ready": queue.ready,
        "scheduled": queue.scheduled,
        "running": queue.running,
        "oldest_waiting": seconds(now - queue.oldest) if queue.oldest else None,
        "next_due": iso(queue.next_due),
        "paused": queue.paused,
    }
