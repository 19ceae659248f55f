"""Runs a draft at once, where it is enqueued: its payload is written and loaded again, and its hooks are called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from belayed.claim import Claimed, Running, micros
from belayed.connections.leftovers import leftovers
from belayed.drafts import meta_text
from belayed.errors import AttemptStopped
from belayed.job import Draft, Job, State
from belayed.meta import Meta
from belayed.methods import NO_RULES, class_of
from belayed.payload import FunctionCall, Loaded, MethodCall, Performance
from belayed.safelog import log
from belayed.worker.attempt import Attempts
from belayed.worker.report import humane
from belayed.worker.verdict import Ended, verdict

inside: ContextVar[frozenset[object]] = ContextVar("inside", default=frozenset())
"""The code that runs inline here: each that is in it has enqueued the next."""


def ran(jobs: Any, draft: Draft) -> Job:
    """Run a completed draft: the Job as it ended, which is not saved. Raises what the job raised."""
    if repeats(draft):
        return unsaved(draft, jobs, State.SCHEDULED)
    inline = Inline(jobs, draft)
    ready = inline.attempts.load(inline.run)
    with within(draft):
        if ready.is_async:
            loaded, value, error = jobs.awaited(inline.attempts.arun(inline.run, ready))
        else:
            loaded, value, error = inline.attempts.run(inline.run, ready)
    return inline.ended(loaded, value, error)


async def aran(jobs: Any, draft: Draft) -> Job:
    """As `ran`; a coroutine is awaited in the running event loop."""
    if repeats(draft):
        return unsaved(draft, jobs, State.SCHEDULED)
    inline = Inline(jobs, draft)
    ready = await inline.attempts.aload(inline.run)
    with within(draft):
        if ready.is_async:
            loaded, value, error = await inline.attempts.arun(inline.run, ready)
        else:
            loaded, value, error = inline.attempts.run(inline.run, ready)
    return inline.ended(loaded, value, error)


def repeats(draft: Draft) -> bool:
    """Whether a job that runs inline enqueues itself for later, as jobs do that look again and again.

    Run at once, it would do so for ever. Jobs that enqueue one another in turn are the same.
    """
    return code_of(draft) in inside.get() and due(draft, now := datetime.now(UTC)) > now


@contextmanager
def within(draft: Draft) -> Iterator[None]:
    """Meanwhile the draft's code is one of those that run inline here."""
    token = inside.set(inside.get() | {code_of(draft)})
    try:
        yield
    finally:
        inside.reset(token)


def code_of(draft: Draft) -> object:
    """What code a draft runs, whatever it is called and with whatever arguments."""
    payload = draft.payload
    if isinstance(payload, MethodCall):
        return class_of(payload.subject), payload.method
    if isinstance(payload, Performance):
        return type(payload.subject)
    return payload.ref if isinstance(payload, FunctionCall) else draft.task


class Inline:
    """One inline run."""

    def __init__(self, jobs: Any, draft: Draft) -> None:
        self.jobs, self.draft = jobs, draft
        self.attempts = Attempts(jobs)
        self.run: Running = self.attempts.begun(claimed_of(draft, jobs))

    def ended(self, loaded: Loaded | None, value: Any, error: BaseException | None) -> Job:
        """The Job as the attempt left it: succeeded or cancelled. Raises the error of any other."""
        if leftovers.opened:
            leftovers.forget()
        claimed, jobs = self.run.claimed, self.jobs
        seconds = self.run.seconds
        finished = self.run.completed
        if finished is None:
            rules, hooks = (NO_RULES, None) if loaded is None else (loaded.rules, loaded.hooks)
            told = Ended(value, error, seconds, rules, hooks)
            finished = verdict(claimed, told, jobs.config, jobs.codec)
        if error is not None and finished.state not in (State.SUCCEEDED, State.CANCELLED):
            if isinstance(error, AttemptStopped):
                raise RuntimeError(f"{claimed.task} was stopped while it ran inline: {error}") from error
            raise error
        log.info("ran %s inline, %s in %s", claimed.task, finished.state.value, humane(seconds), extra=claimed.extra)
        job = unsaved(self.draft, jobs, finished.state)
        job.attempt, job.result_text, job.error = 1, finished.result, finished.message
        job.run_time = timedelta(seconds=seconds)
        return job


def claimed_of(draft: Draft, jobs: Any) -> Claimed:
    """A draft as an attempt takes it; its claim has no token, as there is nothing to write."""
    now = datetime.now(UTC)
    return Claimed(
        id=0,
        queue=draft.queue,
        priority=cast(int, draft.priority),
        run_at=micros(due(draft, now)),
        task=draft.task,
        payload=draft.text,
        created_at=micros(now),
        attempt=0,
        failures=0,
        crashes=0,
        rescues=0,
        free_retries=0,
        max_attempts=draft.max_attempts,
        max_run_time=None if draft.max_run_time is None else draft.max_run_time.total_seconds(),
        keep_failed=draft.keep_failed,
        meta=meta_text(draft, jobs.codec) if draft.meta else None,
        unknown_for=None,
        token="",
    )


def unsaved(draft: Draft, jobs: Any, state: State, reason: str | None = None) -> Job:
    """The Job of a draft that is not in the database."""
    now = datetime.now(UTC)
    return Job(
        id=0,
        state=state,
        queue=draft.queue,
        priority=draft.priority if isinstance(draft.priority, int) else 0,
        run_at=due(draft, now),
        task=draft.task,
        payload=draft.text or None,
        created_at=now,
        max_attempts=draft.max_attempts,
        max_run_time=draft.max_run_time,
        keep_failed=draft.keep_failed,
        meta=Meta(draft.meta),
        error=reason,
        jobs=jobs,
        loaded_attempts=(),
    )


def due(draft: Draft, now: datetime) -> datetime:
    """When a draft is due."""
    if isinstance(draft.run_at, timedelta):
        return now + draft.run_at
    return draft.run_at or now
