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
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click
import psycopg
from rich.console import Console
from rich.progress import Progress

from belayed.errors import BelayedError, StoreError
from belayed.jobs import Jobs
from tests.chaos import innocents
from tests.chaos.imports import ALL_SLOW, PACES, Pace
from tests.chaos.kinds import PARTS
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.chaos.network import Network
from tests.chaos.places import EFFECTS, Postgres, Sqlite
from tests.chaos.refusals import Refusals, unrecorded
from tests.chaos.verdict import Fault, Verdict, judged, lapses
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
SLOW_END = 60.0
"""Seconds that imports stay slow at the end: each job that ends its child waits for one, and there may be hundreds."""
SUSPECTS = 30.0
"""Seconds that a canary may wait for longer if it is a suspect: others may run alone before it."""
SLOWER = 90.0
"""Seconds that it may wait for longer where a dead worker is noticed after half a minute."""


def without(_context: click.Context, _parameter: click.Parameter, given: str) -> tuple[str, ...]:
    """The parts that are left."""
    named = {part.strip() for part in given.split(",")} - {""}
    if unknown := named - {*PARTS, "all"}:
        raise click.BadParameter(f"{min(unknown)!r}: there are {', '.join(PARTS)}, and all")
    return tuple(part for part in PARTS if not named & {part, "all"})


@click.command()
@click.option("--minutes", default=1.0, help="How long.")
@click.option("--store", type=click.Choice(["sqlite", "postgresql"]), default="sqlite")
@click.option("--seed", type=int, help="Of what is done and enqueued. Default: another each time.")
@click.option("--rate", default=230, help="Jobs to enqueue in a second.")
@click.option("--workers", default=2, help="How many supervisors.")
@click.option("--longest", default=20.0, help="Seconds of the longest jobs.")
@click.option("--defaults", is_flag=True, help="Beat, lapse and grace as they are by default.")
@click.option(
    "--patience", default=45.0, help="Seconds that a job may wait without a reason; more where others use the machine."
)
@click.option(
    "--without", "parts", callback=without, default="", metavar="PARTS",
    help=f"What not to do, with commas: {', '.join(PARTS)}; or all of them.",
)  # fmt: skip
def main(
    minutes: float,
    store: str,
    seed: int | None,
    rate: int,
    workers: int,
    longest: float,
    defaults: bool,
    patience: float,
    parts: tuple[str, ...],
) -> None:
    """Run jobs while their workers are killed.

    Exit with 1 if any is lost, repeated without a reason, charged for the crash of another, or kept waiting, or if a
    worker has ended by itself.
    """
    seed = random.randrange(10**6) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="belayed-chaos-"))
    place = Sqlite(folder) if store == "sqlite" else Postgres(folder)
    console = Console(stderr=True)
    try:
        run = Run(place, folder, seed, rate, longest, workers, defaults, patience, parts)
        verdict = run.through(minutes * 60, console)
    finally:
        place.close()
    console.print("faults: " + counted(run.tally()))
    console.print("put aside: " + counted(verdict.put_aside))
    console.print("explained charges: " + counted(verdict.excused))
    if verdict.refused:
        console.print("refused rows: " + counted(run.load.accepted.refused), soft_wrap=True)
    for found in (verdict.lost, verdict.unexplained, verdict.innocents, verdict.stalled, verdict.ends):
        for line in found[:20]:
            console.print(line, soft_wrap=True, markup=False)
    if verdict.good:
        shutil.rmtree(folder)
    else:
        console.print(f"what the workers logged, and the ledger, are in {folder}")
    print(verdict)
    sys.exit(0 if verdict.good else 1)


def counted(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count}" for what, count in counts.most_common()) or "none"


