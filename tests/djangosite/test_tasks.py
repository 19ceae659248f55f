"""The backend for `TASKS`."""

from __future__ import annotations

import datetime as dt
import sys
from datetime import timedelta

import django
import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import override_settings
from django.utils import timezone
from shop import tasks
from shop.tasks import aadd, add, fails, returns_a_set, told

from belayed import State
from belayed.config import current
from belayed.django import compat
from belayed.django.compat import InvalidTask, TaskResultDoesNotExist, TaskResultStatus, signals, task_backends
from belayed.errors import NotSerializable
from belayed.testing import adrain, drain, travel

pytestmark = pytest.mark.django_db
COMMITS = pytest.mark.django_db(transaction=True)
EXTRA = pytest.mark.skipif((6, 0) <= django.VERSION < (6, 1), reason="Django 6.0's @task takes no other options")


@pytest.mark.dj(287)
def test_a_task_is_a_job_and_its_result_is_found():
    result = add.enqueue(1, b=2)
    before = (result.status, result.is_finished, result.attempts, result.args, result.kwargs)

    drain()
    result.refresh()

    assert before == (TaskResultStatus.READY, False, 0, [1], {"b": 2})
    assert (result.status, result.return_value, result.attempts) == (TaskResultStatus.SUCCESSFUL, 3, 1)
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.worker_ids == ["belayed.testing"]
    assert add.get_result(result.id).return_value == 3


def test_a_coroutine_is_a_task_too():
    result = aadd.enqueue(1, 2)

    drain()

    assert aadd.get_result(result.id).return_value == 3


@COMMITS
def test_the_async_twins():
    async def request():
        result = await add.aenqueue(1, 2)
        await adrain()
        await result.arefresh()
        return result

    result = async_to_sync(request)()

    assert result.return_value == 3
    assert async_to_sync(add.aget_result)(result.id).return_value == 3


@pytest.mark.dj(287)
@pytest.mark.parametrize(("given", "kept"), [(100, -100), (0, 0), (-7, 7)])
def test_larger_priorities_of_django_are_smaller_ones_of_ours(given, kept):
    result = add.using(priority=given).enqueue(1)

    job = current().get(int(result.id))
    assert (job.priority, add.get_result(result.id).task.priority) == (kept, given)


@pytest.mark.parametrize("after", [timedelta(hours=1), timezone.now() + timedelta(hours=1)])
def test_a_task_may_run_later(after):
    result = add.using(run_after=after).enqueue(1)
    drain()
    before = add.get_result(result.id).status

    with travel(timedelta(hours=1, seconds=1)):
        drain()

    assert (before, add.get_result(result.id).status) == (TaskResultStatus.READY, TaskResultStatus.SUCCESSFUL)


def test_a_wait_begins_when_the_task_is_enqueued():
    later = add.using(run_after=timedelta(hours=1))

    with travel(timedelta(days=1)):
        first = current().get(int(later.using(priority=1).enqueue(1).id))
        second = current().get(int(later.using(run_after=timezone.now()).enqueue(1).id))

    assert first.run_at - first.created_at == timedelta(hours=1)
    assert second.run_at < second.created_at


def test_rules_that_a_worker_would_not_see_are_refused():
    for rules in ({"backoff": timedelta(hours=1)}, {"retry_on": KeyError}, {"discard_on": KeyError}):
        with pytest.raises(InvalidTask, match="bind what using\\(\\) returns to the task's own name"):
            add.using(**rules).enqueue(1)

    assert current().find() == []
    assert tasks.patient.using(priority=5).enqueue().id


def test_a_task_of_a_module_that_is_not_the_project_s_is_not_imported():
    result = add.enqueue(1)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE belayed_jobs SET task = 'antigravity.fly' WHERE id = %s", [int(result.id)])

    with pytest.raises(TaskResultDoesNotExist, match=r"no task antigravity\.fly"):
        add.get_result(result.id)

    assert "antigravity" not in sys.modules


def test_a_task_may_take_its_context():
    result = told.enqueue("hello")

    drain()

    assert told.get_result(result.id).return_value == ["hello", 1, result.id]
    assert current().get(int(result.id)).queue == "mail"


