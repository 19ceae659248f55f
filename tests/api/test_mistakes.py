"""What is written by mistake, as by those who come from other libraries, is answered with what to write instead."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import belayed
from belayed import Job, Jobs, adelay, delay, handle_asynchronously, task
from belayed.errors import ConfigError, OptionError, UnknownPayload, UnknownTask
from belayed.job import Options
from belayed.mistakes import METHODS, OF_JOB, OF_TASK, OPTIONS
from belayed.payload import load


@task
def send(number: int) -> int:
    return number


@task
async def publish(number: int) -> int:
    return number


@task
def carry(queue: str) -> None: ...


def plain(number: int) -> int:
    return number


@handle_asynchronously
def handled(number: int) -> int:
    return number


class User:
    @handle_asynchronously
    def activate(self, device: str) -> None: ...

    def notify(self, text: str) -> None: ...


def written(call: Callable[[], Any]) -> str:
    """What the error of a call says."""
    with pytest.raises((TypeError, ConfigError)) as raised:
        call()
    return str(raised.value)


@pytest.mark.parametrize("call", [send.enqueue, send.draft, send.delay, send.using(priority=3).enqueue])
def test_an_option_among_the_arguments_of_a_task_is_shown_its_place(call):
    text = written(lambda: call(1, queue="mail"))

    assert text == (
        f"{send.name}(number: 'int') -> 'int': got an unexpected keyword argument 'queue'; "
        "options go in .using(queue=…)"
    )


async def test_an_option_among_the_arguments_is_shown_its_place_in_async_code():
    with pytest.raises(TypeError, match=r"; options go in \.using\(queue=…\)$"):
        await send.aenqueue(1, queue="mail")


@pytest.mark.parametrize("option", Options.__annotations__)
def test_each_option_is_known_among_the_arguments(option):
    assert f"; options go in .using({option}=…)" in written(lambda: send.enqueue(1, **{option: None}))


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("countdown", "run_at=timedelta(seconds=…)"),
        ("eta", "run_at=…"),
        ("max_retries", "max_attempts=…"),
        ("job_timeout", "max_run_time=timedelta(seconds=…)"),
    ],
)
def test_an_option_of_another_library_is_translated(option, meant):
    assert written(lambda: send.delay(1, **{option: 3})).endswith(f"; options go in .using({meant})")
    assert written(lambda: send.using(**{option: 3})).endswith(f"; for {option} write {meant}")


@pytest.mark.parametrize(
    "call",
    [
        lambda: handled(1, queue="mail"),
        lambda: User().activate("phone", queue="mail"),
        lambda: delay(User()).notify("hello", queue="mail"),
        lambda: delay(plain)(1, queue="mail"),
    ],
)
def test_an_option_among_the_arguments_of_another_call_is_shown_its_place(call):
    assert written(call).endswith("; options go in delay(…, queue=…)")


def test_an_argument_that_is_called_as_an_option_is_an_argument(jobs):
    assert written(lambda: carry.draft(priority=1, queue="mail")).endswith("; options go in .using(priority=…)")
    assert carry.draft(queue="mail").queue == ""


def test_an_unknown_argument_is_only_that():
    assert written(lambda: send.enqueue(1, nombre=2)).endswith("got an unexpected keyword argument 'nombre'")


def test_an_unknown_option_of_a_task_lists_all_that_it_takes():
    text = written(lambda: task(que="mail")(plain))

    listed = text.partition("there are ")[2].partition(";")[0]
    assert listed.split(", ") == [*Options.__annotations__, *OF_TASK]
    assert text.endswith("; did you mean queue?")


def test_an_unknown_option_of_a_handled_function_lists_all_that_it_takes():
    text = written(lambda: handle_asynchronously(retry_an=KeyError))

    assert "jobs, retry_on, discard_on, backoff; did you mean retry_on?" in text


@pytest.mark.parametrize("name", OF_TASK)
def test_what_only_a_task_takes_is_sent_there(name):
    assert written(lambda: send.using(**{name: None})).endswith(f"; {name} is said where the task is: @task({name}=…)")


def test_an_option_like_none_is_only_listed():
    assert written(lambda: send.using(colour="red")).endswith("connection, jobs")


def test_a_number_of_seconds_is_shown_as_a_time():
    assert written(lambda: send.using(run_at=30)).endswith("or a timedelta from now, such as timedelta(seconds=30)")


def test_an_option_without_its_name_is_refused():
    assert written(lambda: task("mail")) == (
        "@task('mail'): options go by their names, @task(queue=…) or @task(name=…)"
    )


def test_an_option_of_using_without_its_name_is_refused():
    using: Any = send.using

    assert written(lambda: using("mail")) == (
        "using() takes options by their names: .using(queue=…); arguments go in .enqueue(…)"
    )


@pytest.mark.parametrize(
    ("subject", "advice"),
    [
        (lambda: send, "cannot enqueue a Task: it is a task: write send.enqueue(…)"),
        (lambda: None, "it is no job: enqueue(send(1)) calls send here; write send.enqueue(1)"),
        (lambda: plain, "mark a function with @task and call plain.enqueue(…), or write delay(plain)(…)"),
        (lambda: lambda: 1, "it has no method perform(): mark a function with @task"),
        (lambda: print, "it has no method perform(): write a function that calls it, and mark that with @task"),
        (lambda: "tests.send", "enqueue a task's draft (send_mail.draft(…)) or an object with perform()"),
    ],
)
def test_what_is_no_job_is_answered_with_what_to_write(jobs, subject, advice):
    assert written(lambda: belayed.enqueue(subject())).endswith(advice)


def test_a_call_of_a_coroutine_function_is_answered_with_what_to_write(jobs):
    called = publish(1)

    assert written(lambda: belayed.enqueue(called)).endswith("which has not run: write await publish.aenqueue(…)")
    called.close()


@pytest.mark.parametrize(
    ("subject", "instead"),
    [(send, "send.enqueue(…)"), (plain, "delay(plain)(…)"), (User(), "delay(obj).method(…)")],
    ids=["task", "function", "object"],
)
async def test_arguments_beside_what_is_enqueued_are_shown_their_place(subject, instead):
    calls: list[Any] = [belayed.enqueue, Jobs("sqlite://").enqueue, delay, adelay]
    acalls: list[Any] = [belayed.aenqueue, Jobs("sqlite://").aenqueue]

    for enqueue in calls:
        with pytest.raises(OptionError, match=re.escape(f"arguments go in the last parentheses: {instead}")):
            enqueue(subject, 1)
    for aenqueue in acalls:
        with pytest.raises(OptionError, match=re.escape(f"arguments go in the last parentheses: {instead}")):
            await aenqueue(subject, 1)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_of_other_libraries_tasks_is_answered_with_ours(name):
    with pytest.raises(AttributeError) as raised:
        getattr(send, name)

    assert str(raised.value) == f"a Task has no {name!r}: write {METHODS[name].format('send')}"


def test_a_misspelt_method_of_a_task_is_like_any_missing_attribute():
    with pytest.raises(AttributeError) as raised:
        send.enqeue  # type: ignore[attr-defined]

    assert (raised.value.name, raised.value.obj) == ("enqeue", send)
    assert not hasattr(send, "enqeue")


@pytest.mark.parametrize("name", OF_JOB)
def test_an_attribute_of_other_libraries_jobs_is_answered_with_ours(jobs, name):
    job: Any = send.enqueue(1)

    with pytest.raises(AttributeError, match=r"^a Job has no '\w+': write job\."):
        getattr(job, name)


def test_the_words_of_others_are_none_of_ours():
    assert not set(OPTIONS) & {*Options.__annotations__, *OF_TASK}
    assert not [name for name in METHODS if name in vars(type(send)) or name in vars(send)]
    assert not [name for name in OF_JOB if hasattr(Job, name)]


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: Jobs("sqlite://", max_attempt=3), "did you mean max_attempts?"),
        (lambda: Jobs("sqlite://").find(state=["ready"]), "did you mean states?"),
    ],
)
def test_an_unknown_setting_or_condition_is_answered_with_the_nearest(call, meant):
    assert written(call).endswith(meant)


@pytest.mark.parametrize(
    ("ref", "why"), [("tests.gone:send", "finds no module tests.gone"), (f"{__name__}:gone", "has no gone")]
)
def test_a_task_that_is_not_found_is_said_to_need_an_alias_if_it_was_renamed(jobs, ref, why):
    text = json.dumps({"v": 1, "call": ref, "args": [], "kwargs": {}, "task": "tests.gone.send"})

    with pytest.raises(UnknownTask) as raised:
        load(text, jobs.codec)

    assert why in str(raised.value)
    assert str(raised.value).endswith("let the new one answer to it: @task(aliases=['tests.gone.send'])")


@pytest.mark.parametrize(
    "payload",
    [
        {"call": f"{__name__}:gone", "args": [], "kwargs": {}},
        {"call": f"{__name__}:send", "args": [1, 2, 3, 4, 5, 6, 7], "kwargs": {}},
        {"class": f"{__name__}:User", "fields": {}},
    ],
    ids=["function", "signature", "method"],
)
def test_code_that_a_worker_does_not_have_may_need_a_restart_only(jobs, payload):
    with pytest.raises(UnknownPayload) as raised:
        load(json.dumps({"v": 1, **payload}), jobs.codec)

    assert "restart the worker if the code has changed since it started, " in str(raised.value)


def test_a_time_from_now_is_not_taken_for_a_mistake(jobs):
    assert send.using(run_at=timedelta(seconds=30)).enqueue(1).state == "scheduled"
