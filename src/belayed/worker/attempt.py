"""Runs one attempt: loads the payload, calls the hooks and plugins around it, and says how it ended."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar, cast

from belayed.claim import Claimed, Finished, Running, running
from belayed.connections.leftovers import leftovers
from belayed.errors import AttemptStopped, ObjectNotFound, PayloadError, StoreError
from belayed.job import Outcome, State
from belayed.methods import NO_RULES, hook_of
from belayed.outline import Outline, outline, rules_told
from belayed.payload import Loaded, call_hook, load
from belayed.plugin import NOTHING, Within
from belayed.results import leaves, safe_str, succeeded
from belayed.retry import ANSWERS, Fail
from belayed.safelog import log
from belayed.signature import GENERATORS
from belayed.steps import awaited
from belayed.worker.copies import end_instead, keep_from_copies
from belayed.worker.silence import nothing
from belayed.worker.traces import cut_tracebacks, empty_tracebacks, raised
from belayed.worker.verdict import Ended, untold, verdict

T = TypeVar("T")

Ready = Loaded | Outline
"""What is known of a job when its attempt begins: all, or where plugins are to be around its loading its outline."""
Ran = tuple[Loaded | None, Any, BaseException | None]
"""What was loaded for an attempt, what that returned, and what was raised."""
TICK = 0.1
"""Seconds."""


class Attempts:
    """Runs attempts of the jobs of one `Jobs`."""

    def __init__(self, jobs: Any, on_completed: Callable[[Running], None] | None = None) -> None:
        self.jobs, self.on_completed = jobs, on_completed
        self.codec, self.config, self.plugins = jobs.codec, jobs.config, jobs.plugins
        limit = self.config.max_run_time
        self.limit = None if limit is None else limit.total_seconds()
        self.learn: Callable[[Claimed, bool], None] = nothing
        """Called where a job turns out to be a coroutine, or none, when its object is loaded."""
        self.is_wrapped = bool(self.plugins.by_hook["around_attempt"])
        """Plugins are around attempts: all that a job is made of is loaded within them."""
        if jobs.store.one_writer:
            leftovers.watch()
        self.settled: dict[int, Finished] = {}
        """The outcomes of attempts that have failed, while those are called who are to hear of it."""
        keep_from_copies(self)

    def leave_copy(self) -> None:
        """Let a copy end where its job ends: no hook, no notice and no other attempt is its own."""
        end_instead(self, ["begun", "after", "told"])

    def begun(self, claimed: Claimed, *, in_thread: bool = False) -> Running:
        """The attempt of a claimed job, which begins now: *in_thread* it is sure to come to `told`, or to a loop."""
        now, limit = time.monotonic(), self.limit_of(claimed)
        deadline = None if limit is None else now + limit
        run = Running(claimed, self.jobs, deadline, begun=now, on_completed=self.on_completed)
        leftovers.begun(run, in_thread=in_thread)
        return run

    def limit_of(self, claimed: Claimed) -> float | None:
        """Seconds that an attempt may run; None: for ever."""
        return self.limit if claimed.max_run_time is None else claimed.max_run_time

    def load(self, run: Running) -> Ready:
        """The payload, ready to run. Raises PayloadError, and what the application's code raises in it."""
        text = run.claimed.payload
        if text is None:
            text = self.jobs.do(lambda: self.jobs.store.payload(run.claimed.id, run.claimed.token))
        return self.ready(run, text)

    async def aload(self, run: Running) -> Ready:
        """The payload, ready to run. Raises PayloadError, and what the application's code raises in it."""
        text = run.claimed.payload
        if text is None:
            text = await self.jobs.ado(lambda: self.jobs.store.payload(run.claimed.id, run.claimed.token))
        return self.ready(run, text)

    def ready(self, run: Running, text: str | None) -> Ready:
        """A payload, loaded; where plugins are to be around that, its outline."""
        if text is None:
            raise AttemptStopped("interrupted", "the claim was lost before the attempt began")
        if run.claimed.payload is None:
            run.claimed = run.claimed._replace(payload=text)
        if self.is_wrapped:
            return outline(text, self.codec)
        found = load(text, self.codec)
        run.subject = found.subject
        return found

    def loaded(self, run: Running, ready: Ready) -> Loaded:
        """All of a payload."""
        if isinstance(ready, Loaded):
            return ready
        found = ready.load(self.codec)
        run.subject = found.subject
        return found

    def run(self, run: Running, ready: Ready) -> Ran:
        """Run a `def` job: what was loaded, what it returned, and what it raised."""
        token = running.set(run)
        loaded: Loaded | None = None
        value, error = None, None
        if isinstance(ready, Loaded) and ready.hooks is None:
            # There are no plugins: the same without anything around it.
            try:
                value = ready.call(*ready.args, **ready.kwargs)
                if value is not None:
                    value = result_of(value, run)
            except BaseException as raised:
                error = raised
            finally:
                running.reset(token)
            return ready, value, error
        try:
            with self.around(run):
                try:
                    loaded = self.loaded(run, ready)
                    if loaded.is_async:
                        # It runs here: to leave the plugins and enter them elsewhere would look like another attempt.
                        self.learn(run.claimed, True)
                    self.before(run, loaded)
                    value = result_of(loaded.call(*loaded.args, **loaded.kwargs), run)
                except BaseException as raised:
                    error = raised
                    raise
                finally:
                    self.after(run, loaded, error)
        except BaseException as raised:
            error = raised
        finally:
            running.reset(token)
        return loaded, value, error

    async def arun(self, run: Running, ready: Ready) -> Ran:
        """Run an `async def` job: what was loaded, what it returned, and what it raised."""
        token = running.set(run)
        loaded: Loaded | None = None
        value, error = None, None
        if isinstance(ready, Loaded) and ready.hooks is None:
            try:
                if ready.is_async:
                    value = ran(await ready.call(*ready.args, **ready.kwargs), run)
                else:
                    value = await self.run_function(run, ready, Within(NOTHING).call)
            except BaseException as raised:
                error = raised
            finally:
                running.reset(token)
            return ready, value, error
        try:
            async with self.jobs.within(self.around(run)) as call:
                try:
                    loaded = cast(Loaded, await call(partial(self.loaded, run, ready)))
                    self.before(run, loaded)
                    if loaded.is_async:
                        value = ran(await loaded.call(*loaded.args, **loaded.kwargs), run)
                    else:
                        value = await self.run_function(run, loaded, call)
                except BaseException as raised:
                    error = raised
                    raise
                finally:
                    self.after(run, loaded, error)
        except BaseException as raised:
            error = raised
        finally:
            running.reset(token)
        return loaded, value, error

    async def run_function(self, run: Running, loaded: Loaded, call: Callable[[Callable[[], Any]], Any]) -> Any:
        """What a `def` job returns that was taken for a coroutine, as the last one of its name was one."""
        self.learn(run.claimed, False)
        value = await call(partial(loaded.call, *loaded.args, **loaded.kwargs))
        return ran(await value if inspect.iscoroutine(value) else value, run)

    def around(self, run: Running) -> AbstractContextManager[None]:
        """The plugins' context of the attempt; none costs nothing."""
        return self.plugins.around("around_attempt", run.job) if self.is_wrapped else NOTHING

    def before(self, run: Running, loaded: Loaded) -> None:
        """The hook before perform(): what it raises fails the attempt."""
        if loaded.hooks is not None:
            call_hook(loaded.hooks, "before", job=run.job)

    def after(self, run: Running, loaded: Loaded | None, error: BaseException | None) -> None:
        """The hooks after perform(): what they raise is logged, and changes nothing."""
        if loaded is None or loaded.hooks is None:
            return
        if error is None or run.completed is not None:
            self.hook(run, loaded, "success")
        else:
            self.hook(run, loaded, "error", error=error)
        self.hook(run, loaded, "after")
        if self.is_wrapped and error is not None and run.completed is None:
            self.decide(run, loaded, error)

    def decide(self, run: Running, loaded: Loaded, error: BaseException) -> None:
        """Call the hooks that ask or hear what becomes of a failed attempt, while the plugins are still around it.

        The outcome that is found here stands, whatever stop may come before the plugins are left.
        """
        if hook_of(loaded.hooks, "failure") is None and hook_of(loaded.hooks, "reschedule_at") is None:
            return
        try:
            finished = self.judged(run, loaded, error)
        except (AttemptStopped, asyncio.CancelledError):
            raise
        except BaseException:
            # It is raised again, and logged, where the outcome is told.
            return
        run.decided = finished, error
        if finished.state is State.FAILED:
            self.hook(run, loaded, "failure", error=error)

    def hook(self, run: Running, loaded: Loaded, name: str, **given: Any) -> None:
        try:
            call_hook(loaded.hooks, name, job=run.job, **given)
        except (AttemptStopped, asyncio.CancelledError):
            raise
        except BaseException:
            log.exception(
                "the hook %s of %s #%d raised", name, run.claimed.task, run.claimed.id, extra=run.claimed.extra
            )

    def told(self, run: Running, loaded: Loaded | None, value: Any, error: BaseException | None) -> Finished:
        """How an attempt ended, whatever it left behind: what raises here would take a slot with it."""
        try:
            leftovers.ended(run)
        except BaseException as broken:
            log.complain(broken)
        finished = self.concluded(run, loaded, value, error)
        if error is not None:
            self.settled.pop(run.claimed.id, None)
            try:
                if is_logged_as_error(finished):
                    empty_tracebacks(error)
                    finished.error = error
                else:
                    cut_tracebacks(error)
            except BaseException as broken:
                log.complain(broken)
        return finished

    def concluded(self, run: Running, loaded: Loaded | None, value: Any, error: BaseException | None) -> Finished:
        """The outcome of an attempt. Raises nothing."""
        try:
            if run.completed is not None:
                return self.completed(run, run.completed, error)
            if run.decided is not None and (run.decided[1] is error or (error is not None and is_stop(error))):
                finished, error = run.decided
                # Its own hooks have been called.
                self.notify(run, None, finished, error)
                return finished
            if loaded is None:
                assert error is not None
                return self.refused(run, error)
            if error is None:
                return succeeded(run.claimed, value, run.seconds, self.config, self.codec)
            return self.ended(run, loaded, error)
        except BaseException as broken:
            return self.untold(run, broken)

    def outcome_of(self, run: Running) -> Finished:
        """The outcome of an attempt whose end hangs in what is called then, as far as it is known."""
        if run.completed is not None:
            return run.completed
        known = self.settled.get(run.claimed.id)
        return known or untold(run.claimed, run.seconds, TimeoutError(), self.config)

    def untold(self, run: Running, broken: BaseException) -> Finished:
        """The verdict on an attempt of which *broken* was raised instead of a verdict."""
        claimed = run.claimed
        try:
            log.exception("how %s #%d ended could not be told", claimed.task, claimed.id, extra=claimed.extra)
        except BaseException as odd:
            # It is one that looks like a stop.
            log.complain(odd)
        if run.completed is not None:
            return run.completed
        return untold(claimed, run.seconds, broken, self.config)

    def completed(self, run: Running, finished: Finished, error: BaseException | None) -> Finished:
        """The verdict on a job that its own transaction has completed: what came after changes nothing."""
        if error is not None:
            text = "%s #%d raised after its own transaction had completed it; it has succeeded all the same"
            empty_tracebacks(error)
            log.error(text, run.claimed.task, run.claimed.id, exc_info=raised(error), extra=run.claimed.extra)
        finished.seconds = run.seconds
        return finished

    def ended(self, run: Running, loaded: Loaded, error: BaseException) -> Finished:
        """The verdict on an attempt that raised, and the notices of it."""
        finished = self.judged(run, loaded, error)
        self.notify(run, loaded, finished, error)
        return finished

    def judged(self, run: Running, loaded: Loaded, error: BaseException) -> Finished:
        """The verdict on an attempt that raised."""
        stopped = run.stopping if is_stop(error) else None
        ended = Ended(None, error, run.seconds, loaded.rules, loaded.hooks, stopped=stopped, reason=run.reason)
        return verdict(run.claimed, ended, self.config, self.codec)

    def notify(self, run: Running, loaded: Loaded | None, finished: Finished, error: BaseException) -> None:
        """Tell the job's own hook and the plugins of an attempt that failed. Raises nothing."""
        self.settled[run.claimed.id] = finished
        if finished.outcome is Outcome.INTERRUPTED:
            return
        try:
            # What has not started goes back to its queue until it has failed.
            if self.plugins.all and (finished.started or finished.state is State.FAILED):
                self.plugins.notify("on_error", run.job, error)
            if finished.state is State.FAILED:
                if loaded is not None and loaded.hooks is not None:
                    self.hook(run, loaded, "failure", error=error)
                self.plugins.notify("on_failure", run.job, error)
        except BaseException:
            claimed = run.claimed
            log.exception("a notice of the failure of %s #%d raised", claimed.task, claimed.id, extra=claimed.extra)

    def refused(self, run: Running, error: BaseException) -> Finished:
        """The verdict on a job that could not be loaded, and so has not started."""
        stopped = None
        if is_stop(error):
            stopped = run.stopping or Outcome.INTERRUPTED
        elif isinstance(error, StoreError):
            # Its payload could not be fetched: that is not its fault.
            stopped = Outcome.INTERRUPTED
        # What a class or a reference of the application's raises while it is rebuilt is a failure as any other: its
        # database may be back at the next attempt.
        of_application = not isinstance(error, PayloadError) or isinstance(error, ObjectNotFound)
        started = (of_application and stopped is None) or stopped is Outcome.TIMED_OUT
        reason = run.reason or safe_str(error)
        seconds = run.seconds
        rules = rules_told(run.claimed.payload or "", self.codec) if started else NO_RULES
        ended = Ended(None, error, seconds, rules, started=started, stopped=stopped, reason=reason)
        finished = verdict(run.claimed, ended, self.config, self.codec)
        self.notify(run, None, finished, error)
        return finished


