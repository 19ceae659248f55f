"""The database of a crash test, what is in it, and what must have become of that."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from belayed import State
from belayed.errors import StoreError
from belayed.jobs import Jobs
from belayed.store.answers import Wanted, WorkerRow
from belayed.store.lanes import Serving
from tests.patience import patient
from tests.worker.helpers import eventually, execute

ROOT = Path(__file__).parents[2]
BRISK = ["--beat", "0.1s", "--lapse", "0.5s", "--grace", "1s", "--kill-after", "0.5s", "--threads", "2"]
ALLOWED = {"plain": 1, "coroutine": 1, "trips": 2, "fails": 1, "large": 1, "transacts": 1, "waits": 1}
"""How often a job of each kind runs if nothing goes wrong."""


@dataclass
class Scenario:
    """Jobs in an empty database, each run's in a queue of its own."""

    jobs: Jobs
    ledger: Path
    expected: dict[int, str] = field(default_factory=dict)
    """The kind of each job."""
    queues: dict[str, list[int]] = field(default_factory=dict)

    def prepare(self, queue: str) -> None:
        """Save a job of each kind; two that a dead worker holds; some history to prune; one to cancel."""
        from tests.crash import app

        kinds: dict[str, Any] = {
            "plain": app.plain.draft(),
            "coroutine": app.coroutine.draft(),
            "trips": app.trips.draft(),
            "fails": app.fails.draft(),
            "large": app.large.draft("x" * 20_000),
            "transacts": app.transacts.draft(),
        }
        saved = [*kinds.items(), *(("plain", app.plain.draft()) for _ in range(3))]
        held = [("plain", app.plain.using(queue=f"{queue}-dead").draft()) for _ in range(2)]
        later = [("plain", app.plain.using(run_at=timedelta(seconds=0.3)).draft())]
        ids = []
        for kind, draft in (*saved, *held, *later):
            draft.queue = draft.queue or queue
            job = self.jobs.enqueue(draft)
            self.expected[job.id] = kind
            ids.append(job.id)
        self.queues[queue] = ids
        self.die(queue)
        self.grow_old()

    def die(self, queue: str) -> None:
        """Be a worker that claims two jobs and is never heard of again."""
        store = self.jobs.store
        row = WorkerRow(f"dead-{queue}", "dead", "nowhere", 1, "[]", "0", lapse=0.1)
        self.jobs.connections.perform(store.beat(row))
        lanes = store.lanes(Serving((f"{queue}-dead",)))
        turn = self.jobs.connections.perform(store.turn([], Wanted(row.id, 2, lanes)))
        assert len(turn.claimed) == 2

    def grow_old(self) -> None:
        """Let there be history that is too old, and more of it than is kept."""
        from tests.crash import app

        day = 86400
        # Ids that are given: larger ones than there were would push on those of the jobs.
        gone = [self.jobs.enqueue(app.plain.using(queue="old").draft()).id for _ in range(8)]
        self.jobs.connections.perform(self.jobs.store.delete(gone))
        for number, old in enumerate(gone):
            if self.jobs.address.dialect == "sqlite":
                at = f"{int((time.time() - 2 * day * (number > 6)) * 1e6)}"
            else:
                at = f"now() - interval '{2 * day * (number > 6)} seconds'"
            execute(
                self.jobs,
                "INSERT INTO belayed_history (id, run_at, created_at, finished_at, priority, attempt, failures, "
                "crashes, rescues, free_retries, state, queue, task) "
                f"VALUES ({old}, {at}, {at}, {at}, 0, 1, 0, 0, 0, 0, 'succeeded', 'old', 'old')",
            )

    def finish(self) -> None:
        """Let a worker that is not harmed do what is left."""
        with worker(self, "after", ["*"]):
            eventually(lambda: not [row for row in self.jobs.counts(most=1).live if row.queue != "nobody"], within=60)

    def left(self, queue: str) -> bool:
        """Whether there is work in a queue, or a dead worker still holds what is to be rescued."""
        live = self.jobs.counts(most=1).live
        return any(row.queue == queue or (row.queue == f"{queue}-dead" and row.state is State.RUNNING) for row in live)

    def check(self, kills: int = 1) -> list[str]:
        """What is not as it must be; each job may have been hit by so many kills."""
        wrong = []
        starts = Counter(int(line.split()[1]) for line in self.ledger.read_text().splitlines())
        # Of the newest five only the history keeps the others: they are counted by what they did.
        for id, kind in self.expected.items():
            rows = execute(self.jobs, f"SELECT state, failures, crashes FROM belayed_history WHERE id = {id}")
            state = State.FAILED.value if kind == "fails" else State.SUCCEEDED.value
            if rows and rows[0][0] != state:
                wrong.append(f"{kind} #{id} is {rows[0]}")
            if execute(self.jobs, f"SELECT 1 FROM belayed_jobs WHERE id = {id}"):
                wrong.append(f"{kind} #{id} has not ended")
            if not 1 <= starts[id] <= ALLOWED[kind] + kills:
                wrong.append(f"{kind} #{id} ran {starts[id]} times")
        effects = Counter(job for (job,) in execute(self.jobs, "SELECT job FROM crash_effects"))
        for id, kind in self.expected.items():
            if kind == "transacts" and effects[id] != 1:
                wrong.append(f"transacts #{id}: {effects[id]} effects")
        return wrong


@contextlib.contextmanager
def worker(
    scenario: Scenario, run: str, queues: list[str], *options: str, **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A real worker tree with the kill switch."""
    log = scenario.ledger.with_name(f"{run.replace(' ', '-')}.log")
    with log.open("ab") as file:
        popen = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.program", "work", "--app", "tests.crash.app", *BRISK, *options,
             "-q", ",".join(queues)],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
                "BELAYED_URL": scenario.jobs.url,
                "CRASH_LEDGER": str(scenario.ledger),
                "CRASH_RUN": run.replace(" ", "-"),
                **variables,
            },
        )  # fmt: skip
    try:
        yield popen
    except BaseException:
        print(log.read_text())
        raise
    finally:
        if popen.poll() is None:
            popen.send_signal(signal.SIGTERM)
            try:
                popen.wait(patient(8))
            except subprocess.TimeoutExpired:
                popen.kill()
        popen.wait()


def struck(scenario: Scenario, run: str, queue: str, **variables: str) -> bool:
    """Run a worker on *queue* until it is killed, or has done everything; whether it was killed."""
    with worker(scenario, run, [queue], **variables) as popen:
        deadline = time.monotonic() + patient(60)
        while popen.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(StoreError):
                if not scenario.left(queue):
                    popen.send_signal(signal.SIGTERM)
                    popen.wait(patient(30))
            time.sleep(0.02)
    return popen.returncode == -signal.SIGKILL


def opened(url: str, folder: Path) -> Scenario:
    """An empty database, with its tables and one for effects."""
    ledger = folder / "ledger"
    ledger.touch()
    os.environ["BELAYED_URL"] = url
    jobs = Jobs(url, synchronous="normal")
    jobs.migrate()
    execute(jobs, "CREATE TABLE crash_effects (job bigint)")
    return Scenario(jobs, ledger)
