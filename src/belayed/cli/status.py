"""`status`: what waits, what runs and who works; and `pause` and `resume`, which it shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from belayed.cli.app import Place, options
from belayed.cli.records import worker_record
from belayed.cli.show import ago, echo_json, iso, json_option, line, note, number, rough, seconds, styled, table
from belayed.config import hidden
from belayed.job import ENDED, State
from belayed.jobs import Jobs
from belayed.store.base import QueueCount, WorkerRow

MOST = 1_000_000
"""Ended jobs are counted up to so many, so that a long history costs no more."""


@dataclass
class Queue:
    """A queue as `status` shows it."""

    name: str
    ready: int = 0
    scheduled: int = 0
    running: int = 0
    oldest: datetime | None = None
    """Since when its oldest due job waits."""
    next_due: datetime | None = None
    paused: bool = False


@click.command()
@json_option
@options
@click.pass_obj
def status(place: Place, as_json: bool) -> None:
    """Show the queues, what has ended, and the workers."""
    jobs = place.jobs()
    counts = jobs.counts(most=MOST)
    now = jobs.do(jobs.store.now)
    queues = by_queue(counts.live, jobs.paused(), now)
    workers = jobs.workers()
    if as_json:
        echo_json(
            {
                "url": hidden(jobs.url),
                "now": iso(now),
                "queues": [queue_record(queue, now) for queue in queues],
                "ended": {state.value: counts.ended.get(state, 0) for state in ENDED},
                "ended_counted_up_to": MOST,
                "workers": [worker_record(worker, now) for worker in workers],
            }
        )
        return
    show_queues(queues, now)
    click.echo()
    ended = [f"{number(counts.ended.get(state, 0), MOST)} {state.value}" for state in ENDED]
    click.echo(f"Ended and kept: {', '.join(ended)}.")
    click.echo()
    show_workers(workers, now)


@click.command()
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
@options
@click.pass_obj
def pause(place: Place, queues: tuple[str, ...]) -> None:
    """Let no worker start jobs of a queue until it is resumed. Running jobs go on."""
    jobs = place.jobs()
    for queue in queues:
        jobs.pause(queue)
        click.echo(f"Paused {line(queue)}: its jobs wait for `belayed resume`.")


@click.command()
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
@options
@click.pass_obj
def resume(place: Place, queues: tuple[str, ...]) -> None:
    """Let workers start jobs of a paused queue again."""
    jobs = place.jobs()
    paused = jobs.paused()
    for queue in queues:
        if queue in paused:
            jobs.resume(queue)
            click.echo(f"Resumed {line(queue)}.")
        else:
            click.echo(f"{line(queue)} was not paused.")


def by_queue(counts: list[QueueCount], paused: list[str], now: datetime) -> list[Queue]:
    """The queues by name, those that are paused and empty too."""
    found = {name: Queue(name, paused=True) for name in paused}
    for count in counts:
        queue = found.setdefault(count.queue, Queue(count.queue))
        setattr(queue, count.state.value, count.jobs)
        # What is due and yet scheduled waits too: no worker is there to make it ready.
        if count.state is State.READY or (count.state is State.SCHEDULED and count.oldest <= now):
            queue.oldest = min(queue.oldest or count.oldest, count.oldest)
        elif count.state is State.SCHEDULED:
            queue.next_due = count.oldest
    return [found[name] for name in sorted(found)]


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
    table(("Queue", ">Ready", ">Scheduled", ">Running", ">Oldest waiting", ""), rows)


def show_workers(workers: list[WorkerRow], now: datetime) -> None:
    if not workers:
        note("No workers: start one with `belayed work`.")
        return
    rows = [
        (
            worker.name,
            worker.host,
            str(worker.pid),
            worker.queues,
            number(worker.running),
            ago(worker.started_at, now),
            ago(worker.beat_at, now),
            styled("alive", "green") if worker.alive else styled("lapsed", "red"),
        )
        for worker in workers
    ]
    columns = ("Worker", "Host", ">PID", "Queues", ">Running", "Started", "Last beat", "")
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
