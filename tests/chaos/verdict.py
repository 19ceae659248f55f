"""What a chaos run has shown: every accepted job is held against what happened to it."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

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
class Start:
    """A run of a job."""

    key: str
    id: int
    attempt: int
    pid: int
    parent: int
    at: float


@dataclass
class Verdict:
    accepted: int = 0
    ended: int = 0
    repeated: int = 0
    lost: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    kills: int = 0
    seed: int = 0
    put_aside: Counter[str] = field(default_factory=Counter)
    """The jobs that failed, by the limit that ended them."""

    @property
    def good(self) -> bool:
        return not self.lost and not self.unexplained

    def __str__(self) -> str:
        explained = "all explained" if not self.unexplained else f"{len(self.unexplained)} unexplained"
        return (
            f"accepted {self.accepted}, ended {self.ended}, lost {len(self.lost)}, "
            f"repeated {self.repeated} ({explained}), kills {self.kills}, seed {self.seed}"
        )


def starts(ledger: Path) -> dict[str, list[Start]]:
    """The runs of each key, in order."""
    found: dict[str, list[Start]] = defaultdict(list)
    for line in ledger.read_text("utf-8").splitlines():
        event, key, id, attempt, pid, parent, at = line.split()
        if event == "start":
            found[key].append(Start(key, int(id), int(attempt), int(pid), int(parent), float(at)))
    return found


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


def judged(accepted: Accepted, runs: dict[str, list[Start]], faults: list[Fault], raw: Any, seed: int) -> Verdict:
    """Hold what was accepted against what happened."""
    verdict = Verdict(len(accepted.jobs), seed=seed)
    effects = Counter(key for (key,) in raw.execute("SELECT key FROM chaos_effects"))
    missing(verdict, accepted, runs, effects, raw)
    verdict.lost += [f"{key}: was rolled back, and ran" for key in accepted.rolled_back if runs.get(key)]
    verdict.lost += [f"{key}: {count} effects" for key, count in effects.items() if count > 1]
    failed: dict[int, set[int]] = defaultdict(set)
    for id, number in raw.execute("SELECT job_id, number FROM belayed_attempts WHERE outcome IN ('retry', 'failed')"):
        failed[id].add(number)
    poisons = {key for kind, key in accepted.jobs.values() if kind == "poisons"}
    # Whoever poisons his process takes his neighbours along.
    reasons = [*faults, *(Fault("poison", one.at, one.at + 1, {one.pid}) for key in poisons for one in runs[key])]
    for key, all in runs.items():
        for one, after in pairwise(all if key not in poisons else []):
            if one.attempt in failed[one.id] and after.attempt > one.attempt:
                continue
            verdict.repeated += 1
            if not any(reason.explains(one, after.at) for reason in reasons):
                verdict.unexplained.append(f"{one} and then {after}")
    return verdict


def ended_well(kind: str, state: str, crashes: int, rescues: int) -> bool:
    """Whether a job is where it belongs: put aside, if its processes or its workers were killed so often."""
    if kind == "poisons":
        return state == "failed"
    return state == "succeeded" or state == "failed" and (crashes >= 3 or rescues >= 10)


def missing(
    verdict: Verdict, accepted: Accepted, runs: dict[str, list[Start]], effects: Counter[str], raw: Any
) -> None:
    """Find the jobs that did not end, or not as they should."""
    ended = {row[0]: row[1:] for row in raw.execute("SELECT id, state, crashes, rescues FROM belayed_history")}
    live = {row[0] for row in raw.execute("SELECT id FROM belayed_jobs")}
    for id, (kind, key) in accepted.jobs.items():
        if id in live or id not in ended:
            verdict.lost.append(f"{kind} {key} #{id}: {'still live' if id in live else 'nowhere'}")
            continue
        verdict.ended += 1
        state, crashes, rescues = ended[id]
        if state == "failed":
            limit = "three crashes" if crashes >= 3 else f"{rescues} rescues"
            verdict.put_aside[f"{limit} of {'a poison' if kind == 'poisons' else 'another job'}"] += 1
        wrong = {
            f"{ended[id]}": not ended_well(kind, *ended[id]),
            f"{effects[key]} effects": kind in ("transacts", "begets")
            and effects[key] != (ended[id][0] == "succeeded"),
            "its child never ran": kind == "begets" and effects[key] == 1 and not runs.get(f"child-of-{key}"),
            "it ended without having run": ended[id][0] == "succeeded" and not runs.get(key),
        }
        verdict.lost += [f"{kind} {key} #{id}: {what}" for what, is_so in wrong.items() if is_so]
