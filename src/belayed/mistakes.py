"""What somebody most likely meant: by a name that is nearly one of ours, or by the word of another library."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

NEAR = 0.6
"""How like a name another is that is taken for a mistake, from 0 to 1."""

RESTART = "restart the worker if the code has changed since it started"
"""Workers import once: with an open editor that is the first thing to do, and on a server it does no harm."""

OF_TASK = ("name", "aliases", "retry_on", "discard_on", "backoff")
"""What `@task` takes beside a job's options."""

OPTIONS = {
    "countdown": "run_at=timedelta(seconds=…)",
    "delay": "run_at=timedelta(seconds=…)",
    "schedule_in": "run_at=timedelta(seconds=…)",
    "schedule": "run_at=…",
    "schedule_at": "run_at=…",
    "wait_until": "run_at=…",
    "eta": "run_at=…",
    "retries": "max_attempts=…",
    "retry": "max_attempts=…",
    "max_retries": "max_attempts=…",
    "attempts": "max_attempts=…",
    "autoretry_for": "retry_on=…",
    "throws": "discard_on=…",
    "retry_backoff": "backoff=…",
    "retry_delay": "backoff=…",
    "default_retry_delay": "backoff=…",
    "min_backoff": "backoff=…",
    "timeout": "max_run_time=timedelta(seconds=…)",
    "job_timeout": "max_run_time=timedelta(seconds=…)",
    "time_limit": "max_run_time=timedelta(seconds=…)",
    "soft_time_limit": "max_run_time=timedelta(seconds=…)",
    "queue_name": "queue=…",
    "task_name": "name=…",
    "actor_name": "name=…",
    "bind": "no self: current_job() is the job that runs",
    "pass_context": "no context: current_job() is the job that runs",
}
"""What the options of other libraries (Celery, RQ, Dramatiq, Huey, Procrastinate) are here."""

METHODS = {
    "apply_async": "{}.using(queue=…, run_at=…).enqueue(…)",
    "send_with_options": "{}.using(queue=…, run_at=…).enqueue(…)",
    "configure": "{}.using(queue=…, run_at=…).enqueue(…)",
    "schedule": "{}.using(run_at=timedelta(seconds=…)).enqueue(…)",
    "enqueue_in": "{}.using(run_at=timedelta(seconds=…)).enqueue(…)",
    "enqueue_at": "{}.using(run_at=…).enqueue(…)",
    "send": "{}.enqueue(…)",
    "defer": "{}.enqueue(…)",
    "defer_async": "await {}.aenqueue(…)",
    "async_delay": "await {}.aenqueue(…)",
    "delay_on_commit": "{}.using(connection=…).enqueue(…), which is part of that connection's transaction",
    "apply_async_on_commit": "{}.using(connection=…).enqueue(…), which is part of that connection's transaction",
    "s": "{}.draft(…), to be saved with enqueue or enqueue_many",
    "si": "{}.draft(…), to be saved with enqueue or enqueue_many",
    "message": "{}.draft(…), to be saved with enqueue or enqueue_many",
    "apply": "{}(…), which runs it here",
    "call_local": "{}(…), which runs it here",
    "now": "{}(…), which runs it here",
    "retry": "raise belayed.Retry(after=…)",
    "request": "belayed.current_job()",
}
"""What a task's methods in other libraries are here."""

OF_JOB = {
    "get": "job.wait().result",
    "return_value": "job.wait().result",
    "ready": "job.refresh().ended",
    "is_finished": "job.refresh().ended",
    "successful": 'job.refresh().state == "succeeded"',
    "failed": 'job.refresh().state == "failed"',
    "status": "job.refresh().state",
    "get_status": "job.refresh().state",
    "revoke": "job.cancel()",
    "abort": "job.cancel()",
    "join": "job.wait()",
    "task_id": "job.id",
    "job_id": "job.id",
    "traceback": "job.attempts[-1].traceback",
    "exc_info": "job.attempts[-1].traceback",
}
"""What a job's attributes in other libraries are here."""


