"""A small newsletter: its subscribers, its mails, and what of it is done later."""

from __future__ import annotations

import asyncio
import csv
import logging
import os
import smtplib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from string import Template

import belayed
from belayed import Job, current_job, handle_asynchronously, register_reference, task

OUT = Path("out")
DATABASE = OUT / "newsletter.db"
MAIL_HOST = "127.0.0.1"
MAIL_PORT = int(os.environ.get("NEWSLETTER_MAIL_PORT", "8025"))

log = logging.getLogger("newsletter")

# The jobs live beside the application's own tables, so that one transaction can hold both.
jobs = belayed.configure(f"sqlite:///{DATABASE}")


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """A connection whose work is committed at the end, or rolled back by an error."""
    connection = sqlite3.connect(DATABASE, timeout=30)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


@dataclass
class Issue:
    """What everybody gets. A dataclass travels to the worker by its values."""

    number: int
    title: str
    text: str

    def rendered(self, name: str) -> str:
        return Template(self.text).substitute(name=name, number=self.number, title=self.title)

    def archive(self) -> str:
        """A plain method; `delay(issue).archive()` runs it later. What it returns is the job's result."""
        path = OUT / f"issue-{self.number}.txt"
        path.write_text(self.rendered("reader"), "utf-8")
        return str(path)


@dataclass
class Subscriber:
    """A row of the application's. Only its id travels: the worker reads the row again."""

    id: int
    name: str
    email: str

    @classmethod
    def load(cls, id: int) -> Subscriber | None:
        with transaction() as connection:
            row = connection.execute("SELECT id, name, email FROM subscribers WHERE id = ?", [id]).fetchone()
        return cls(*row) if row else None

    # A larger number is less urgent: a long run of mails holds up nothing else.
    @handle_asynchronously(queue="mail", priority=10, max_attempts=5)
    def send(self, issue: Issue) -> None:
        """Every call of it becomes a job: `subscriber.send(issue)`. `subscriber.send.now(issue)` would send it here."""
        mail = EmailMessage()
        mail["From"] = "The newsletter <newsletter@example.org>"
        mail["To"] = f"{self.name} <{self.email}>"
        mail["Subject"] = f"Issue {issue.number}: {issue.title}"
        mail.set_content(issue.rendered(self.name))
        with smtplib.SMTP(MAIL_HOST, MAIL_PORT, timeout=10) as server:
            server.send_message(mail)


register_reference(Subscriber, name="subscriber", key=lambda subscriber: subscriber.id, load=Subscriber.load)


@dataclass
class Campaign:
    """A custom job: an object with perform(), options as attributes, and the hooks it happens to have."""

    issue: Issue
    subscribers: Path

    queue = "campaigns"
    max_attempts = 3

    def before(self, job: Job) -> None:
        log.info("job %d: importing %s", job.id, self.subscribers)

    def perform(self) -> int:
        """Save the subscribers and a job for each mail: all of it, or, by an error, nothing."""
        with transaction() as connection:
            connection.execute("CREATE TABLE subscribers (id integer PRIMARY KEY, name text, email text UNIQUE)")
            subscribers = list(imported(self.subscribers, connection))
            mails = [subscriber.send.draft(self.issue) for subscriber in subscribers]
            belayed.enqueue_many(mails, connection=connection)
        return len(subscribers)

    def success(self, job: Job) -> None:
        log.info("job %d: a mail to each subscriber is on its way", job.id)

    def failure(self, job: Job) -> None:
        log.error("job %d: issue %d was sent to nobody", job.id, self.issue.number)


def imported(path: Path, connection: sqlite3.Connection) -> Iterator[Subscriber]:
    """The subscribers of a file, each saved."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            cursor = connection.execute(
                "INSERT INTO subscribers (name, email) VALUES (?, ?)", [row["name"], row["email"]]
            )
            assert cursor.lastrowid is not None
            yield Subscriber(cursor.lastrowid, row["name"], row["email"])


@task(backoff=timedelta(seconds=0.4))
def translate(number: int) -> str:
    """It fails twice, as what depends on others does, and then succeeds."""
    if current_job().attempt < 3:
        raise ConnectionError("the translator does not answer")
    return f"issue {number}, translated"


@task(max_attempts=3, backoff=timedelta(seconds=0.4))
def print_on_paper(number: int) -> None:
    """It never succeeds: after three attempts it has failed, and is kept with its tracebacks."""
    tray: list[str] = []
    raise RuntimeError(f"issue {number} cannot be printed: {len(tray)} sheets of paper left")


@task(queue="mail")
def remind(number: int) -> None:
    """Enqueued for later: `remind.using(run_at=timedelta(seconds=3)).enqueue(7)`."""
    log.info("time to write issue %d", number + 1)


@task
async def check_mail_server(number: int) -> str:
    """Coroutines share one event loop in the worker: a hundred of them may wait at once."""
    reader, writer = await asyncio.open_connection(MAIL_HOST, MAIL_PORT)
    greeting = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return f"check {number}: {greeting.decode().strip()}"
