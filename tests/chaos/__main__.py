"""Kills, stops and cuts at random under load, and shows that nothing is lost: `python -m tests.chaos --help`."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from belayed.errors import StoreError
from belayed.jobs import Jobs
from tests.chaos.load import Load
from tests.chaos.places import EFFECTS, Postgres, Sqlite
from tests.chaos.verdict import Fault, Verdict, judged, lapses, starts
from tests.chaos.workers import Workers

BRISK = [
    "--beat",
    "0.3s",
    "--lapse",
    "1.5s",
    "--grace",
    "2s",
    "--kill-after",
    "1s",
    "--threads",
    "10",
    "--read-ahead",
    "50",
]


@click.command()
@click.option("--minutes", default=1.0, help="How long.")
@click.option("--store", type=click.Choice(["sqlite", "postgresql"]), default="sqlite")
@click.option("--seed", type=int, help="Of what is done and enqueued. Default: another each time.")
@click.option("--rate", default=230, help="Jobs to enqueue in a second.")
@click.option("--workers", default=2, help="How many supervisors.")
@click.option("--longest", default=20.0, help="Seconds of the longest jobs.")
@click.option("--defaults", is_flag=True, help="Beat, lapse and grace as they are by default.")
def main(minutes: float, store: str, seed: int | None, rate: int, workers: int, longest: float, defaults: bool) -> None:
    """Run jobs while their workers are killed; exit with 1 if any is lost, or repeated without a reason."""
    seed = random.randrange(10**6) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="belayed-chaos-"))
    place = Sqlite(folder) if store == "sqlite" else Postgres(folder)
    console = Console(stderr=True)
    try:
        run = Run(place, folder, seed, rate, longest, workers, defaults)
        verdict = run.through(minutes * 60, console)
    finally:
        place.close()
    console.print("faults: " + ", ".join(f"{kind} {count}" for kind, count in run.tally().most_common()))
    console.print("put aside: " + ", ".join(f"{why} {count}" for why, count in verdict.put_aside.most_common()))
    for line in (*verdict.lost[:20], *verdict.unexplained[:20]):
        console.print(line)
    if verdict.good:
        shutil.rmtree(folder)
    else:
        console.print(f"what the workers logged, and the ledger, are in {folder}")
    print(verdict)
    sys.exit(0 if verdict.good else 1)


class Run:
    """One chaos run."""

    def __init__(
        self, place: Sqlite | Postgres, folder: Path, seed: int, rate: int, longest: float, workers: int, defaults: bool
    ) -> None:
        self.place, self.folder, self.seed = place, folder, seed
        self.rng = random.Random(seed)
        self.ledger = folder / "ledger"
        self.ledger.touch()
        os.environ.update(BELAYED_URL=place.url, CHAOS_LEDGER=str(self.ledger))
        from tests.chaos import app

        self.jobs: Jobs = app.jobs
        self.jobs.migrate()
        raw = place.open()
        raw.execute(EFFECTS)
        raw.close()
        self.load = Load(self.jobs, place, app, rate, seed, longest)
        options = ["--grace", "5s"] if defaults else BRISK
        self.workers = Workers(place.url, folder, workers, options)
        self.patience = 240 if defaults else 120
        self.faults: list[Fault] = []
        self.others: list[threading.Thread] = []

    def tally(self) -> Counter[str]:
        return Counter(fault.kind for fault in self.faults)

    def through(self, seconds: float, console: Console) -> Verdict:
        """The run, and what it has shown."""
        self.load.thread.start()
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("chaos", total=seconds)
            end = time.monotonic() + seconds
            while time.monotonic() < end and self.load.failure is None:
                self.fault()
                self.workers.keep()
                left = max(0.0, end - time.monotonic())
                text = f"{len(self.load.accepted.jobs):,} accepted, {len(self.faults)} faults"
                progress.update(bar, completed=seconds - left, description=text)
            self.load.stopped.set()
            self.load.thread.join(60)
            for thread in self.others:
                thread.join(30)
            if self.load.failure is not None:
                raise self.load.failure
            self.finish(progress)
        self.workers.close()
        raw = self.place.open()
        try:
            known = [*self.faults, *lapses(self.folder.glob("worker-*.log"))]
            verdict = judged(self.load.accepted, starts(self.ledger), known, raw, self.seed)
        finally:
            raw.close()
        verdict.kills = len(self.faults)
        return verdict

    def fault(self) -> None:
        """Do one of the things that may happen, and not wait for the end of it."""
        chances = {**Workers.FAULTS, **self.place.faults()}
        kind = self.rng.choices(list(chances), list(chances.values()))[0]
        what = getattr(self.workers if kind in Workers.FAULTS else self.place, kind)
        rng = random.Random(self.rng.random())
        # Known before it has an effect; whom it concerns, and its end, when it is over.
        fault = Fault(kind, time.time(), float("inf"), {-1})
        self.faults.append(fault)

        def do() -> None:
            try:
                fault.pids = what(rng)
            except Exception:
                # The server is away.
                fault.pids = {-1}
            fault.end = time.time()

        thread = threading.Thread(target=do, daemon=True)
        thread.start()
        self.others = [one for one in self.others if one.is_alive()] + [thread]
        if kind == "restart":
            thread.join()
        time.sleep(self.rng.uniform(0.3, 1.3))

    def finish(self, progress: Progress) -> None:
        """Let the workers come to an end with what is there."""
        bar = progress.add_task("finishing", total=None)
        fewest, deadline = 10**9, time.monotonic() + self.patience
        while time.monotonic() < deadline:
            self.workers.keep()
            try:
                left = sum(row.jobs for row in self.jobs.counts(most=1).live)
            except StoreError:
                left = -1
            progress.update(bar, description=f"finishing: {left:,} jobs are left")
            if not left:
                return
            if 0 < left < fewest:
                # As long as it goes on it may take its time.
                fewest, deadline = left, time.monotonic() + self.patience
            time.sleep(0.2)


if __name__ == "__main__":
    main()
