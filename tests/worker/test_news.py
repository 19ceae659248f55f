"""Plugins that hang or exit when they are told of a crash."""

from __future__ import annotations

import threading
from typing import Any

from belayed import Job, Plugin
from belayed.jobs import Jobs
from belayed.worker.news import MOST, News
from tests.worker.helpers import eventually
from tests.worker.tasks import double


class Hears(Plugin):
    """Is told of jobs. It waits until it is *free*."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.free, self.heard, self.error = threading.Event(), [], error  # type: ignore[var-annotated]

    def on_crash(self, job: Job, error: BaseException) -> None:
        self.free.wait()
        if self.error is not None:
            raise self.error

    def on_failure(self, job: Job, error: BaseException) -> None:
        self.heard.append(job.id)


def test_a_plugin_that_hangs_holds_up_news_and_takes_few_threads(opened: Any, sqlite_path: Any) -> None:
    plugin = Hears()
    jobs: Jobs = opened(f"sqlite:///{sqlite_path}", plugins=[plugin])
    news, saved = News(jobs), [double.enqueue(1) for _ in range(3 * MOST)]

    for job in saved:
        news.tell(job.id)

    assert len(news.threads) == MOST
    plugin.free.set()
    eventually(lambda: sorted(plugin.heard) == [job.id for job in saved])
    eventually(lambda: not news.at_work)


def test_a_plugin_that_exits_is_told_the_rest(opened: Any, sqlite_path: Any) -> None:
    plugin = Hears(SystemExit(3))
    plugin.free.set()
    jobs: Jobs = opened(f"sqlite:///{sqlite_path}", plugins=[plugin])
    news, saved = News(jobs), [double.enqueue(1) for _ in range(3)]

    for job in saved:
        news.tell(job.id)

    eventually(lambda: sorted(plugin.heard) == [job.id for job in saved])
