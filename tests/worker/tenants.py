"""An application of tenants whose rows have the same keys: a plugin says whose are read, in the job's thread."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

import belayed
from belayed import Draft, Job, Plugin, current_job, handle_asynchronously, task
from belayed.errors import ObjectNotFound
from tests.worker.tasks import note as note_task

here = threading.local()
ROWS = {"public": {1: "nobody"}, "acme": {1: "Ada", 2: "Alan", 3: "Dora"}, "globex": {1: "Grace"}}
DIARY = "TENANTS_DIARY"


def now() -> str:
    """The tenant whose rows this thread reads."""
    return getattr(here, "tenant", "public")


class Person:
    """A row of the tenant that was current when it was read."""

    def __init__(self, id: int, name: str) -> None:
        self.id, self.name = id, name

    def greet(self) -> str:
        return f"Hello, {self.name}"

    async def agreet(self) -> str:
        return f"Hello, {self.name}"

    @handle_asynchronously
    def wave(self) -> str:
        return f"{self.name} waves"


class Dancer(Person):
    """A kind of person; a payload does not tell that somebody is one."""

    async def greet(self) -> str:  # type: ignore[override]
        await asyncio.sleep(0)
        return f"{self.name} dances"


def load_person(id: int) -> Person | None:
    name = ROWS[now()].get(id)
    return None if name is None else (Dancer if name == "Dora" else Person)(id, name)


belayed.register_reference(Person, name="tenants.person", key=lambda person: person.id, load=load_person)


class Tenants(Plugin):
    """Carries the tenant of the one who enqueues to the thread in which the job runs."""

    def __init__(self) -> None:
        self.entered: list[int] = []
        self.left: list[str] = []

    def on_enqueue(self, draft: Draft) -> None:
        draft.meta.setdefault("tenant", now())

    @contextmanager
    def around_attempt(self, job: Job) -> Iterator[None]:
        self.entered.append(job.id)
        before, here.tenant = now(), job.meta["tenant"]
        try:
            yield
            self.left.append("well")
        except BaseException as error:
            self.left.append(type(error).__name__)
            raise
        finally:
            here.tenant = before


@contextmanager
def of(tenant: str) -> Iterator[None]:
    """Be a request of *tenant*."""
    before, here.tenant = now(), tenant
    try:
        yield
    finally:
        here.tenant = before


@task
def name(person: Person) -> str:
    return person.name


@task
async def aname(person: Person) -> str:
    return person.name


def names(people: list[Person]) -> list[str]:
    """No task: a function that is delayed."""
    return [person.name for person in people]


async def anames(people: list[Person]) -> list[str]:
    return [person.name for person in people]


@task
def sized(person: Person, padding: str) -> str:
    return f"{person.name} {len(padding)}"


@task(discard_on=ObjectNotFound)
def forgotten(person: Person, padding: str = "") -> None: ...


@dataclass
class Letter:
    """A job with an object of its own, whose hooks say whose rows are read when they are called."""

    person: Person
    fail: bool = False
    max_attempts: ClassVar = 2

    def called(self, hook: str) -> None:
        note_task.function(os.environ[DIARY], f"{hook} {self.person.name} {now()}")

    def before(self) -> None:
        self.called("before")

    def perform(self) -> str:
        self.called("perform")
        if self.fail:
            raise ValueError(self.person.name)
        return self.person.name

    def success(self) -> None:
        self.called("success")

    def error(self) -> None:
        self.called("error")

    def after(self) -> None:
        self.called("after")

    def failure(self) -> None:
        self.called("failure")

    def reschedule_at(self, now: datetime, failures: int) -> timedelta:
        self.called("reschedule_at")
        return timedelta()


@dataclass
class ALetter(Letter):
    async def perform(self) -> str:  # type: ignore[override]
        return Letter.perform(self)


class Watched:
    """A reference whose loader looks at the job that it is loaded for."""

    def __init__(self, seen: Any) -> None:
        self.seen = seen


belayed.register_reference(
    Watched,
    name="tenants.watched",
    key=lambda watched: watched.seen,
    load=lambda seen: Watched([seen, current_job().meta["tenant"]]),
)


@task
def watched(one: Watched) -> Any:
    return one.seen


@task
async def awatched(one: Watched) -> Any:
    return one.seen


if "BELAYED_URL" in os.environ:
    belayed.configure(synchronous="normal", plugins=[Tenants()])