class Run:
    """One chaos run."""

    def __init__(
        self,
        place: Sqlite | Postgres,
        folder: Path,
        seed: int,
        rate: int,
        longest: float,
        workers: int,
        defaults: bool,
        patience: float,
        parts: Collection[str],
    ) -> None:
        self.place, self.folder, self.seed, self.parts = place, folder, seed, parts
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
        self.refusals = Refusals(place)
        if "refusals" in parts:
            self.refusals.install()
        self.load = Load(self.jobs, place, app, rate, seed, longest, parts)
        options = ["--grace", "5s"] if defaults else BRISK
        self.network = Network(place) if "network" in parts else None
        urls = [place.url] if self.network is None else self.network.urls
        self.workers = Workers(urls, folder, workers, options, parts)
        if self.network is not None:
            self.network.on_host = self.workers.on_host
        self.patience = 240 if defaults else 120
        plain = patience + SLOWER if defaults else patience
        self.waits = plain, plain + SUSPECTS
        self.faults: list[Fault] = []
        self.workers.record = self.faults.append
        self.others: list[threading.Thread] = []
        self.imports_at = time.monotonic()
        self.slow: Fault | None = None
        """The present time of imports that fail or are slow."""

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
                self.imports()
                self.workers.keep()
                left = max(0.0, end - time.monotonic())
                text = f"{len(self.load.accepted.jobs):,} accepted, {len(self.faults)} faults"
                progress.update(bar, completed=seconds - left, description=text)
            self.load.stopped.set()
            self.load.thread.join(60)
            for thread in self.others:
                thread.join(30)
            if "refusals" in self.parts:
                self.refusals.lift()
            if self.network is not None:
                self.network.mend()
            if self.load.failure is not None:
                raise self.load.failure
            if "imports" in self.parts:
                # What waits for a child must get one all the same.
                self.paced(ALL_SLOW)
            self.finish(progress)
        self.workers.close()
        if self.network is not None:
            self.network.close()
        return self.verdict()

    def verdict(self) -> Verdict:
        """Hold what was accepted against what was done."""
        accepted, ledger, now = self.load.accepted, Ledger.read(self.ledger), time.time()
        # A worker that ended by itself is a fault of its own: what it cut off is not to be told a second time.
        ended = [Fault("end", one.ended - 1, one.ended, {one.pid}) for one in self.workers.exits]
        known = [*self.faults, *ended, *lapses(self.folder.glob("worker-*.log"))]
        raw = self.place.open()
        try:
            missing = unrecorded(self.folder.glob("worker-*.log"))
            verdict = judged(accepted, ledger, known, raw, self.seed, missing)
            innocents.charges(verdict, accepted, ledger, known, self.workers.exits, raw, missing)
        finally:
            raw.close()
        innocents.waits(verdict, accepted, ledger, known, now, self.waits)
        innocents.endings(verdict, self.workers.exits, ledger, known)
        for id, odd in accepted.rows.items():
            try:
                self.jobs.get(id)
            except BelayedError as error:
                verdict.lost.append(f"the row with {odd.name} #{id}: {error}")
            except Exception as error:
                verdict.lost.append(f"the row with {odd.name} #{id} cannot be read: {error!r}")
        verdict.kills = len(self.faults)
        return verdict

    def fault(self) -> None:
        """Do one of the things that may happen, and not wait for the end of it."""
        sources: list[Any] = [self.workers, self.place]
        if "refusals" in self.parts:
            sources.append(self.refusals)
        if self.network is not None:
            sources.append(self.network)
        chances = {kind: (share, source) for source in sources for kind, share in source.faults().items()}
        kind = self.rng.choices(list(chances), [share for share, _ in chances.values()])[0]
        what = getattr(chances[kind][1], kind)
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

    def imports(self) -> None:
        """Let the imports of the application go in another way from time to time."""
        if "imports" not in self.parts or time.monotonic() < self.imports_at:
            return
        pace = self.rng.choices([pace for pace, _ in PACES], [share for _, share in PACES])[0]
        self.imports_at = time.monotonic() + (self.rng.uniform(1, 4) if pace.fails else self.rng.uniform(8, 20))
        self.paced(pace)

    def paced(self, pace: Pace) -> None:
        if self.slow is not None:
            self.slow.end = time.time()
        pace.write(self.workers.imports)
        if pace == Pace():
            self.slow = None
            return
        kind = "imports fail" if pace.fails else "imports are slow"
        self.slow = Fault(kind, time.time(), float("inf"), {-1})
        self.faults.append(self.slow)

    def finish(self, progress: Progress) -> None:
        """Let the workers come to an end with what is there."""
        bar = progress.add_task("finishing", total=None)
        fewest, deadline = 10**9, time.monotonic() + self.patience
        quick_at = time.monotonic() + SLOW_END
        while time.monotonic() < deadline:
            if self.slow is not None and time.monotonic() > quick_at:
                self.paced(Pace())
            self.workers.keep()
            try:
                self.give_up_far()
                left = sum(row.jobs for row in self.jobs.counts(most=1).live)
            except (StoreError, psycopg.OperationalError):
                left = -1
            progress.update(bar, description=f"finishing: {left:,} jobs are left")
            if not left:
                return
            if 0 < left < fewest:
                # As long as it goes on it may take its time.
                fewest, deadline = left, time.monotonic() + self.patience
            time.sleep(0.2)

    def give_up_far(self) -> None:
        """Cancel what hostile rows have put off for years, and what waits for a change that never came."""
        if far := self.place.far():
            self.jobs.cancel(*far)


if __name__ == "__main__":
    main()