def nearest(name: str, known: Iterable[str], like: float = NEAR) -> str | None:
    """The one of *known* that *name* is most like; None: of none."""
    return next(iter(get_close_matches(name, known, 1, like)), None)


def unknown_option(name: str, known: Collection[str], of_task: Collection[str] = ()) -> str:
    """What is wrong with an option that there is not, what there is, and what was meant. *of_task* are known, too."""
    text = f"unknown option {name!r}: there are {', '.join((*known, *of_task))}"
    if name in OF_TASK:
        return f"{text}; {name} is said where the task is: @task({name}=…)"
    if near := nearest(name, (*known, *of_task), 0.75):
        return f"{text}; did you mean {near}?"
    if name in OPTIONS:
        return f"{text}; for {name} write {OPTIONS[name]}"
    near = nearest(name, (*known, *of_task))
    return f"{text}; did you mean {near}?" if near else text


def misplaced(given: Mapping[str, Any], parameters: Collection[str], known: Collection[str], place: str) -> str:
    """Where the options go that are among arguments, as the end of a sentence; *place* is how they are written."""
    for name in given:
        if name not in parameters and (name in known or "=…" in OPTIONS.get(name, "")):
            option = f"{name}=…" if name in known else OPTIONS[name]
            return f"; options go in {place.format(option)}"
    return ""


def no_attribute(subject: object, name: str, words: Mapping[str, str], called: str) -> AttributeError:
    """The error for an attribute that is not there, with what is written instead of another library's word."""
    kind = type(subject).__name__
    advice = f": write {words[name].format(called)}" if name in words else ""
    # With these two Python itself finds a name that is like it.
    return AttributeError(f"a {kind} has no {name!r}{advice}", name=name, obj=subject)


def no_job(subject: object, task: str | None) -> str:
    """What to enqueue instead of what cannot be, as the end of a sentence; *task* is its name if it is a task."""
    if task is not None:
        return f"is a task: write {task}.enqueue(…)"
    if inspect.iscoroutine(subject):
        name = subject.__name__
        return f"is what a call of {name} returns, which has not run: write await {name}.aenqueue(…)"
    if subject is None:
        return "is no job: enqueue(send(1)) calls send here; write send.enqueue(1)"
    if inspect.isbuiltin(subject):
        return "has no method perform(): write a function that calls it, and mark that with @task"
    if inspect.isroutine(subject):
        name = subject.__name__
        called = "" if name == "<lambda>" else f" and call {name}.enqueue(…), or write delay({name})(…)"
        return f"has no method perform(): mark a function with @task{called}"
    hint = ": write it as an instance" if isinstance(subject, type) else ""
    return f"has no method perform(){hint}; enqueue a task's draft (send_mail.draft(…)) or an object with perform()"


def loose_arguments(subject: object, call: str, task: str | None) -> str:
    """What to write instead of `enqueue(send, 1)` or `delay(send, 1)`."""
    name = task or (subject.__name__ if inspect.isroutine(subject) else "obj")
    instead = f"{name}.enqueue(…)" if task else f"delay({name})(…)" if name != "obj" else "delay(obj).method(…)"
    return f"{call}() takes one job or object, and options by name; arguments go in the last parentheses: {instead}"


def renamed(name: str | None, ref: str) -> str:
    """What to do if a task or function that is not found was renamed or moved, as the end of a sentence."""
    if name is None:
        return f"; if it was renamed or moved, keep one of this name in {ref.partition(':')[0]} that calls it"
    return f"; if it was renamed or moved, let the new one answer to it: @task(aliases=[{name!r}])"


def no_function(subject: object) -> str:
    """What to write where `@task` is given what is no plain function."""
    if isinstance(subject, staticmethod):
        return "write @staticmethod above @task"
    if isinstance(subject, classmethod):
        return "for methods there is @handle_asynchronously"
    if inspect.isclass(subject):
        return "for its methods there is @handle_asynchronously"
    if callable(subject):
        return "write one that calls it, def name(…)"
    return "options go by their names, @task(queue=…)"
