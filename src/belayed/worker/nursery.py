"""Starts, serves, replaces and ends the children: one thread, which never waits for the store nor for a child."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Mapping
from typing import Any

from belayed.config import Config, WorkerConfig
from belayed.job import Outcome
from belayed.safelog import log
from belayed.worker.blame import Left, after_death
from belayed.worker.children import Children
from belayed.worker.frames import SHOWN, BadFrame
from belayed.worker.handed import Child, Role
from belayed.worker.heard import Hello, failure_from, hello_from, largest_of, result_limit
from belayed.worker.output import Output
from belayed.worker.page import clock
from belayed.worker.staff import Staff
from belayed.worker.withdrawal import withdrawn

WATCH = 0.5
"""Seconds between two looks at what runs for too long."""
WEIGH = 1.0
"""Seconds between two looks at the children's memory."""
GOOD_BYE = 5.0
"""Seconds that a child without work may take to end."""
LAST_WORDS = 1.5
"""Seconds for jobs to end that are stopped at the end of the grace."""
FLOOD = 1 << 20
"""Bytes of stderr that are read of a dead child."""
FRAMES = 200
"""So many frames of one child are taken in before the next child's."""
LAST_LOOKS = 1000
"""So often is a dead child's channel looked at: a process that it has left behind may go on writing."""
COMPLAINT = 500
"""Characters of what is wrong with a frame."""
SAYS_NOTHING = 60.0
"""Seconds that a child may hold jobs that do not run and say nothing."""
ASK_AGAIN = 5.0
"""Seconds after which a silent child is asked again for a sign of life."""


