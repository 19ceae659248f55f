"""Background jobs in the database the application already has. Delayed, never dropped."""

from belayed import errors
from belayed.claim import current_job
from belayed.codec import register, register_reference
from belayed.delaying import Delayable, adelay, delay
from belayed.handling import handle_asynchronously
from belayed.job import Attempt, Draft, Job, Options, Outcome, State
from belayed.jobs import Jobs, aenqueue, aenqueue_many, configure, enqueue, enqueue_many
from belayed.plugin import Plugin
from belayed.retry import Cancel, Fail, Retry
from belayed.tasks import Task, task
from belayed.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "Cancel",
    "Delayable",
    "Draft",
    "Fail",
    "Job",
    "Jobs",
    "Options",
    "Outcome",
    "Plugin",
    "Retry",
    "State",
    "Task",
    "Worker",
    "adelay",
    "aenqueue",
    "aenqueue_many",
    "configure",
    "current_job",
    "delay",
    "enqueue",
    "enqueue_many",
    "errors",
    "handle_asynchronously",
    "register",
    "register_reference",
    "task",
]
