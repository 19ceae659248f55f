"""Jobs, attempts and workers as JSON shows them: stable keys, times in ISO 8601 and UTC, durations in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from belayed.cli.show import iso, seconds, shallow
from belayed.job import Attempt, Job
from belayed.redaction import redacted_value, without
from belayed.store.answers import WorkerRow, served


def job_record(job: Job) -> dict[str, Any]:
    """What a list tells of a job."""
    return {
        "id": job.id,
        "task": job.task,
        "queue": job.queue,
        "state": job.state.value,
        "priority": job.priority,
        "attempt": job.attempt,
        "failures": job.failures,
        "created_at": iso(job.created_at),
        "run_at": iso(job.run_at),
        "started_at": iso(job.started_at),
        "finished_at": iso(job.finished_at),
        "run_time": seconds(job.run_time),
        "worker": job.worker,
        "cancel_requested": job.cancel_requested,
        "error": job.error,
    }


def whole_record(job: Job, attempts: Sequence[Attempt], payload: Any, names: Sequence[str]) -> dict[str, Any]:
    """All that is known of a job, with the *payload* as it may be shown; what is under one of *names* is hidden."""
    return {
        **job_record(job),
        "crashes": job.crashes,
        "rescues": job.rescues,
        "free_retries": job.free_retries,
        "max_attempts": job.max_attempts,
        "max_run_time": seconds(job.max_run_time),
        "keep_failed": job.keep_failed,
        "meta": without(shallow(dict(job.meta)), names),
        "payload": payload,
        "result": None if lost_result(job) else redacted_value(job.result_text, names),
        "result_unavailable": lost_result(job),
        "attempts": [attempt_record(attempt) for attempt in attempts],
    }


def attempt_record(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "outcome": attempt.outcome.value,
        "worker": attempt.worker,
        "started_at": iso(attempt.started_at),
        "ended_at": iso(attempt.ended_at),
        "error_type": attempt.error_type,
        "message": attempt.message,
        "traceback": attempt.traceback,
    }


def worker_record(worker: WorkerRow, now: datetime) -> dict[str, Any]:
    return {
        "id": worker.id,
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "queues": list(served(worker)),
        "running": worker.running,
        "version": worker.version,
        "started_at": iso(worker.started_at),
        "beat_at": iso(worker.beat_at),
        "since_beat": seconds(now - worker.beat_at) if worker.beat_at else None,
        "alive": worker.alive,
    }


def lost_result(job: Job) -> str | None:
    """Why the result of a job that succeeded is not there."""
    text = job.result_text
    return text[1:].strip() if text is not None and text.startswith("!") else None
