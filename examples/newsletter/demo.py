"""Belayed at work: sends a newsletter by a worker, shows how far it is, and what became of it. Run it by `make demo`."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

HERE = Path(__file__).resolve().parent
OUT, MAILS = HERE / "out", HERE / "out" / "mails"
SUBSCRIBERS = Path("subscribers.csv")
CHECKS = 10
LONGEST = 25
"""Seconds after which something must be wrong."""

TEXT = """\
Dear $name,

this is issue $number, "$title". It was rendered and sent by a worker,
while the program that asked for it went on with its own work.

To unsubscribe, delete subscribers.csv.
"""

console = Console(highlight=False)


class Mailbox:
    """What the mail server does with a mail: it takes its time, as real ones do, and writes a file."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        await asyncio.sleep(0.05)
        name = envelope.rcpt_tos[0].partition("@")[0]
        (MAILS / f"{name}.eml").write_bytes(envelope.content)
        return "250 OK"


def main() -> None:
    os.chdir(HERE)
    shutil.rmtree(OUT, ignore_errors=True)
    MAILS.mkdir(parents=True)
    server = Controller(Mailbox(), hostname="127.0.0.1", port=0)
    server.start()
    try:
        # The worker inherits it. Port 0 stands for any that is free.
        os.environ["NEWSLETTER_MAIL_PORT"] = str(server.server.sockets[0].getsockname()[1])  # type: ignore[union-attr]
        enqueue()
        with worker() as process:
            watch(process)
            check()
            show()
    finally:
        server.stop()


def enqueue() -> None:
    """Hand all the work to the queue. Nothing runs yet: no worker is there."""
    from newsletter import Campaign, Issue, check_mail_server, print_on_paper, remind, translate

    import belayed

    issue = Issue(7, "Later is fine", TEXT)
    belayed.enqueue(Campaign(issue, SUBSCRIBERS))
    belayed.delay(issue, priority=10).archive()
    translate.enqueue(issue.number)
    print_on_paper.enqueue(issue.number)
    remind.using(run_at=timedelta(seconds=3)).enqueue(issue.number)
    belayed.enqueue_many(check_mail_server.draft(number) for number in range(1, CHECKS + 1))
    console.print("Enqueued a newsletter and a few more jobs. Starting a worker:")
    command("work")


@contextmanager
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a process of its own, which ends with the demo."""
    with (OUT / "worker.log").open("wb") as log:
        process = subprocess.Popen(arguments("work"), stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def watch(process: subprocess.Popen[bytes]) -> None:
    """Show how far the jobs are, until all have ended."""
    begun, shown, shown_at = time.monotonic(), None, 0.0
    with Live(console=console, auto_refresh=False) as live:
        while True:
            now, counts = time.monotonic(), states()
            done = not any(counts[state] for state in ("scheduled", "ready", "running"))
            if console.is_terminal:
                live.update(table(counts, now - begun), refresh=True)
            elif counts != shown and (done or now - shown_at >= 1):
                console.print(", ".join(f"{count} {state}" for state, count in counts.items() if count))
                shown, shown_at = counts, now
            if done:
                break
            if process.poll() is not None or now - begun > LONGEST:
                log = (OUT / "worker.log").read_text("utf-8", "replace")
                what = f"after {LONGEST} s jobs are left" if process.poll() is None else "the worker has ended"
                sys.exit(f"The demo went wrong: {what}. Its log ends with:\n{log[-2000:]}")
            time.sleep(0.1)
    console.print(f"All jobs have ended after {time.monotonic() - begun:.1f} s.\n")


def states() -> Counter[str]:
    """How many jobs are in each state."""
    from belayed import State
    from belayed.config import current

    counts = current().counts()
    found = Counter({state.value: 0 for state in State})
    for one in counts.live:
        found[one.state.value] += one.jobs
    found.update({state.value: count for state, count in counts.ended.items()})
    return found


def table(counts: Counter[str], seconds: float) -> Table:
    """The counts as a picture."""
    colours = {"succeeded": "green", "failed": "red", "running": "cyan"}
    picture = Table(title=f"{seconds:.1f} s", title_justify="left", box=None, show_header=False, min_width=60)
    for state, count in counts.items():
        colour = colours.get(state, "white")
        bar = ProgressBar(counts.total(), count, width=40, complete_style=colour, finished_style=colour)
        picture.add_row(state, f"[{colour}]{count}[/]", bar)
    mails = len(list(MAILS.iterdir()))
    picture.add_row("mails", str(mails), ProgressBar(len(SUBSCRIBERS.read_text().splitlines()) - 1, mails, width=40))
    return picture


def check() -> None:
    """Whether all ended as they should."""
    ...


def show() -> None:
    ...


def arguments(*words: str) -> list[str]:
    return [sys.executable, "-m", "belayed", *words, "--app", "newsletter"]


def command(*words: str) -> None:
    ...


if __name__ == "__main__":
    main()
