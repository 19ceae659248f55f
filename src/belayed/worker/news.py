"""Tells plugins of what was decided without a job's code: of crashes, and of jobs that were put aside."""

from __future__ import annotations

import threading
import time
from typing import Any

from belayed.claim import Finished, Running
from belayed.errors import AttemptCrashed, AttemptStopped
from belayed.job import Job, Outcome, State
from belayed.safelog import log

WITHIN = 3.0
"""Seconds that plugins may take at the end of a process."""


class News:
    """What the plugins of *jobs* are told, in threads: they may take their time."""

    def __init__(self, jobs: Any) -> None:
        self.jobs = jobs
        self.threads: list[threading.Thread] = []

    def tell(self, news: Finished | int) -> None:
        """Tell them of an outcome, or of the job with this id that was put aside."""
        if not self.jobs.plugins.all:
            return
        thread = threading.Thread(target=self.announce, args=(news,), name="belayed-news", daemon=True)
        self.threads = [*(one for one in self.threads if one.is_alive()), thread]
        thread.start()

    def told(self) -> None:
        """Wait until they have heard it all, within reason."""
        deadline = time.monotonic() + WITHIN
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def announce(self, news: Finished | int) -> None:
        plugins = self.jobs.plugins
        try:
            job, error, failed = self.known(news)
        except Exception:
            log.exception("the plugins could not be told of a failure")
            return
        if isinstance(error, AttemptCrashed):
            plugins.notify("on_crash", job, error)
        plugins.notify("on_error", job, error)
        if failed:
            plugins.notify("on_failure", job, error)

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
