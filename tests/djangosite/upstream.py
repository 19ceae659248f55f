"""Our backend with what Django's tests of its dummy ask of that."""

from __future__ import annotations

import asyncio

from asgiref.sync import AsyncToSync

from belayed import State
from belayed.config import current
from belayed.django import TasksBackend
from belayed.django.compat import DummyBackend
from belayed.django.djangotasks import result_of


def off_loop(call):
    """What *call* returns: within an event loop, of the thread that waits for that, and has the test's connection."""
    if asyncio._get_running_loop() is None:
        return call()
    return AsyncToSync.executors.current.submit(call).result()


class Recording(TasksBackend, DummyBackend):
    """It has the dummy's list of results."""

    @property
    def results(self):
        return off_loop(lambda: [result_of(job, self.alias) for job in reversed(current().find(limit=1000))])

    @results.setter
    def results(self, _value):
        """The dummy's own list stays unused."""

    def clear(self):
        off_loop(lambda: current().delete(states=[state for state in State if state is not State.RUNNING]))

    def get_result(self, result_id):
        return off_loop(lambda: TasksBackend.get_result(self, result_id))

    def enqueue(self, task, args, kwargs):
        return off_loop(lambda: TasksBackend.enqueue(self, task, args, kwargs))