def test_errors_are_told_for_each_attempt_and_retries_are_ours():
    result = fails.using(max_attempts=2).enqueue()

    drain(raises=False)
    result.refresh()
    again = (result.status, [error.exception_class for error in result.errors], result.attempts)
    with travel(timedelta(minutes=1)):
        drain(raises=False)
    result.refresh()

    assert again == (TaskResultStatus.READY, [KeyError], 1)
    assert (result.status, len(result.errors), result.attempts) == (TaskResultStatus.FAILED, 2, 2)
    assert "KeyError: 'no'" in result.errors[0].traceback
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value


@EXTRA
def test_the_decorator_takes_options_of_ours():
    job = current().get(int(tasks.sturdy.enqueue().id))

    assert (job.max_attempts, job.max_run_time) == (2, timedelta(seconds=9))


def test_using_takes_options_of_ours_everywhere():
    task = add.using(max_attempts=4, max_run_time=timedelta(minutes=1), keep_failed=False, priority=3)

    job = current().get(int(task.enqueue(1).id))

    assert (job.max_attempts, job.max_run_time, job.keep_failed, job.priority) == (4, timedelta(minutes=1), False, -3)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"max_attempts": 0}, "max_attempts=0"),
        ({"max_run_time": 5}, "max_run_time=5"),
        ({"backoff": 5}, "backoff=5"),
        ({"priority": 101}, "priority"),
        ({"queue_name": "nowhere"}, "nowhere"),
        ({"run_after": dt.datetime(2030, 1, 1)}, "aware"),  # noqa: DTZ001
    ],
)
def test_wrong_options_are_refused_where_they_are_given(options, why):
    with pytest.raises(InvalidTask, match=why):
        add.using(**options)


@pytest.mark.parametrize("function", [tasks.yields, tasks.ayields])
def test_a_generator_function_is_refused_as_a_task(function):
    with pytest.raises(InvalidTask, match="is a generator function: calling it runs none of its code"):
        tasks.task(function)


def test_a_wrong_call_is_refused_at_the_enqueue():
    with pytest.raises(TypeError, match=r"shop.tasks.add\(.*missing a required argument: 'a'"):
        add.enqueue()

    assert current().find() == []


@pytest.mark.parametrize(
    ("value", "error", "why"),
    [
        (dt.datetime.now(dt.UTC), TypeError, "Unsupported type"),
        ({1: 2}, NotSerializable, "ANY_ARGUMENTS"),
        (float("nan"), NotSerializable, "nan is no JSON"),
    ],
)
def test_arguments_that_are_no_json_are_refused(value, error, why):
    with pytest.raises(error, match=why):
        add.enqueue([value])


@override_settings(TASKS={"default": {"BACKEND": "belayed.django.TasksBackend", "OPTIONS": {"ANY_ARGUMENTS": True}}})
def test_the_rule_can_be_lifted():
    moment, wait = dt.datetime(2026, 5, 1, tzinfo=dt.UTC), timedelta(days=1)
    result = add.enqueue(moment, b=wait)

    drain()
    result.refresh()

    assert result.args == [moment]
    assert result.return_value == moment + wait


def test_a_result_that_is_no_json_fails_the_task_for_good():
    result = returns_a_set.enqueue()

    drain(raises=False)
    result.refresh()

    assert result.status == TaskResultStatus.FAILED
    assert issubclass(result.errors[0].exception_class, TypeError)
    assert result.attempts == 1


@pytest.mark.parametrize("id", ["1", "123456789012345678901234567890", "abc", "", "-1", "1.5", "9" * 5000, "9" * 19])
def test_a_result_that_is_not_there(id):
    with pytest.raises(TaskResultDoesNotExist):
        add.get_result(id)


def test_a_job_that_is_no_task_has_no_result():
    job = tasks.greet.enqueue("ada")

    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(str(job.id))


