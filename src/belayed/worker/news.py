"""Tells plugins of what was decided without a job's code: of crashes, and of jobs that were put aside."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from belayed.claim import Finished, Running
from belayed.errors import AttemptCrashed, AttemptStopped
from belayed.job import Job, Outcome, State
from belayed.safelog import log

WITHIN = 3.0
"""Seconds that plugins may take at the end of a process."""
MOST = 8
"""Threads that tell plugins at the same time: one that hangs must not take more with each crash."""
KEPT = 1000
"""News that wait for a thread; of more the oldest are lost."""


class News:
    """What the plugins of *jobs* are told, in threads: they may take their time."""

    def __init__(self, jobs: Any) -> None:
        self.jobs = jobs
        self.waiting: deque[Finished | int] = deque(maxlen=KEPT)
        self.threads: list[threading.Thread] = []
        self.at_work = 0
        """How many of the threads look for more."""
        self.lock = threading.Lock()

    def tell(self, news: Finished | int) -> None:
        """Tell them of an outcome, or of the job with this id that was put aside."""
        if not self.jobs.plugins.all:
            return
        with self.lock:
            self.waiting.append(news)
            if self.at_work == MOST:
                return
            thread = threading.Thread(target=self.work, name="belayed-news", daemon=True)
            self.threads = [*(one for one in self.threads if one.is_alive()), thread]
            self.at_work += 1
            try:
                thread.start()
            except RuntimeError:
                # There are too many threads or processes: with the next news there may be fewer.
                self.threads.remove(thread)
                self.at_work -= 1

    def work(self) -> None:
        """Tell what waits."""
        while True:
            with self.lock:
                if not self.waiting:
                    self.at_work -= 1
                    return
                news = self.waiting.popleft()
            self.announce(news)

    def told(self) -> None:
        """Wait until they have heard it all, within reason."""
        deadline = time.monotonic() + WITHIN
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def announce(self, news: Finished | int) -> None:
        plugins = self.jobs.plugins
        try:
            job, error, failed = self.known(news)
        except BaseException:
            log.exception("the plugins could not be told of a failure")
            return
        hooks = ["on_crash"] * isinstance(error, AttemptCrashed) + ["on_error"] + ["on_failure"] * failed
        for hook in hooks:
            try:
                plugins.notify(hook, job, error)
            except BaseException:
                # The next news are this thread's, too.
                log.exception("a plugin left its hook %s by an exit", hook)

    def known(self, news: Finished | int) -> tuple[Job, BaseException, bool]:
        """The job, what became of it, and whether that was for good."""
        if isinstance(news, int):
            job: Job = self.jobs.get(news)
            return job, AttemptCrashed(job.error or "its workers died"), True
        assert news.job is not None
        job, text = Running(news.job, self.jobs).job, news.message or news.outcome.value
        timed_out = news.outcome is Outcome.TIMED_OUT
        error = AttemptStopped(news.outcome.value, text) if timed_out else AttemptCrashed(text)
        return job, error, news.state is State.FAILED
