"""A child process of a supervisor: runs the jobs that it is handed. `python -m belayed.worker.child` is its program.

It touches the store only to enqueue, to read, and in a job's own transaction. Its main thread listens to the
supervisor; jobs run in threads and in an event loop, as in any worker's slots.
"""

from __future__ import annotations

import faulthandler
import io
import os
import selectors
import socket
import sys
import threading
import time
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from belayed.application import Application, loaded
from belayed.claim import Claimed, Finished, Running
from belayed.connections.leftovers import leftovers
from belayed.job import Outcome, State
from belayed.payload import registry
from belayed.safelog import last_words, shown
from belayed.worker.aside import Aside
from belayed.worker.attempt import Attempts
from belayed.worker.blame import BROKEN, LOST
from belayed.worker.breakpoints import refuse_breakpoints
from belayed.worker.copies import keep_from_copies
from belayed.worker.frames import BadFrame, Channel, finished_row, success_row, unheard_from
from belayed.worker.greeting import Answering, Parameters, hello, said_of
from belayed.worker.leftovers import Leftovers
from belayed.worker.loglike import Form, log_of_child
from belayed.worker.page import Page, clock
from belayed.worker.portions import by_size, parted
from belayed.worker.prints import end_lines, keep_lines_whole
from belayed.worker.report import HALF, Report
from belayed.worker.saying import HANGS
from belayed.worker.signals import die_with_parent, ignore_signals
from belayed.worker.slots import Slots
from belayed.worker.title import set_title
from belayed.worker.traces import Unlogged

PATIENCE = 0.1
"""Seconds that a job waits here for a thread before it goes back to the supervisor."""
LINGER = 0.002
"""Seconds that an outcome waits for company, after another one: a frame for each would cost as much as a job."""
FULL = 100
"""Outcomes that are company enough."""


