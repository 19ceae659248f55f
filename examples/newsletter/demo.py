"""Belayed at work: a worker sends a newsletter while you watch, and what became of it. Start it by `make demo`."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
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
from newsletter import OUT, Campaign, Issue, check_mail_server, jobs, print_on_paper, remind, translate
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

import belayed
from belayed import Job, State

SUBSCRIBERS = Path("subscribers.csv")
MAILS = OUT / "mails"
LOG = OUT / "worker.log"
CHECKS = 10
LONGEST = 25
"""Seconds after which something must be wrong."""
COLOURS = {"scheduled": "yellow", "running": "cyan", "succeeded": "green", "failed": "red"}

TEXT = """\
Dear $name,

this is issue $number, "$title". A worker wrote and sent it,
while the program that asked for it went on with its own work.
"""

console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    os.chdir(Path(__file__).parent)
    shutil.rmtree(OUT, ignore_errors=True)
    MAILS.mkdir(parents=True)
    with mail_server():
        enqueued = enqueue()
        console.print("Enqueued:", *enqueued, sep="\n  ")
        console.print("\nNothing runs yet. Now a worker starts:")
        with worker() as process:
            watch(process)
            command("status")
            command("jobs", str(enqueued["a job that cannot succeed"].id))
    check(enqueued)
    console.print(f"The mails are in {MAILS.absolute()}, what the worker logged in {LOG.name} beside them.")


class Mailbox:
    """What the mail server does with a mail: it takes its time, as real ones do, and writes a file."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        await asyncio.sleep(0.1)
        name = envelope.rcpt_tos[0].partition("@")[0]
        (MAILS / f"{name}.eml").write_bytes(envelope.content)
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[None]:
    """A mail server of our own, on a free port that the worker is told by its environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Controller(Mailbox(), hostname="127.0.0.1", port=port)
    server.start()
    os.environ["NEWSLETTER_MAIL_PORT"] = str(port)
    try:
        yield
    finally:
        server.stop()


def enqueue() -> dict[str, Job]:
    """Hand everything to the queue; this takes milliseconds."""
    issue = Issue(7, "Later is fine", TEXT)
    checks = belayed.enqueue_many(check_mail_server.draft(number) for number in range(CHECKS))
    return {
        "a newsletter": belayed.enqueue(Campaign(issue, SUBSCRIBERS)),
        "its archive": belayed.delay(issue, queue="archive").archive(),
        "a job that fails twice": translate.enqueue(issue.number),
        "a job that cannot succeed": print_on_paper.enqueue(issue.number),
        "a reminder in 3 s": remind.using(run_at=timedelta(seconds=3)).enqueue(issue.number),
        f"{CHECKS} coroutines": checks[0],
    }


@contextmanager
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a process of its own, as in production; it ends with the demo."""
    console.print("[dim]$ belayed work --app newsletter[/]\n")
    with LOG.open("wb") as log:
        process = subprocess.Popen(belayed_command("work"), stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def watch(process: subprocess.Popen[bytes]) -> None:
    """Show how far the jobs are, until all have ended: a picture on a terminal, lines elsewhere."""
    begun = said = time.monotonic()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            now, counts = time.monotonic(), states()
            done = not (counts["scheduled"] or counts["ready"] or counts["running"])
            if console.is_terminal:
                live.update(picture(counts), refresh=True)
            elif done or now - said >= 1:
                console.print(", ".join(f"{count} {state}" for state, count in counts.items() if count))
                said = now
            if done:
                break
            if process.poll() is not None or now - begun > LONGEST:
                problem = "the worker has ended" if process.poll() is not None else f"after {LONGEST} s jobs are left"
                sys.exit(f"The demo went wrong: {problem}. {LOG.absolute()} ends with\n{LOG.read_text()[-2000:]}")
            time.sleep(0.05)
    console.print(f"\nAll jobs have ended after {now - begun:.1f} s.\n")


def states() -> Counter[str]:
    """How many jobs are in each state."""
    counts = jobs.counts()
    found = Counter({state.value: counts.ended.get(state, 0) for state in State})
    for one in counts.live:
        found[one.state.value] += one.jobs
    return found


def picture(counts: Counter[str]) -> Table:
    """The counts as bars."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=9)
    grid.add_column(width=4, justify="right")
    for state, count in counts.items():
        colour = COLOURS.get(state, "white")
        bar = ProgressBar(counts.total(), count, width=50, complete_style=colour, finished_style=colour)
        grid.add_row(state, str(count), bar, style=None if count else "dim")
    return grid


def belayed_command(*words: str) -> list[str]:
    return [sys.executable, "-m", "belayed", *words, "--app", "newsletter"]


def command(*words: str) -> None:
    """Run a command of Belayed's, as you would."""
    console.print(f"[dim]$ belayed {' '.join(words)} --app newsletter[/]")
    subprocess.run(belayed_command(*words), check=True)
    console.print()


def check(enqueued: dict[str, Job]) -> None:
    """End with exit code 1 unless everything ended as it should."""
    readers = len(SUBSCRIBERS.read_text("utf-8").splitlines()) - 1
    mails, counts = len(list(MAILS.iterdir())), states()
    flaky = enqueued["a job that fails twice"].refresh()
    hopeless = enqueued["a job that cannot succeed"].refresh()
    expected = {
        f"{readers} mails, not {mails}": mails == readers,
        f"1 failed job, not {counts['failed']}": counts["failed"] == 1,
        f"success at the third attempt: {flaky!r}": (flaky.state, flaky.attempt) == (State.SUCCEEDED, 3),
        f"failure after three attempts: {hopeless!r}": (hopeless.state, hopeless.attempt) == (State.FAILED, 3),
    }
    if wrong := [what for what, right in expected.items() if not right]:
        sys.exit(f"The demo went wrong: it should have been {'; '.join(wrong)}. See {LOG.absolute()}")


if __name__ == "__main__":
    main()
