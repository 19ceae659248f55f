"""What the public API is to type checkers."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import belayed
from belayed import Delayable, Draft, Job, Jobs, Task, adelay, current_job, delay, handle_asynchronously, task
from belayed.claim import Completion

# Tasks.


@task
def send(user_id: int, subject: str = "Hi") -> int:
    return user_id


@task(queue="mail", max_attempts=5, run_at=timedelta(minutes=5), backoff=[timedelta(1)], retry_on=(OSError, KeyError))
def sort_out(*names: str, reverse: bool = False) -> list[str]:
    return sorted(names, reverse=reverse)


@task(priority=lambda: 3)
async def fetch(url: str) -> bytes:
    return url.encode()


assert_type(send(1), int)
assert_type(send(1, subject="Hello"), int)
assert_type(send.enqueue(1), Job)
assert_type(send.delay(1), Job)
assert_type(send.draft(1, "Hello"), Draft)
assert_type(sort_out.enqueue("a", "b", reverse=True), Job)
assert_type(send.using(queue="mail", priority=-3).enqueue(1), Job)
assert_type(send.using(run_at=datetime.now(UTC)).draft(1), Draft)
assert_type(sort_out("a"), list[str])

send("1")  # error: mypy=arg-type pyright=reportArgumentType
send.enqueue("1")  # error: mypy=arg-type pyright=reportArgumentType
send.enqueue()  # error: mypy=call-arg pyright=reportCallIssue
send.enqueue(1, 2)  # error: mypy=arg-type pyright=reportArgumentType
send.enqueue(1, subjekt="Hi")  # error: mypy=call-arg pyright=reportCallIssue
send.delay("1")  # error: mypy=arg-type pyright=reportArgumentType
send.draft("1")  # error: mypy=arg-type pyright=reportArgumentType
send.using(queue="mail").enqueue("1")  # error: mypy=arg-type pyright=reportArgumentType
sort_out.enqueue("a", reverse="yes")  # error: mypy=arg-type pyright=reportArgumentType

# Options.

send.using(quue="mail")  # error: mypy=call-arg pyright=reportCallIssue
send.using(queue=3)  # error: mypy=arg-type pyright=reportArgumentType
send.using(priority=1.5)  # error: mypy=arg-type pyright=reportArgumentType
send.using(run_at=60)  # error: mypy=arg-type pyright=reportArgumentType
send.using(max_run_time=60)  # error: mypy=arg-type pyright=reportArgumentType
task(quue="mail")  # error: mypy=call-overload pyright=reportCallIssue|reportArgumentType
task(queue=3)  # error: mypy=call-overload pyright=reportCallIssue|reportArgumentType
handle_asynchronously(quue="mail")  # error: mypy=call-overload pyright=reportCallIssue|reportArgumentType
handle_asynchronously(priority=1.5)  # error: mypy=call-overload pyright=reportCallIssue|reportArgumentType
delay(send, quue="mail")  # error: mypy=call-arg pyright=reportCallIssue
belayed.enqueue(send.draft(1), quue="mail")  # error: mypy=call-arg pyright=reportCallIssue
belayed.enqueue(send.draft(1), run_at="now")  # error: mypy=arg-type pyright=reportArgumentType


# Methods, functions, class methods, static methods.


class Invoice:
    @handle_asynchronously
    def charge(self, amount: int) -> str:
        return f"{amount}"

    @handle_asynchronously(queue="mail", priority=lambda self: self.rank)
    def remind(self, *, kindly: bool = True) -> bool:
        return kindly

    @handle_asynchronously
    @classmethod
    def build(cls, number: int) -> Invoice:
        return cls()

    @handle_asynchronously
    @staticmethod
    def total(amounts: list[int]) -> int:
        return sum(amounts)

    @handle_asynchronously(queue="mail")
    @classmethod
    def rebuild(cls, number: int) -> Invoice:
        return cls()

    @handle_asynchronously(queue="mail")
    @staticmethod
    def count(amounts: list[int]) -> int:
        return len(amounts)

    @handle_asynchronously
    async def co(self, number: int) -> str:
        return f"{number}"

    @handle_asynchronously(priority=3)
    async def co_with_options(self, number: int) -> str:
        return f"{number}"

    @handle_asynchronously
    @classmethod
    async def co_build(cls, number: int) -> Invoice:
        return cls()

    @handle_asynchronously
    @staticmethod
    async def co_total(amounts: list[int]) -> int:
        return sum(amounts)


@handle_asynchronously
def tidy(folder: str) -> int:
    return 3


@handle_asynchronously(queue="low")
async def atidy(folder: str) -> int:
    return 3


invoice = Invoice()
assert_type(invoice.charge(5), Job)
assert_type(invoice.charge.now(5), str)
assert_type(invoice.charge.draft(5), Draft)
assert_type(invoice.remind(kindly=False), Job)
assert_type(invoice.remind.now(), bool)
assert_type(Invoice.build(1), Job)
assert_type(Invoice.build.now(1), Invoice)
assert_type(invoice.build.now(1), Invoice)
assert_type(Invoice.rebuild(1), Job)
assert_type(Invoice.rebuild.now(1), Invoice)
assert_type(Invoice.total([1]), Job)
assert_type(Invoice.total.now([1]), int)
assert_type(Invoice.count([1]), Job)
assert_type(Invoice.count.now([1]), int)
assert_type(tidy("/tmp"), Job)
assert_type(tidy.now("/tmp"), int)
_ = assert_type(atidy.now("/tmp"), Coroutine[Any, Any, int])

invoice.charge("5")  # error: mypy=arg-type pyright=reportArgumentType
invoice.charge()  # error: mypy=call-arg pyright=reportCallIssue
invoice.charge.now("5")  # error: mypy=arg-type pyright=reportArgumentType
invoice.remind(False)  # error: mypy=call-arg|misc pyright=reportCallIssue
Invoice.build("1")  # error: mypy=arg-type pyright=reportArgumentType
Invoice.total(3)  # error: mypy=arg-type pyright=reportArgumentType
tidy(3)  # error: mypy=arg-type pyright=reportArgumentType


async def awaited() -> None:
    assert_type(await send.aenqueue(1), Job)
    assert_type(await send.adelay(1), Job)
    assert_type(await fetch("u"), bytes)
    assert_type(fetch.enqueue("u"), Job)
    assert_type(await invoice.co(1), Job)
    _ = assert_type(invoice.co.now(1), Coroutine[Any, Any, str])
    assert_type(await invoice.co.now(1), str)
    assert_type(await invoice.co_with_options(1), Job)
    assert_type(await invoice.co_with_options.now(1), str)
    assert_type(await Invoice.co_build(1), Job)
    assert_type(await Invoice.co_build.now(1), Invoice)
    assert_type(await Invoice.co_total([1]), Job)
    assert_type(await Invoice.co_total.now([1]), int)
    assert_type(await atidy("/tmp"), Job)
    assert_type(await atidy.now("/tmp"), int)
    _ = assert_type(atidy("/tmp"), Awaitable[Job])
    assert_type(await belayed.aenqueue(Newsletter(1)), Job)
    assert_type(await belayed.aenqueue_many([send.draft(1)]), list[Job])
    assert_type(await adelay(invoice).anything(1), Any)
    assert_type(await job.arefresh(), Job)
    assert_type(await job.await_(), Job)

    await send.aenqueue("1")  # error: mypy=arg-type pyright=reportArgumentType
    await invoice.co("1")  # error: mypy=arg-type pyright=reportArgumentType
    await Invoice.co_total(3)  # error: mypy=arg-type pyright=reportArgumentType
    await job.achange(quue="mail")  # error: mypy=call-arg pyright=reportCallIssue


# Calls of anything, custom jobs, many at once.


class User(Delayable):
    def notify(self, text: str) -> None: ...


@dataclass
class Newsletter:
    issue: int

    def perform(self) -> None: ...


# What delay() leads to has no types: a proxy cannot say "the same, but a Job" of each method of any object.
assert_type(delay(invoice).anything(1), Any)
assert_type(delay(send, queue="mail")(1), Any)
assert_type(User().delay.notify("hello"), Any)
assert_type(User().delay(queue="mail").notify("hello"), Any)
User().delay(quue="mail")  # error: mypy=call-arg pyright=reportCallIssue

assert_type(belayed.enqueue(Newsletter(1), priority=5), Job)
assert_type(belayed.enqueue_many(send.draft(i) for i in range(3)), list[Job])
assert_type(belayed.enqueue_many([send.draft(1), Newsletter(2)], queue="mail"), list[Job])

# Jobs, and what is asked of them.

jobs = belayed.configure("sqlite:///jobs.db")
job = jobs.get(1)
assert_type(jobs, Jobs)
assert_type(job, Job)
assert_type(job.result, Any)
assert_type(job.wait(timedelta(seconds=5)).refresh(), Job)
assert_type(job.cancel(), bool)
assert_type(job.change(queue="mail", run_at=timedelta(1)), bool)
assert_type(jobs.find(states=[belayed.State.FAILED], queues=["mail"], ids=[1]), list[Job])
assert_type(jobs.cancel(1, 2), int)
assert_type(jobs.delete(queues=["mail"]), int)
assert_type(jobs.change(1, priority=3), int)

job.change(quue="mail")  # error: mypy=call-arg pyright=reportCallIssue
job.change(run_at=60)  # error: mypy=arg-type pyright=reportArgumentType
jobs.delete(queue="mail")  # error: mypy=call-arg pyright=reportCallIssue
jobs.cancel("1")  # error: mypy=arg-type pyright=reportArgumentType
jobs.find(states="failed")  # error: mypy=arg-type pyright=reportArgumentType


def accepts(job: Task[[int], str]) -> None: ...


@task
def named(number: int) -> str:
    return f"{number}"


accepts(named)
accepts(send)  # error: mypy=arg-type pyright=reportArgumentType


# A job's own transaction: its block swallows no error.


def completed(connection: Any) -> int:
    with current_job().transaction(connection) as completion:
        assert_type(completion, Completion)
        completion.result = 1
        completion.reslt = 1  # error: mypy=attr-defined pyright=reportAttributeAccessIssue
        return 1


async def acompleted(connection: Any) -> int:
    async with current_job().transaction(connection) as completion:
        assert_type(completion, Completion)
        return 1