class Child:
    """The slots of this process, and the channel to its supervisor."""

    def __init__(
        self, channel: Channel, page: Page, jobs: Any, first: dict[str, Any], form: Form, parameters: Parameters
    ) -> None:
        self.channel, self.page, self.jobs, self.form = channel, page, jobs, form
        self.parameters, self.answering = parameters.first(), Answering(channel, parameters)
        self.attempts = Attempts(jobs, on_completed=self.completed)
        self.slots = Slots(
            self.attempts,
            threads=first["threads"],
            async_slots=first["async_slots"],
            read_ahead=first["read_ahead"],
            patience=PATIENCE,
            lease=page,
            apart=False,
        )
        self.report = Report(jobs.config)
        self.report.most = HALF
        self.slots.mark, self.slots.began = self.mark, self.report.started
        self.slots.done_with, self.slots.is_quiet = self.done_with, self.report.is_full
        self.slots.wake, self.slots.broke = self.wake, self.broken
        self.unlogged = Unlogged()
        self.leftovers = Leftovers(self.slots)
        self.cells: dict[int, int] = {}
        self.told: dict[str, bool] = {}
        """The kinds of tasks that the supervisor knows."""
        self.reading, self.writing = socket.socketpair()
        self.reading.setblocking(False)
        self.writing.setblocking(False)
        self.sending = threading.Lock()
        self.ending = False
        self.limit = float("inf")
        """The shortest time limit of a job that was handed over."""
        self.tend_at = self.sent_at = 0.0
        keep_from_copies(self)

    def leave_copy(self) -> None:
        """Let a copy have no part in what the supervisor hears, or reads in the page."""
        self.channel.close()
        # A thread that is not in the copy may have held it.
        self.channel.lock = threading.Lock()
        self.reading.close()
        self.writing.close()
        self.page.close()

    def mark(self, id: int) -> bool:
        """Write in the page that an attempt starts; False: the supervisor has taken the job back."""
        return self.page.start(self.cells[id])

    def done_with(self, finished: Finished) -> None:
        """Write in the page that an attempt has ended: nothing of the application's runs for it any more."""
        if finished.started:
            self.page.end(self.cells[finished.id])

    def completed(self, run: Running) -> None:
        """Tell at once that a job has completed itself: whatever becomes of its attempt, it has succeeded."""
        assert run.completed is not None
        self.channel.send("completed", [self.cells[run.completed.id], finished_row(run.completed)])

    def wake(self) -> None:
        """An outcome is there: send it, or where one has just been sent let it wait for company."""
        ended = self.slots.ended
        if len(ended) >= FULL or time.monotonic() > self.sent_at + LINGER:
            self.send()
        elif len(ended) == 1:
            self.alarm()

    def alarm(self) -> None:
        try:
            self.writing.send(b"!")
        except OSError:
            pass

    def send(self) -> None:
        """Send the outcomes that are there, unless another thread is at it: it will see to all of them."""
        while self.slots.pending() and self.sending.acquire(blocking=False):
            try:
                # Before the outcomes are known: what they have left behind may end this process from now on.
                self.page.left_behind = self.leftovers.count()
                successes, others, size = [], [], 0
                for one in self.slots.outcomes():
                    cell = self.cells.pop(one.id)
                    if one.state is State.SUCCEEDED and not one.written:
                        successes.append(success_row(cell, one))
                        size += len(one.result) if one.result is not None else 0
                    else:
                        self.unlogged.keep(one)
                        others.append([cell, finished_row(one)])
                kinds = self.slots.demand.kinds
                if len(kinds) != len(self.told):
                    found = {name: is_async for name, is_async in list(kinds.items()) if name not in self.told}
                    self.told.update(found)
                    self.channel.send("kinds", found)
                self.sent_at = time.monotonic()
                # A supervisor reads no larger frames than it must.
                gone = True
                for some in parted(successes, size):
                    gone &= self.channel.send("succeeded", some)
                for some in by_size(others):
                    gone &= self.channel.send("ended", some)
                if self.channel.deaf or not gone:
                    self.alarm()
            finally:
                self.sending.release()

    def broken(self) -> None:
        """End this process at once, but for the outcomes that are known: those go first, as far as they can."""
        try:
            self.send()
            self.channel.flush()
        except BaseException as error:
            last_words.say(f"belayed: the last outcomes of a child could not be sent: {shown(error)}")
        broken()

    def run(self) -> None:
        """Serve until the supervisor says so, or is gone."""
        selector = selectors.DefaultSelector()
        channel = self.channel
        selector.register(self.reading, selectors.EVENT_READ)
        events = selectors.EVENT_READ
        selector.register(channel.sock, events)
        self.slots.open()
        self.leftovers.open()
        self.told = {name: one.is_async for name, one in registry.items()}
        self.channel.send("hello", hello(self.jobs, self.told, self.form, self.parameters))
        while not (self.ending and self.slots.idle() and not channel.unsent):
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.unsent else 0)
            if wanted != events:
                events = wanted
                selector.modify(channel.sock, events)
            found = selector.select(self.pause())
            for key, _ in found:
                if key.fileobj is self.reading:
                    self.drain()
                    time.sleep(max(0.0, min(LINGER, self.sent_at + LINGER - time.monotonic())))
            with self.jobs.plugins.around("around_pass", self):
                self.listen()
                now = time.monotonic()
                self.tend_at = min(self.slots.tend(now), self.unlogged.tend(now))
                self.send()
                channel.flush()

    def pause(self) -> float | None:
        """Seconds until something is due; None: nothing is."""
        due = self.tend_at
        if self.slots.idle():
            self.limit = float("inf")
        else:
            # A log handler that hangs is to be noticed.
            due = min(due, time.monotonic() + min(self.limit, HANGS))
        return None if due == float("inf") else max(0.0, due - time.monotonic())

    def drain(self) -> None:
        try:
            while self.reading.recv(4096):
                pass
        except BlockingIOError:
            pass

    def listen(self) -> None:
        """Do what the supervisor has said. Without it, nobody would hear of an outcome: then this is the end."""
        try:
            for kind, body in self.channel.frames():
                self.heard(kind, body)
        except BadFrame as error:
            lost(error)
        self.page.pulse = clock()
        if self.channel.deaf or not self.channel.open:
            os._exit(LOST)

    def heard(self, kind: str, body: Any) -> None:
        if kind == "jobs":
            try:
                jobs = [(claimed_at, self.taken(cell, row)) for cell, claimed_at, row in body]
            except (TypeError, ValueError) as error:
                raise BadFrame("jobs that are not jobs") from error
            for claimed_at, some in groupby(jobs, itemgetter(0)):
                self.slots.start([job for _, job in some], claimed_at)
            # To let go of Python's lock: a job that has a thread begins at once.
            time.sleep(0)
        elif kind == "stop":
            try:
                id, outcome, reason = body
                self.slots.stop(id, Outcome(outcome), reason)
            except (TypeError, ValueError) as error:
                raise BadFrame("a stop that says not of what") from error
        elif kind == "back":
            self.slots.take_back()
        elif kind == "news":
            self.slots.notify(body if isinstance(body, int) else told_of(body))
        elif kind == "written":
            for row in body if isinstance(body, list) else ():
                finished = told_of(row)
                self.unlogged.put_back(finished)
                self.report.say(finished)
        elif kind == "parameters":
            self.answering.answer()
        elif kind == "end":
            self.ending = True

    def taken(self, cell: int, row: list[Any]) -> Claimed:
        """A job that the supervisor hands over."""
        job = Claimed._make(row)
        self.cells[job.id] = cell
        self.limit = min(self.limit, self.attempts.limit_of(job) or self.limit)
        return job


