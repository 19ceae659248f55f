"""What a chaos run has shown: every accepted job is held against what happened to it."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.chaos.kinds import KINDS, MAYBE
from tests.chaos.ledger import Ledger, Start
from tests.chaos.load import Accepted

SLACK = 0.3
"""Seconds by which what is written down may be late."""
NO_BEAT = re.compile(r"(\d\d:\d\d:\d\d\.\d+) WARN +no beat for ([\d.]+) s")


@dataclass
class Fault:
    """What was done, from when to when, and to which processes; none named: to all."""

    kind: str
    begin: float
    end: float
    pids: set[int]

    def explains(self, start: Start, until: float) -> bool:
        if self.pids and not self.pids & {start.pid, start.parent}:
            return False
        return self.begin <= until and self.end + SLACK >= start.at


@dataclass
class Exit:
    """A worker that has ended."""

    pid: int
    code: int
    started: float
    ended: float
    ready: bool
    """Whether it had come so far as to serve."""
    solo: bool
    """Whether jobs ran in its own process."""
    log: Path


@dataclass
class Verdict:
    accepted: int = 0
    ended: int = 0
    repeated: int = 0
    lost: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    innocents: list[str] = field(default_factory=list)
    """Charges of jobs that had not ended their process."""
    excused: Counter[str] = field(default_factory=Counter)
    """The charges of such jobs that are by design, by what explains them."""
    stalled: list[str] = field(default_factory=list)
    """The canaries that waited for longer than what was done explains."""
    longest: float = 0.0
    """Seconds that a canary waited."""
    longest_suspect: float = 0.0
    """Seconds that a canary waited that was a suspect."""
    ends: list[str] = field(default_factory=list)
    """The workers that have ended though nothing was done to end them."""
    rows: int = 0
    refused: int = 0
    kills: int = 0
    seed: int = 0
    put_aside: Counter[str] = field(default_factory=Counter)
    """The jobs that failed, by the limit that ended them."""

    @property
    def faults_found(self) -> list[str]:
        """Everything that must not be."""
        return [*self.lost, *self.unexplained, *self.innocents, *self.stalled, *self.ends]

    @property
    def good(self) -> bool:
        return not self.faults_found

    def __str__(self) -> str:
        explained = "all explained" if not self.unexplained else f"{len(self.unexplained)} unexplained"
        return (
            f"accepted {self.accepted}, ended {self.ended}, lost {len(self.lost)}, "
            f"repeated {self.repeated} ({explained}), "
            f"innocents charged {len(self.innocents)} ({self.excused.total()} explained by our kills), "
            f"hostile rows {self.rows} ({self.refused} refused), "
            f"stalled {len(self.stalled)} (longest wait {self.longest:.1f} s, of a suspect "
            f"{self.longest_suspect:.1f} s), "
            f"workers that ended by themselves {len(self.ends)}, kills {self.kills}, seed {self.seed}"
        )


def lapses(logs: Iterable[Path]) -> list[Fault]:
    """The breaks in their beats that workers have logged: others may have taken their jobs for good reason."""
    found = []
    day = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    for log in logs:
        for clock, seconds in NO_BEAT.findall(log.read_text("utf-8", "replace")):
            at = day + (datetime.strptime(clock, "%H:%M:%S.%f") - datetime(1900, 1, 1))  # noqa: DTZ001, DTZ007
            end = (at if at.timestamp() <= time.time() else at - timedelta(days=1)).timestamp()
            found.append(Fault("lapse", end - float(seconds) - SLACK, end, set()))
    return found


def judged(
    accepted: Accepted,
    ledger: Ledger,
    faults: Sequence[Fault],
    raw: Any,
    seed: int,
    unrecorded: Collection[int] = (),
) -> Verdict:
    """Hold what was accepted against what happened: whether anything is lost, or has run twice without a reason.

    Of jobs that are *unrecorded* the database refused the record of an attempt, as the log says.
    """
    verdict = Verdict(len(accepted.jobs), seed=seed)
    verdict.rows, verdict.refused = len(accepted.rows) + accepted.refused.total(), accepted.refused.total()
    runs = ledger.starts
    effects = Counter(key for (key,) in raw.execute("SELECT key FROM chaos_effects"))
    missing(verdict, accepted, ledger, effects, raw)
    verdict.lost += [f"{key}: was rolled back, and ran" for key in accepted.rolled_back if runs.get(key)]
    verdict.lost += [f"{key}: {count} effects" for key, count in effects.items() if count > 1]
    failed: dict[int, set[int]] = defaultdict(set)
    for id, number in raw.execute("SELECT job_id, number FROM belayed_attempts WHERE outcome IN ('retry', 'failed')"):
        failed[id].add(number)
    guilty = {key for kind, key in accepted.jobs.values() if KINDS[kind].guilty}
    # Whoever ends his process takes his neighbours along.
    reasons = [
        *faults,
        *(Fault("death", one.at, one.at + 1, {one.pid}) for one in ledger.deaths),
        *(Fault("harm", one.at, float("inf"), {one.pid}) for one in ledger.harms),
    ]
    for key, all in runs.items():
        for one, after in pairwise(all if key not in guilty else []):
            # What is odd in a row may be the number of the attempt.
            recorded = one.attempt in failed[one.id] or one.id in unrecorded
            if one.id in accepted.rows or recorded and after.attempt > one.attempt:
                continue
            verdict.repeated += 1
            if not any(reason.explains(one, after.at) for reason in reasons):
                verdict.unexplained.append(f"{one} and then {after}")
    return verdict


def ended_well(kind: str, state: str, crashes: int, rescues: int) -> bool:
    """Whether a job is where it belongs: put aside, if its processes or its workers were killed so often.

    Whether they were is judged in innocents.py.
    """
    return state in KINDS[kind].ends or state == "failed" and (crashes >= 3 or rescues >= 10)


def missing(verdict: Verdict, accepted: Accepted, ledger: Ledger, effects: Counter[str], raw: Any) -> None:
    """Find the jobs that did not end, or not as they should."""
    ended = {row[0]: row[1:] for row in raw.execute("SELECT id, state, crashes, rescues FROM belayed_history")}
    live = {row[0] for row in raw.execute("SELECT id FROM belayed_jobs")}
    for id, odd in accepted.rows.items():
        if id in live or id not in ended or ended[id][0] not in odd.ends:
            what = "still live" if id in live else ended[id][0] if id in ended else "nowhere"
            verdict.lost.append(f"the row with {odd.name} #{id}: {what}")
    for id, (kind, key) in accepted.jobs.items():
        if id in live or id not in ended:
            verdict.lost.append(f"{kind} {key} #{id}: {'still live' if id in live else 'nowhere'}")
            continue
        verdict.ended += 1
        state, crashes, rescues = ended[id]
        if state == "failed":
            limit = "three crashes" if crashes >= 3 else f"{rescues} rescues"
            whose = f"of {kind}" if KINDS[kind].guilty else "of an innocent"
            verdict.put_aside[f"{limit} {whose}"] += 1
        succeeded = state == "succeeded"
        most = int(succeeded and (KINDS[kind].effects or kind in MAYBE))
        least = 0 if kind in MAYBE else most
        wrong = {
            f"{ended[id]}": not ended_well(kind, *ended[id]),
            f"{effects[key]} effects": not least <= effects[key] <= most,
            "its child never ran": kind == "begets" and effects[key] == 1 and not ledger.starts.get(f"child-of-{key}"),
            "it ended without having run": succeeded and not ledger.starts.get(key),
        }
        verdict.lost += [f"{kind} {key} #{id}: {what}" for what, is_so in wrong.items() if is_so]
