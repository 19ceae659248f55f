"""`jobs`: a list of jobs, or all that is known of one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from belayed import printable
from belayed.cli.app import Place, options
from belayed.cli.completing import complete_queues
from belayed.cli.records import job_record, lost_result, whole_record
from belayed.cli.show import (
    ago,
    counted,
    echo_json,
    grid,
    instant,
    json_option,
    note,
    number,
    one_line,
    pretty,
    section,
    shallow,
    span,
    styled,
    table,
)
from belayed.job import Attempt, Filter, Job, State
from belayed.jobs import Jobs
from belayed.redaction import nameless, redacted, redacted_value, without

if TYPE_CHECKING:
    from rich.text import Text


@click.command()
@click.argument("id", type=int, required=False)
@click.option(
    "--state", "states", type=click.Choice([state.value for state in State]), multiple=True, help="In this state."
)
@click.option("--queue", "queues", metavar="NAME", multiple=True, shell_complete=complete_queues, help="Of this queue.")
@click.option("--task", "tasks", metavar="NAME", multiple=True, help="Of this task.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=25, show_default=True, help="At most so many.")
@click.option("--before", metavar="ID", type=int, help="Older than this job.")
@click.option("--no-arguments", is_flag=True, help="Do not show the arguments of the job.")
@json_option
@options
@click.pass_obj
def jobs(
    place: Place,
    id: int | None,
    states: tuple[str, ...],
    queues: tuple[str, ...],
    tasks: tuple[str, ...],
    limit: int,
    before: int | None,
    no_arguments: bool,
    as_json: bool,
) -> None:
    """List jobs, or show one.

    The newest come first; with an ID, all that is known of that job is shown.

    Each of --state, --queue and --task may be given several times: any of them will do.
    """
    filter: Filter = {}
    if states:
        filter["states"] = [State(state) for state in states]
    if queues:
        filter["queues"] = list(queues)
    if tasks:
        filter["tasks"] = list(tasks)
    if id is None:
        listed(place.jobs(), filter, limit, before, as_json)
    elif filter or before is not None:
        raise click.UsageError("give the ID of a job, or conditions for a list, not both")
    else:
        described(place.jobs(), id, not no_arguments, as_json)


def listed(jobs: Jobs, filter: Filter, limit: int, before: int | None, as_json: bool) -> None:
    found = jobs.find(before=before, limit=limit, **filter)
    # A full page may be the last one; then the next is empty.
    following = found[-1].id if len(found) == limit else None
    if as_json:
        echo_json({"jobs": [job_record(job) for job in found], "next_before": following})
        return
    if not found:
        note("No jobs." if not filter and before is None else "No such jobs.")
        return
    now = jobs.do(jobs.store.now)
    rows = [
        (
            str(job.id),
            job.task,
            job.queue,
            styled(job.state.value),
            str(job.priority),
            str(job.attempt),
            ago(moment(job), now),
            styled(one_line(job.error), ""),
        )
        for job in found
    ]
    columns = (">ID", "Task", "Queue", "State", ">Priority", ">Attempt", "When", "Error")
    table(columns, rows, elastic=("Error", "Task", "Queue"))
    if following is not None:
        note(f"\nOlder ones: --before {following}")


def moment(job: Job) -> datetime | None:
    """The time that matters for a job in its state: its end, its start, or when it may run."""
    if job.ended:
        return job.finished_at
    return job.started_at if job.state is State.RUNNING else job.run_at


def shown_payload(job: Job, jobs: Jobs) -> Any:
    """What it runs and with what, without what looks like a secret."""
    return job.payload and redacted_value(redacted(job.payload, jobs.config.redact), ())


def described(jobs: Jobs, id: int, arguments: bool, as_json: bool) -> None:
    job = jobs.get(id)
    names = jobs.config.redact
    if as_json:
        echo_json(whole_record(job, job.attempts, shown_payload(job, jobs) if arguments else None, names))
        return
    now = jobs.do(jobs.store.now)
    # A worker is told by its name as long as it is registered.
    workers = {worker.id: worker.name for worker in jobs.workers()}
    grid((styled(title, "bold"), value) for title, value in properties(job, workers, now, names).items() if value)
    if not arguments:
        section("Payload", "not shown")
    else:
        section("Payload", pretty(shown_payload(job, jobs)) if job.payload is not None else "not kept: it was large")
        if names and job.payload is not None and nameless(job.payload):
            note("\nArguments by position are hidden if the code that names them is not imported: --app MODULE")
    if reason := lost_result(job):
        section("Result", f"not stored: it returned {reason}")
    elif job.state is State.SUCCEEDED:
        section("Result", pretty(redacted_value(job.result_text, names)))
    if job.attempts:
        section("Attempts that did not succeed", "\n".join(attempt_text(attempt, workers) for attempt in job.attempts))


def properties(job: Job, workers: dict[str, str], now: datetime, names: Sequence[str]) -> dict[str, str | Text]:
    """The fields of a job that have something to say, for people."""

    def at(time: datetime | None) -> str:
        return f"{instant(time)} ({ago(time, now)})" if time else ""

    state = styled(job.state.value)
    if job.cancel_requested:
        state += styled(", asked to be cancelled", "yellow")
    limits = f" of at most {job.max_attempts}" if job.max_attempts is not None else ""
    counters = (
        (job.crashes, "crash", "crashes"),
        (job.rescues, "rescue", "rescues"),
        (job.free_retries, "free retry", "free retries"),
    )
    others = [f"{number(count)} {one if count == 1 else many}" for count, one, many in counters if count]
    return {
        "Job": str(job.id),
        "Task": job.task,
        "State": state,
        "Queue": f"{job.queue}, priority {job.priority}",
        "Attempts": ", ".join([str(job.attempt), f"{counted(job.failures, 'failure')}{limits}", *others]),
        "Created": at(job.created_at),
        "Run at": at(job.run_at),
        "Started": at(job.started_at),
        "Ended": at(job.finished_at),
        "Run time": span(job.run_time) if job.run_time is not None else "",
        "Time limit": span(job.max_run_time) if job.max_run_time is not None else "",
        "Keep failed": "" if job.keep_failed is None else "yes" if job.keep_failed else "no",
        "Worker": workers.get(job.worker, job.worker) if job.worker else "",
        "Meta": pretty(without(shallow(dict(job.meta)), names)) if job.meta else "",
        "Error": styled(job.error, "red") if job.error else "",
    }


def attempt_text(attempt: Attempt, workers: dict[str, str]) -> str:
    """An attempt: a line, and what went wrong below it."""
    started = attempt.started_at
    took = f" after {span(attempt.ended_at - started)}" if started else ""
    by = f", worker {one_line(workers.get(attempt.worker, attempt.worker))}" if attempt.worker else ""
    head = f"{attempt.number}  {attempt.outcome.value}{took}, {instant(attempt.ended_at)}{by}"
    error = ": ".join(part for part in (attempt.error_type, attempt.message) if part)
    # The last line of a traceback is the error.
    below = printable.lines(attempt.traceback or error).strip()
    return "\n".join([head, *(f"   {row}" for row in below.split("\n")), ""])