def told_of(row: Any) -> Finished:
    """An outcome that the supervisor tells of."""
    try:
        return unheard_from(*row)
    except (TypeError, ValueError) as error:
        raise BadFrame("news of nothing") from error


def main(sock: int, page: int, cells: int) -> None:
    """The life of a child: the application, hello, jobs, the end."""
    die_with_parent()
    faulthandler.enable(all_threads=False)
    ignore_signals()
    last_words.keep()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    keep_lines_whole()
    leftovers.only_jobs = True
    os.set_inheritable(sock, False)
    os.set_inheritable(page, False)
    channel = Channel(socket.socket(fileno=sock), trusting=True)
    first, before = first_frame(channel), dict(os.environ)
    set_title(first["title"])
    try:
        jobs = application(first)
        form = log_of_child(first["log_level"], first["log_format"])
        child = Child(channel, Page(page, cells), jobs, first, form, Parameters(jobs, before))
    except Exception as error:
        channel.send("failed", said_of(error))
        channel.close()
        sys.exit(2)
    try:
        # This thread must go on: without it no stop arrives.
        with Aside(), jobs.plugins.around("around_work", child):
            child.run()
            child.slots.news.told()
    except BaseException as error:
        # Threads of the jobs would keep this process alive, with nobody who serves its supervisor.
        last_words.say(f"belayed: the main thread of a child died, so it ends: {shown(error)}")
        child.broken()
    jobs.close()
    flush()


def lost(error: BadFrame) -> None:
    """End: some job has read from the channel, or written to it, so nobody knows what comes next."""
    last_words.say(f"what came from the supervisor is not a valid frame: {error}")
    os._exit(LOST)


def first_frame(channel: Channel) -> dict[str, Any]:
    """What the supervisor says first."""
    channel.sock.setblocking(True)
    channel.sock.settimeout(None)
    while channel.open:
        data = channel.sock.recv(1 << 16)
        if not data:
            break
        channel.unread += data
        channel.sock.setblocking(False)
        try:
            for kind, body in channel.frames():
                if kind == "begin" and isinstance(body, dict):
                    return body
        except BadFrame as error:
            lost(error)
        channel.sock.setblocking(True)
    os._exit(LOST)


def application(first: dict[str, Any]) -> Any:
    """The application's `Jobs`."""
    named = first["app"]
    app = Application(named[0], named[1], Path(named[2])) if named else None
    refuse_breakpoints(f"{app.program if app else 'belayed'} work --processes 0 --threads 1")
    jobs = loaded(app, first["url"])
    jobs.prepare()
    if first["log_arguments"]:
        jobs.config = replace(jobs.config, log_arguments=True)
    return jobs


def flush() -> None:
    """Write what jobs have printed. The supervisor ends this process if threads that a job has left behind keep it."""
    end_lines()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass


def broken() -> None:
    """End this process at once: it is not sound any more, and has said why."""
    os._exit(BROKEN)


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:4]))
