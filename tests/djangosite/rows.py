"""Rows as somebody may write them into the table by hand."""

from __future__ import annotations

import json

from django.db import connection
from shop.tasks import greet

from belayed import State
from belayed.testing import drain

ADA, USERS, POSTS = ["auth.user", 1, "default"], ["auth.user", "objects"], ["shop.post", "objects"]


def written(payload: object, meta: object = None, task: str = "shop.tasks.greet"):
    """A job whose row has another payload than Belayed wrote."""
    job = greet.enqueue("ada")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE belayed_jobs SET payload = %s, meta = %s, task = %s WHERE id = %s",
            [json.dumps(payload), None if meta is None else json.dumps(meta), task, job.id],
        )
    return job


def function(name: str, *args: object, **kwargs: object) -> dict:
    return {"v": 1, "call": name, "args": list(args), "kwargs": kwargs}


def method(kind: str, key: object, name: str, *args: object, **kwargs: object) -> dict:
    return {"v": 1, "self": {"$": kind, "v": key}, "method": name, "args": list(args), "kwargs": kwargs}


def argument(kind: str, key: object) -> dict:
    return {**function("shop.tasks:greet", {"$": kind, "v": key}), "task": "shop.tasks.greet"}


def outcome(job) -> tuple[State, str]:
    """What becomes of a job: its state, and the kind of its error."""
    drain(raises=False)
    job.refresh()
    return job.state, (job.error or "").partition(":")[0].rpartition(".")[2]