@pytest.fixture
def heard():
    """The signals of tasks, as they came."""
    found: list = []

    def receive(name):
        def receiver(sender, task_result, **kwargs):
            found.append((name, sender, task_result.id, task_result.status.value, sys.exc_info()[0]))

        return receiver

    names = ("task_enqueued", "task_started", "task_finished")
    receivers = {name: receive(name) for name in names}
    for name in names:
        getattr(signals, name).connect(receivers[name])
    yield found
    for name in names:
        getattr(signals, name).disconnect(receivers[name])


@pytest.mark.dj(57)
@pytest.mark.parametrize("task", [add, aadd])
def test_signals_come_from_the_backend_in_their_order(heard, task):
    result = task.enqueue(1)
    drain()

    backend = type(task_backends["default"])
    assert heard == [
        ("task_enqueued", backend, result.id, "READY", None),
        ("task_started", backend, result.id, "RUNNING", None),
        ("task_finished", backend, result.id, "SUCCESSFUL", None),
    ]


def test_a_failure_is_told_once_with_its_error(heard):
    result = fails.using(max_attempts=2).enqueue()

    drain(raises=False)
    with travel(timedelta(minutes=1)):
        drain(raises=False)

    backend = type(task_backends["default"])
    assert [name for name, *_ in heard] == ["task_enqueued", "task_started", "task_started", "task_finished"]
    assert heard[-1] == ("task_finished", backend, result.id, "FAILED", KeyError)


def results_of(name, run):
    """The results that come with a signal while *run* runs."""
    found: list = []

    def receiver(task_result, **kwargs):
        found.append(task_result)

    getattr(signals, name).connect(receiver)
    try:
        run()
    finally:
        getattr(signals, name).disconnect(receiver)
    return found


@pytest.mark.parametrize("task", [add, aadd])
def test_receivers_see_what_a_task_has_returned(task):
    task.enqueue(1, 2)

    (result,) = results_of("task_finished", drain)

    assert (result.return_value, result.errors) == (3, [])


def test_receivers_see_the_errors_of_a_task_that_failed():
    fails.using(max_attempts=2).enqueue()
    drain(raises=False)

    with travel(timedelta(minutes=1)):
        (result,) = results_of("task_finished", lambda: drain(raises=False))

    assert [one.exception_class for one in result.errors] == [KeyError, KeyError]
    assert "in fails" in result.errors[1].traceback


@pytest.mark.parametrize("task", [tasks.cancels, tasks.discarded])
def test_receivers_hear_of_a_task_that_has_cancelled_itself(task):
    result = task.enqueue()

    (told,) = results_of("task_finished", lambda: drain(raises=False))

    assert (told.id, told.status) == (result.id, TaskResultStatus.FAILED)
    assert told.errors[0].traceback
    assert current().get(int(result.id)).state is State.CANCELLED


@pytest.mark.parametrize("double", ["ImmediateBackend", "DummyBackend"])
def test_the_doubles_take_our_options(double):
    with override_settings(TASKS={"default": {"BACKEND": f"belayed.django.{double}"}}):
        kind = task_backends["default"].task_class
        task = kind(func=add.func, max_attempts=3)

        result = task.using(max_run_time=timedelta(seconds=1)).enqueue(1, 2)

    wanted = TaskResultStatus.SUCCESSFUL if double == "ImmediateBackend" else TaskResultStatus.READY
    assert result.status == wanted


def test_what_runs_at_once_refuses_a_wait():
    with override_settings(TASKS={"default": {"BACKEND": "belayed.django.ImmediateBackend"}}):
        task = task_backends["default"].task_class(func=add.func)

        with pytest.raises(InvalidTask, match="run_after"):
            task.using(run_after=timedelta(hours=1)).enqueue(1, 2)


def test_all_is_supported():
    backend = task_backends["default"]

    flags = ("supports_defer", "supports_async_task", "supports_get_result", "supports_priority")
    assert all(getattr(backend, flag) for flag in flags)
    assert isinstance(backend, compat.BaseTaskBackend)


def test_a_task_that_is_cancelled_has_failed():
    result = add.using(run_after=timedelta(hours=1)).enqueue(1)

    current().cancel(int(result.id))

    assert current().get(int(result.id)).state is State.CANCELLED
    assert add.get_result(result.id).status == TaskResultStatus.FAILED