class Nursery:
    """The children of one supervisor, and the thread that serves them: whoever calls `step` again and again."""

    def __init__(self, children: Children, config: WorkerConfig, first: Mapping[str, Any], output: Output) -> None:
        self.children, self.config, self.output = children, config, output
        self.staff = Staff(children, config, first, self.attend)
        self.jobs_config = Config()
        """Of the application, once a child has said hello."""
        self.selector = selectors.DefaultSelector()
        self.reading, self.writing = socket.socketpair()
        self.reading.setblocking(False)
        self.writing.setblocking(False)
        self.selector.register(self.reading, selectors.EVENT_READ)
        children.alarm = self.alarm
        self.watched: dict[int, int] = {}
        """Which events each file descriptor is watched for."""
        self.watch_at = self.weigh_at = 0.0
        self.renewing = ""
        """Why all children are to be replaced."""
        self.ending = False
        self.look = min(WATCH, config.kill_after.total_seconds() / 4)

    def renew(self, why: str) -> None:
        """Have all children replaced at the next step, from any thread; also those that did not start."""
        self.renewing = why
        self.alarm()

    def alarm(self) -> None:
        """End the wait of `step`, from any thread or signal handler."""
        try:
            self.writing.send(b"!")
        except OSError:
            pass

    def step(self, longest: float = 60.0) -> None:
        """Wait for news of the children, *longest* seconds at most, and do what is due."""
        if self.renewing:
            self.start_anew()
        now = time.monotonic()
        if not (self.ending or self.children.vacated):
            self.staff.fill(now)
        for child in [child for child in self.children.list if child.process.channel.more]:
            self.listen(child)
        for key, events in self.selector.select(max(0.0, min(longest, self.due(now) - now))):
            if key.fileobj is self.reading:
                self.drain()
            else:
                self.served(key.data, key.fd, events)
        now = time.monotonic()
        for child in list(self.children.list):
            self.reap(child, now)
        if now >= self.watch_at:
            self.watch_at = now + self.look
            self.watch(now)
        self.children.tell()
        self.children.hand_over()
        self.settle(now)

    def drain(self) -> None:
        try:
            while self.reading.recv(4096):
                pass
        except BlockingIOError:
            pass

    def due(self, now: float) -> float:
        """When to come again though nothing has come."""
        due = [float("inf") if self.ending or self.children.vacated else self.staff.due(now)]
        for child in self.children.list:
            if child.process.channel.more:
                return now
            if child.handed or child.withdrawn or child.leaving or not child.ready or not child.has_taken:
                due.append(self.watch_at)
            elif child.role is Role.ALONE:
                due.append(self.children.suspects.spare_until(child, self.children.list, now))
        if self.config.max_rss:
            due.append(self.weigh_at)
        return min(due)

    # What children say.

    def served(self, child: Child, fd: int, events: int) -> None:
        """A child's channel or stderr is ready."""
        process = child.process
        if fd == process.stderr:
            if not self.output.full:
                process.pass_on(self.output)
            return
        if events & selectors.EVENT_WRITE:
            process.channel.flush()
        if events & selectors.EVENT_READ:
            self.listen(child)

    def listen(self, child: Child) -> None:
        """Take in what a child has sent; one that sends anything but valid frames is killed, and that is all."""
        channel = child.process.channel
        try:
            for kind, body in channel.frames(FRAMES):
                with self.children.lock:
                    self.heard(child, kind, body)
                child.said += 1
        except BadFrame as error:
            self.cut_off(child, f"it sent what is not a valid frame: {str(error)[:COMPLAINT]}")
        except Exception:
            log.exception("what %s has sent could not be taken in", child)
            self.cut_off(child, "it sent what could not be taken in")
        self.children.wake()

    def cut_off(self, child: Child, why: str) -> None:
        """Kill a child, and believe nothing more of what it has sent."""
        child.process.channel.open = child.process.channel.more = False
        child.process.kill(why)

    def heard(self, child: Child, kind: str, body: Any) -> None:
        """Take in a frame. Raises BadFrame, and has changed nothing then."""
        if child.ready:
            self.children.heard(child, kind, body)
        elif kind == "hello":
            self.greeted(child, hello_from(body))
        elif kind == "failed" and not child.error:
            child.error = failure_from(body)
        else:
            raise BadFrame(f"{kind[:SHOWN]!r} before its hello")

    def greeted(self, child: Child, hello: Hello) -> None:
        now = time.monotonic()
        child.ready, child.idle_since = True, now
        child.result_limit, child.process.channel.largest = result_limit(hello.config), largest_of(hello.config)
        if not self.staff.started:
            self.jobs_config = hello.config
        self.children.said.greeted(child, hello)
        self.staff.greeted(child, now, hello.form)
        self.children.suspects.started(child, now)
        self.children.demand.learn(hello.kinds)

    # Life and death.

    def attend(self, child: Child) -> None:
        """Watch a new child. Raises OSError."""
        assert child.process.stderr is not None
        self.register(child, child.process.stderr, selectors.EVENT_READ)
        self.register(child, child.process.channel.sock.fileno(), selectors.EVENT_READ)

    def register(self, child: Child, fd: int, events: int) -> None:
        """Watch *fd* for these events."""
        if self.watched.get(fd, 0) == events:
            return
        if not events:
            self.selector.unregister(fd)
            del self.watched[fd]
        elif fd in self.watched:
            self.selector.modify(fd, events, child)
            self.watched[fd] = events
        else:
            self.selector.register(fd, events, child)
            self.watched[fd] = events

    def settle(self, now: float) -> None:
        """Watch each child for what is of interest, let go those without work, and end those that are out of time."""
        for child in self.children.list:
            process = child.process
            channel = process.channel
            try:
                self.watch_files(child)
            except OSError as error:
                process.kill(f"it cannot be watched: {error}")
            is_whole = channel.open and not channel.deaf
            if not is_whole:
                # It has closed it, and lives: nobody will hear of its jobs any more.
                child.kill_at = min(child.kill_at, now + LAST_WORDS)
                child.leaving = child.leaving or "it has closed its channel"
            if child.role is Role.ALONE and now > self.children.suspects.spare_until(child, self.children.list, now):
                self.retire(child)
            if self.children.vacated and not child.handed:
                child.leaving, child.kill_at = child.leaving or "its supervisor ends", now
            # One whose channel is closed may be dying by a fault, which is to be logged.
            if child.leaving and not child.handed and not child.told_to_end and is_whole:
                child.told_to_end = True
                child.kill_at = min(child.kill_at, now + GOOD_BYE)
                process.send("end")
            if now >= child.kill_at:
                process.kill(child.leaving, expected=is_whole)

    def watch_files(self, child: Child) -> None:
        """Watch a child's channel and stderr for what is of interest. Raises OSError."""
        process, channel = child.process, child.process.channel
        writing = selectors.EVENT_WRITE if channel.unsent else 0
        self.register(child, channel.sock.fileno(), selectors.EVENT_READ | writing if channel.open else 0)
        if process.stderr is None:
            self.forget_stderr(child)
        else:
            self.register(child, process.stderr, 0 if self.output.full else selectors.EVENT_READ)

    def retire(self, child: Child) -> None:
        """Let the child for suspects be the spare one, if there is none, or end."""
        if self.config.spare and all(other.role is not Role.SPARE for other in self.children.list):
            child.role = Role.SPARE
        else:
            child.leaving = "it is not needed"

    def forget_stderr(self, child: Child) -> None:
        for fd in [key.fd for key in self.selector.get_map().values() if key.data is child]:
            if fd != child.process.channel.sock.fileno():
                self.register(child, fd, 0)

    def watch(self, now: float) -> None:
        """See to what runs for too long, and to children that are to be replaced."""
        children = self.children
        with children.lock:
            for child in children.list:
                child.process.look_at_line(self.output)
                if child.handed:
                    self.overdue(child, now)
                if why := withdrawn(self.children, child, self.look, is_blocked=self.output.full):
                    self.replace(child, why)
                self.listened(child)
                if child.ready and not child.answers and now >= child.ask_at:
                    # A job may have written over its pulse. One that listens writes it again.
                    child.ask_at = now + ASK_AGAIN
                    child.process.send("hear")
                if children.interrupted and child.handed:
                    child.leaving = child.leaving or children.interrupted
                    child.kill_at = min(child.kill_at, now + LAST_WORDS)
                if child.working and self.config.max_jobs and child.given >= self.config.max_jobs:
                    self.replace(child, f"it has had {child.given} jobs")
        if self.config.max_rss and now >= self.weigh_at:
            self.weigh_at = now + WEIGH
            for child in children.list:
                if child.ready and not child.leaving and (rss := child.process.rss()) > self.config.max_rss:
                    self.replace(child, f"it has {rss / 2**20:.0f} MiB")

    def listened(self, child: Child) -> None:
        """Kill a child that holds jobs, runs none of them, and says nothing: what it sends does not arrive any more.

        Some job may have put another file in the place of the channel, or have written half a frame into it. Looks are
        counted, not seconds: those in which this process is suspended are not the child's. While nobody reads the log,
        children wait with their lines.
        """
        idle = not child.handed or self.output.full or any(child.runs(one) for one in child.handed.values())
        child.still = 0 if idle or child.said else child.still + 1
        child.said = 0
        if child.still * self.look >= SAYS_NOTHING:
            child.process.kill(f"it holds jobs, runs none and has said nothing for {SAYS_NOTHING:g} s")

    def overdue(self, child: Child, now: float) -> None:
        """Condemn a child in which an attempt goes on though it was stopped; kill it when its neighbours are done."""
        late, patience = 0, self.config.kill_after.total_seconds()
        at = clock()
        for one in child.handed.values():
            if not child.runs(one):
                continue
            started = child.started(one)
            limit = one.job.max_run_time
            if limit is None and self.jobs_config.max_run_time is not None:
                limit = self.jobs_config.max_run_time.total_seconds()
            if one.stop is None and limit is not None and at > started + limit + patience:
                one.stop = (Outcome.TIMED_OUT, f"stopped after max_run_time, {limit:g} s")
                one.stopped_at = started + limit
            late += one.stop is not None and at > max(one.stopped_at, started) + patience
        if not late:
            return
        if not child.leaving:
            log.warning("a job in %s does not end: the child takes no more, and is ended", child)
            self.replace(child, "a job of its did not end")
            child.kill_at = now + self.config.grace.total_seconds()
        if late == sum(child.runs(one) for one in child.handed.values()):
            child.kill_at = now

    def replace(self, child: Child, why: str) -> None:
        """Hand a child no more jobs; another takes its place, and it ends with its last one."""
        log.info("%s is replaced: %s", child, why)
        child.leaving, child.asked_at = why, clock()
        child.process.send("back")

    def start_anew(self) -> None:
        """Let all children go, and start others at once."""
        why, self.renewing = self.renewing, ""
        self.staff.start_anew()
        with self.children.lock:
            for child in self.children.list:
                if not child.leaving:
                    self.replace(child, why)
                if not child.ready:
                    child.process.kill(why, expected=True)

    def reap(self, child: Child, now: float) -> None:
        """Bury a child that has died: what it has said to its end counts, and then its page."""
        if not child.process.dead():
            return
        channel = child.process.channel
        for _ in range(LAST_LOOKS):
            if not (channel.open or channel.more):
                break
            self.listen(child)
            if channel.dry and not channel.more:
                break
        for _ in range(FLOOD >> 16):
            if not child.process.pass_on(self.output):
                break
        child.process.end_line(self.output)
        children, death = self.children, child.death()
        with children.lock:
            children.list.remove(child)
            left = self.remains(child)
            outcomes = after_death(death, left, self.jobs_config)
            children.ended.extend(outcomes)
            children.suspects.crashed(outcomes, now, spoilt=death.spoilt)
        self.forget_stderr(child)
        self.register(child, channel.sock.fileno(), 0)
        if child.process.stderr is not None:
            self.register(child, child.process.stderr, 0)
        child.process.close()
        self.mourn(child, str(death), left, [one.id for one in outcomes if one.failed])
        if not (child.ready or child.process.expected or self.ending):
            self.staff.failed(child.role, child.error or f"{death}\n{child.process.last_lines()}".rstrip(), now)
        children.wake()

    def remains(self, child: Child) -> list[Left]:
        """The attempts that had started; jobs that had not wait for another child."""
        left = []
        for one in list(child.handed.values()):
            started = child.started(one)
            found = child.left(one)
            child.drop(one)
            if one.completed is not None:
                self.children.ended.append(one.completed)
            if started:
                left.append(found)
            elif one.completed is None:
                self.children.returned(one)
        return left

    def mourn(self, child: Child, death: str, left: list[Left], charged: list[int]) -> None:
        """Log a death, if it was none that was asked for."""
        if child.told_to_end and not left or not child.ready:
            return
        ids = ", ".join(f"{one.job.task} #{one.job.id}" for one in left if one.running)
        blame = "charged" if charged else "none of them is charged"
        log.error("child %s%s", death.removeprefix("its "), f"; it ran {ids} ({blame})" if ids else "")

    # The end.

    def end(self, within: float) -> None:
        """End all children: those without work at once, the others with the last of it, all after so many seconds."""
        self.ending = True
        deadline = time.monotonic() + within
        for child in self.children.list:
            child.leaving = child.leaving or "its supervisor ends"
            child.kill_at = min(child.kill_at, deadline)
        while self.children.list:
            self.step(0.1)
        self.selector.close()
        self.reading.close()
        self.writing.close()