def result_of(value: Any, run: Running) -> Any:
    """What a `def` job returned: of a coroutine what that returns. Raises Fail for a generator."""
    return awaited(stoppable(value)) if inspect.iscoroutine(value) else ran(value, run)


def ran(value: Any, run: Running) -> Any:
    """What a job returned. Raises Fail for a generator: none of its code has run, and nobody would run it.

    Raises TypeError for an answer: it was to be raised.
    """
    if isinstance(value, GENERATORS):
        raise Fail(f"{run.claimed.task} returned a generator, which nobody iterates: its code has not run")
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, ANSWERS):
        text = "which does nothing: write raise in the place of return"
        raise TypeError(f"{run.claimed.task} returned {kind.__name__}, {text}")
    return value


def is_logged_as_error(finished: Finished) -> bool:
    """Whether the line about it has what it raised: not one that has answered so that it is to be tried again."""
    return finished.started and (finished.traceback is not None or finished.state is State.FAILED)


def is_stop(error: BaseException) -> bool:
    """Whether it is how a stop shows, alone or among the errors of a group that a TaskGroup made of it."""
    return any(isinstance(one, (AttemptStopped, asyncio.CancelledError)) for one in leaves(error))


async def stoppable(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a `def` job's coroutine in its thread, awake from time to time: only running code sees a stop."""

    async def tick() -> None:
        while True:  # noqa: ASYNC110 (it waits for nothing)
            await asyncio.sleep(TICK)

    ticking = asyncio.ensure_future(tick())
    try:
        return await coroutine
    finally:
        ticking.cancel()
